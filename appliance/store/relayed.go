package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

var _ dhcp.ClockStore = (*Leases)(nil)

// relayed reads the leases that other servers granted through our relay.
func (l *Leases) relayed(ctx context.Context) ([]dhcp.Lease, error) {
	var out []dhcp.Lease
	err := l.db.query(ctx, "relayed leases", func(rows *sql.Rows) error {
		var (
			lease            = dhcp.Lease{State: dhcp.Relayed}
			ip, m, server    string
			granted, expires int64
		)
		err := rows.Scan(&ip, &m, &lease.ClientID, &lease.Hostname, &lease.Vendor, &server, &granted, &expires)
		if err != nil {
			return err
		}
		if lease.IP, err = netip.ParseAddr(ip); err != nil {
			return err
		}
		if lease.MAC, err = mac.Parse(m); err != nil {
			return err
		}
		if server != "" {
			if lease.Server, err = netip.ParseAddr(server); err != nil {
				return err
			}
		}
		lease.Granted, lease.Expires = fromMicros(granted), fromMicros(expires)
		out = append(out, lease)
		return nil
	}, "SELECT ip, mac, client_id, hostname, vendor, server, granted, expires FROM relayed_leases")
	return out, err
}

// putRelayed writes a lease of another server, and forgets those that ended
// before it began, for nobody else does.
func (l *Leases) putRelayed(ctx context.Context, lease dhcp.Lease) error {
	id, server := lease.ClientID, ""
	if id == nil {
		id = []byte{}
	}
	if lease.Server.IsValid() {
		server = lease.Server.String()
	}
	err := l.db.write(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM relayed_leases WHERE expires <= ?", micros(lease.Granted)); err != nil {
			return err
		}
		_, err := t.exec(`INSERT OR REPLACE INTO relayed_leases (ip, mac, client_id, hostname, vendor, server, granted, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			lease.IP.String(), lease.MAC.String(), id, lease.Hostname, lease.Vendor, server, micros(lease.Granted), micros(lease.Expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("write relayed lease of %v: %w", lease.IP, err)
	}
	return nil
}

// settingClock holds the clock of leases and that of the machine, in
// microseconds.
const settingClock = "dhcp.clock"

// Clock implements [dhcp.ClockStore].
func (l *Leases) Clock(ctx context.Context) (lease, wall time.Time, err error) {
	text, found, err := l.db.Settings().Get(ctx, settingClock)
	if err != nil || !found {
		return time.Time{}, time.Time{}, err
	}
	first, second, _ := strings.Cut(text, " ")
	a, errA := strconv.ParseInt(first, 10, 64)
	b, errB := strconv.ParseInt(second, 10, 64)
	if errA != nil || errB != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("setting %s is %q, want two numbers", settingClock, text)
	}
	return fromMicros(a), fromMicros(b), nil
}

// PutClock implements [dhcp.ClockStore].
func (l *Leases) PutClock(ctx context.Context, lease, wall time.Time) error {
	return l.db.Settings().Put(ctx, settingClock, strconv.FormatInt(micros(lease), 10)+" "+strconv.FormatInt(micros(wall), 10))
}
