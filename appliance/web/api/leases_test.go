package api

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

func (f *fake) Leases(_ context.Context, q LeaseQuery) (Leases, error) {
	if f.empty {
		return Leases{}, nil
	}
	l := Lease{
		IP: netip.MustParseAddr("192.0.2.101"), MAC: known, Interface: "eth1", State: "bound", Hostname: "desk\x1b[2J", Class: "yealink",
		Vendor: "Yealink", Model: "SIP-T46U", Phone: true, Reserved: true, Granted: at, Expires: at.Add(time.Hour),
	}
	return Leases{Leases: []Lease{l}, Total: 1, Offset: q.Offset}, f.note("leases %+v", q)
}

func (f *fake) ReleaseLease(_ context.Context, ip netip.Addr) error { return f.note("release %v", ip) }

func (f *fake) Reservations(context.Context) ([]Reservation, error) {
	if f.empty {
		return nil, nil
	}
	return []Reservation{{MAC: known, IP: netip.MustParseAddr("192.0.2.20"), Pinned: true}}, f.note("reservations")
}

func (f *fake) Reserve(_ context.Context, m mac.Addr, ip netip.Addr) (Reservation, error) {
	err := f.note("reserve %v %v", m, ip)
	if !ip.IsValid() {
		ip = netip.MustParseAddr("192.0.2.101")
	}
	return Reservation{MAC: m, IP: ip, Since: at}, err
}

func (f *fake) Unreserve(_ context.Context, m mac.Addr) error { return f.note("unreserve %v", m) }

func (f *fake) Examine(context.Context) []Check {
	if f.empty {
		return nil
	}
	return []Check{
		{Code: "interface", About: "eth1", Verdict: CheckOK, Text: "up, with 192.0.2.1/24"},
		{Code: "clock", About: "clock", Verdict: CheckBad, Text: "it is not set", Fix: "name a time server\x1b[2J"},
	}
}

func TestLeaseOperations(t *testing.T) {
	device := known.String()
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		did, says                string
	}{
		{"leases", "GET", "/leases", "", 200, "leases {Text: Order:address Offset:0 Limit:50}", `"state":"bound"`},
		{"some leases", "GET", "/leases?q=+snom+&sort=end&offset=5&limit=10", "", 200, "leases {Text:snom Order:end Offset:5 Limit:10}", `"offset":5`},
		{"too many leases", "GET", "/leases?limit=501", "", 422, "", `"field":"limit"`},
		{"leases in no order", "GET", "/leases?sort=colour", "", 422, "", `"field":"sort"`},
		{"a long search", "GET", "/leases?q=" + strings.Repeat("x", 101), "", 422, "", `"field":"q"`},
		{"release", "POST", "/leases/192.0.2.101/release", "", 204, "release 192.0.2.101", ""},
		{"release of a name", "POST", "/leases/desk/release", "", 422, "", `"field":"ip"`},
		{"release of IPv6", "POST", "/leases/2001:db8::1/release", "", 422, "", `"field":"ip"`},
		{"reservations", "GET", "/reservations", "", 200, "reservations", `"pinned":true`},
		{"reserve", "PUT", "/reservations/" + device, `{"ip":"192.0.2.30"}`, 200, "reserve " + device + " 192.0.2.30", `"ip":"192.0.2.30"`},
		{"reserve what it has", "PUT", "/reservations/" + device, `{}`, 200, "reserve " + device + " invalid IP", `"ip":"192.0.2.101"`},
		{"reserve IPv6", "PUT", "/reservations/" + device, `{"ip":"2001:db8::1"}`, 422, "", `"field":"ip"`},
		{"reserve for a group", "PUT", "/reservations/01:00:5e:00:53:01", `{"ip":"192.0.2.30"}`, 422, "", `"field":"mac"`},
		{"reserve without JSON", "PUT", "/reservations/" + device, "", 422, "", "send JSON"},
		{"unreserve", "DELETE", "/reservations/" + device, "", 204, "unreserve " + device, ""},
		{"unreserve nobody", "DELETE", "/reservations/x", "", 422, "", `"field":"mac"`},
		{"doctor", "GET", "/doctor", "", 200, "", `"verdict":"bad"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake()
			w := ask(t, f, tc.method, tc.path, tc.body)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("status %d, want %d with %s: %s", w.Code, tc.status, tc.says, w.Body)
			}
			if got := f.did(); got != tc.did {
				t.Errorf("did %q, want %q", got, tc.did)
			}
		})
	}
	f := newFake()
	f.empty = true
	for _, path := range []string{"/leases", "/reservations", "/doctor"} {
		if w := ask(t, f, "GET", path, ""); strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

func TestLeaseCommands(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.101")
	for _, tc := range []struct {
		name string
		run  func(ctx context.Context, w *bytes.Buffer, socket string) error
		want []string
	}{
		{"leases", func(ctx context.Context, w *bytes.Buffer, s string) error { return PrintLeases(ctx, w, s, "x") }, []string{"192.0.2.101", known.String(), "bound, reserved", "Yealink SIP-T46U"}},
		{"release", func(ctx context.Context, w *bytes.Buffer, s string) error { return Release(ctx, w, s, ip) }, []string{"192.0.2.101 has ended"}},
		{"reserve", func(ctx context.Context, w *bytes.Buffer, s string) error {
			return Reserve(ctx, w, s, known, netip.Addr{})
		}, []string{"192.0.2.101 is reserved for " + known.String()}},
		{"unreserve", func(ctx context.Context, w *bytes.Buffer, s string) error { return Unreserve(ctx, w, s, known) }, []string{"No address is reserved"}},
		{"doctor", func(ctx context.Context, w *bytes.Buffer, s string) error {
			c := NewClient(s)
			defer c.Close()
			checks, err := c.Examine(ctx)
			if err != nil {
				return err
			}
			if err := WriteChecks(w, checks); !errors.Is(err, ErrUnhealthy) {
				t.Errorf("error %v", err)
			}
			return WriteChecks(w, checks[:1])
		}, []string{"ok", "up, with 192.0.2.1/24", "BAD", "-> name a time server"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := tc.run(t.Context(), &out, serve(t, newFake())); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			if strings.ContainsAny(out.String(), "\x1b") {
				t.Errorf("output steers the terminal: %q", out.String())
			}
		})
	}
	t.Run("nothing there", func(t *testing.T) {
		f := newFake()
		f.err = ErrNotFound
		s := serve(t, f)
		if err := Release(t.Context(), &bytes.Buffer{}, s, ip); err == nil || !strings.Contains(err.Error(), "nobody holds a lease") {
			t.Errorf("error %v", err)
		}
		if err := Unreserve(t.Context(), &bytes.Buffer{}, s, known); err == nil || !strings.Contains(err.Error(), "no address is reserved") {
			t.Errorf("error %v", err)
		}
	})
}

func TestNeighborWords(t *testing.T) {
	for _, tc := range []struct {
		n    Neighbor
		want string
	}{
		{Neighbor{Chassis: "00:00:5e:00:53:ff", Port: "7"}, "00:00:5e:00:53:ff, port 7"},
		{Neighbor{
			Chassis: "x", System: "sw1", Port: "7", PortText: "desk 4", Management: netip.MustParseAddr("192.0.2.2"), VLAN: 100, VLANName: "data",
			Voice: &VoiceVLAN{VLAN: 200, Tagged: true}, Location: "DE, Bonn",
		}, "sw1, port 7 (desk 4), managed at 192.0.2.2, VLAN 100 data, phones in VLAN 200, at DE, Bonn"},
		{Neighbor{System: "sw1", Port: "7", PortText: "7", VLAN: 1, Voice: &VoiceVLAN{}}, "sw1, port 7, VLAN 1, phones untagged"},
	} {
		if got := tc.n.Words(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}
