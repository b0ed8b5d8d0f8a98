package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"patchbay/dhcp/mac"
)

// PrintLeases writes the leases, or what of them matches the text.
func PrintLeases(ctx context.Context, w io.Writer, socket, text string) error {
	c := NewClient(socket)
	defer c.Close()
	t := newTable(w)
	t.row("ADDRESS", "MAC", "STATE", "UNTIL", "DEVICE", "NAME")
	for offset := 0; ; {
		page, err := c.Leases(ctx, LeaseQuery{Text: text, Offset: offset, Limit: MaxLimit})
		if err != nil {
			return err
		}
		for _, l := range page.Leases {
			state := l.State
			if l.Reserved {
				state += ", reserved"
			}
			t.row(l.IP.String(), l.MAC.String(), state, l.Expires.Local().Format("2006-01-02 15:04"), dash(deviceWords(l)), dash(l.Hostname))
		}
		offset += len(page.Leases)
		if len(page.Leases) == 0 || offset >= page.Total {
			break
		}
	}
	return t.flush()
}

func deviceWords(l Lease) string {
	if s := strings.TrimSpace(l.Vendor + " " + l.Model); s != "" {
		return s
	}
	return l.Class
}

// Release ends the lease of an address and says so.
func Release(ctx context.Context, w io.Writer, socket string, ip netip.Addr) error {
	c := NewClient(socket)
	defer c.Close()
	err := c.ReleaseLease(ctx, ip)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("nobody holds a lease on %v; `patchbay leases` lists all", ip)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "The lease of %v has ended. Its device is not told; restart it if it should give the address up now.\n", ip)
	return err
}

// Reserve keeps an address for a device and says so; the zero address means
// the one that it has.
func Reserve(ctx context.Context, w io.Writer, socket string, m mac.Addr, ip netip.Addr) error {
	c := NewClient(socket)
	defer c.Close()
	r, err := c.Reserve(ctx, m, ip)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%v is reserved for %v. The device takes it when it starts the next time.\n", r.IP, r.MAC)
	return err
}

// Unreserve takes a reservation back and says so.
func Unreserve(ctx context.Context, w io.Writer, socket string, m mac.Addr) error {
	c := NewClient(socket)
	defer c.Close()
	err := c.Unreserve(ctx, m)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("no address is reserved for %v", m)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "No address is reserved for %v any more.\n", m)
	return err
}
