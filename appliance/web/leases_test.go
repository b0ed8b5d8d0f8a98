package web

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

func (f *fake) Leases(_ context.Context, q api.LeaseQuery) (api.Leases, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var match []api.Lease
	for _, l := range f.leases {
		l.Reserved = slices.ContainsFunc(f.reserved, func(r api.Reservation) bool { return r.MAC == l.MAC && r.IP == l.IP })
		text := strings.Join([]string{l.IP.String(), l.MAC.String(), l.Hostname, l.Class, l.Vendor, l.Model, l.State}, " ")
		if strings.Contains(strings.ToLower(text), strings.ToLower(q.Text)) {
			match = append(match, l)
		}
	}
	api.SortLeases(match, q.Order)
	page := api.Leases{Total: len(match), Offset: q.Offset}
	page.Leases = match[min(q.Offset, len(match)):min(q.Offset+q.Limit, len(match))]
	return page, nil
}

func (f *fake) ReleaseLease(_ context.Context, ip netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("release %v", ip); err != nil {
		return err
	}
	i := slices.IndexFunc(f.leases, func(l api.Lease) bool { return l.IP == ip })
	if i < 0 {
		return api.ErrNotFound
	}
	f.leases[i].State, f.leases[i].Expires = "expired", f.now()
	return nil
}

func (f *fake) Reservations(context.Context) ([]api.Reservation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reserved), nil
}

func (f *fake) Reserve(_ context.Context, m mac.Addr, ip netip.Addr) (api.Reservation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := api.Reservation{MAC: m, IP: ip, Interface: "eth1", Since: f.now()}
	if err := f.desk("reserve %v %v", m, ip); err != nil {
		return r, err
	}
	if slices.ContainsFunc(f.reserved, func(x api.Reservation) bool { return x.IP == ip && x.MAC != m }) {
		return r, &api.Invalid{Field: "ip", Text: "this address is reserved for another device already"}
	}
	f.reserved = append(slices.DeleteFunc(f.reserved, func(x api.Reservation) bool { return x.MAC == m }), r)
	return r, nil
}

func (f *fake) Unreserve(_ context.Context, m mac.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("unreserve %v", m); err != nil {
		return err
	}
	before := len(f.reserved)
	f.reserved = slices.DeleteFunc(f.reserved, func(x api.Reservation) bool { return x.MAC == m })
	if len(f.reserved) == before {
		return api.ErrNotFound
	}
	return nil
}

func (f *fake) Examine(context.Context) []api.Check { return nil }

// The devices of furnishLeases that are no phones.
var (
	laptop  = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x60}
	printer = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x61}
	squat   = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x62}
)

// furnishLeases gives addresses to the phones and to a few others, in every
// state.
func (f *fake) furnishLeases(now time.Time) {
	add := func(m mac.Addr, last byte, state, host, class string, ends time.Duration) {
		l := api.Lease{
			IP: netip.AddrFrom4([4]byte{192, 0, 2, last}), MAC: m, Interface: "eth1", State: state, Hostname: host, Class: class,
			Granted: now.Add(ends - 12*time.Hour), Expires: now.Add(ends),
		}
		if p := f.phones[m]; p != nil {
			l.Phone, l.Vendor, l.Model = true, p.Vendor, p.Model
		}
		f.leases = append(f.leases, l)
	}
	add(yealink, 101, "bound", "SIP-T46U", "yealink", 11*time.Hour)
	add(poly, 102, "bound", "", "Polycom-VVX450", 9*time.Hour)
	add(cisco, 103, "expired", "SEP003a9c77105e", "Cisco Systems, Inc. IP Phone CP-8851-3PCC", -14*time.Hour)
	add(laptop, 104, "bound", "annas-laptop", "MSFT 5.0", 5*time.Hour)
	add(printer, 105, "offered", "", "", time.Minute)
	add(squat, 106, "declined", "", "", 30*time.Minute)
	add(mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x63}, 107, "relayed", "", "snom-D785", 3*time.Hour)
	for i := range 57 {
		add(mac.Addr{0x80, 0x5e, 0xc0, 0x00, 0x53, byte(i)}, byte(110+i), "bound", "", "yealink", time.Duration(i+1)*time.Minute)
	}
	f.reserved = []api.Reservation{
		{MAC: unborn, IP: netip.MustParseAddr("192.0.2.20"), Interface: "eth1", Pinned: true},
		{MAC: poly, IP: netip.MustParseAddr("192.0.2.102"), Interface: "eth1", Since: now.Add(-48 * time.Hour)},
		{MAC: squat, IP: netip.MustParseAddr("203.0.113.9"), Since: now.Add(-400 * 24 * time.Hour)},
	}
}

func TestLeasesShow(t *testing.T) {
	s, _, token := office(t)
	tests := []struct {
		name, path string
		want, not  []string
	}{
		{"all", "/network/leases", []string{
			"192.0.2.101", `href="/phones/00:15:65:4a:a9:37"><bdi>Yealink SIP-T46U`, "annas-laptop", "leased", "ended", "used by a stranger", "by another server",
			"1 to 50 of 64", `href="/network/leases?offset=50"`, `aria-sort="ascending"><a href="/network/leases">Address`, `href="/network/leases?sort=end"`,
			`aria-label="Change 192.0.2.101"`, "set in the configuration file", "in no network of this box",
		}, []string{"192.0.2.160", `aria-label="Change 192.0.2.107"`, `aria-label="End the reservation of 192.0.2.20"`}},
		{"next page", "/network/leases?offset=50", []string{"51 to 64 of 64", `href="/network/leases"`}, []string{`offset=100`}},
		{"found", "/network/leases?q=LAPTOP&sort=mac", []string{"192.0.2.104", `value="LAPTOP"`, `/network/leases/release?q=LAPTOP&sort=mac`, `<option value="mac" selected>`}, []string{"Yealink"}},
		{"none found", "/network/leases?q=zzz", []string{"No lease matches."}, []string{"<thead><tr><th scope=\"col\" aria-sort"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := request(s, "GET", tc.path, nil, as(token))
			if w.Code != http.StatusOK {
				t.Fatalf("status %d", w.Code)
			}
			says(t, w.Body.String(), tc.want, tc.not)
		})
	}
	for _, bad := range []string{"?sort=colour", "?offset=-1", "?q=" + strings.Repeat("x", 101)} {
		if w := request(s, "GET", "/network/leases"+bad, nil, as(token)); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s: status %d", bad, w.Code)
		}
	}
}

func TestLeasesAreSorted(t *testing.T) {
	s, _, token := office(t)
	row := regexp.MustCompile(`<th scope="row" data-label="Address">(192\.0\.2\.\d+)</th>\s*<td data-label="Device">`)
	for _, tc := range []struct{ order, first, second string }{
		{"address", "192.0.2.101", "192.0.2.102"},
		{"device", "192.0.2.103", "192.0.2.102"}, // Cisco, Poly, Yealink
		{"mac", "192.0.2.104", "192.0.2.105"},
		{"end", "192.0.2.103", "192.0.2.105"},
	} {
		page := request(s, "GET", "/network/leases?sort="+tc.order, nil, as(token)).Body.String()
		got := row.FindAllStringSubmatch(page, -1)
		if len(got) != 50 || got[0][1] != tc.first || got[1][1] != tc.second {
			t.Errorf("by %s: %d rows, %v and %v first", tc.order, len(got), got[0][1], got[1][1])
		}
	}
}

func TestLeasesChange(t *testing.T) {
	tests := []struct {
		name, path string
		form       url.Values
		status     int
		did        []string
		to         string
		says       string
	}{
		{
			"reserve", "/network/leases/reserve?q=t46&sort=mac&done=x",
			url.Values{"mac": {yealink.String()}, "ip": {"192.0.2.101"}},
			http.StatusSeeOther,
			[]string{"reserve 00:15:65:4a:a9:37 192.0.2.101"},
			"/network/leases?q=t46&sort=mac&done=reserved", "",
		},
		{
			"reserve what it has", "/network/leases/reserve",
			url.Values{"new": {"1"}, "mac": {" 0015.654a.a937 "}, "ip": {""}},
			http.StatusSeeOther,
			[]string{"reserve 00:15:65:4a:a9:37 invalid IP"},
			"/network/leases?done=reserved", "",
		},
		{
			"reserve the address of another", "/network/leases/reserve",
			url.Values{"new": {"1"}, "mac": {yealink.String()}, "ip": {"192.0.2.20"}},
			http.StatusUnprocessableEntity,
			[]string{"reserve 00:15:65:4a:a9:37 192.0.2.20"},
			"", `id="ip-error">this address is reserved for another device already`,
		},
		{
			"the same from its row", "/network/leases/reserve",
			url.Values{"mac": {yealink.String()}, "ip": {"192.0.2.20"}},
			http.StatusUnprocessableEntity,
			[]string{"reserve 00:15:65:4a:a9:37 192.0.2.20"},
			"", `role="alert">this address is reserved for another device already`,
		},
		{"no MAC address", "/network/leases/reserve", url.Values{"new": {"1"}, "mac": {"00:15"}}, http.StatusUnprocessableEntity, nil, "", `id="mac-error"`},
		{"group address", "/network/leases/reserve", url.Values{"new": {"1"}, "mac": {"01:00:5e:00:00:01"}}, http.StatusUnprocessableEntity, nil, "", `id="mac-error"`},
		{"no IPv4 address", "/network/leases/reserve", url.Values{"new": {"1"}, "mac": {yealink.String()}, "ip": {"2001:db8::1"}}, http.StatusUnprocessableEntity, nil, "", `id="ip-error"`},
		{
			"unreserve", "/network/leases/unreserve?offset=50",
			url.Values{"mac": {poly.String()}},
			http.StatusSeeOther,
			[]string{"unreserve 00:04:f2:1c:20:11"},
			"/network/leases?offset=50&done=unreserved", "",
		},
		{"unreserve what is not", "/network/leases/unreserve", url.Values{"mac": {laptop.String()}}, http.StatusNotFound, []string{"unreserve 00:00:5e:00:53:60"}, "", "any more"},
		{"unreserve nothing", "/network/leases/unreserve", url.Values{}, http.StatusUnprocessableEntity, nil, "", ""},
		{
			"release", "/network/leases/release",
			url.Values{"ip": {"192.0.2.104"}},
			http.StatusSeeOther,
			[]string{"release 192.0.2.104"},
			"/network/leases?done=released", "",
		},
		{"release what nobody has", "/network/leases/release", url.Values{"ip": {"192.0.2.9"}}, http.StatusNotFound, []string{"release 192.0.2.9"}, "", "any more"},
		{"release nothing", "/network/leases/release", url.Values{}, http.StatusUnprocessableEntity, nil, "", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, f, token := office(t)
			w := request(s, "POST", tc.path, tc.form, as(token))
			if w.Code != tc.status || w.Header().Get("Location") != tc.to {
				t.Fatalf("status %d, Location %q, want %d and %q", w.Code, w.Header().Get("Location"), tc.status, tc.to)
			}
			if diff := cmp.Diff(tc.did, f.did()); diff != "" {
				t.Errorf("done (-want +got):\n%s", diff)
			}
			says(t, w.Body.String(), []string{tc.says}, nil)
			if tc.to != "" {
				key := "done." + tc.to[strings.Index(tc.to, "done=")+5:]
				says(t, request(s, "GET", tc.to, nil, as(token)).Body.String(), []string{s.texts.say(key)}, nil)
			}
		})
	}
}

func TestLeaseErrors(t *testing.T) {
	s, f, token := office(t)
	f.err = http.ErrAbortHandler
	w := request(s, "POST", "/network/leases/release", url.Values{"ip": {"192.0.2.104"}}, as(token))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d", w.Code)
	}
}
