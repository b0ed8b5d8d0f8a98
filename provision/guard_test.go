package provision

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestRefusals: whoever is refused gets what an unknown file gets, and the
// stories say why.
func TestRefusals(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	r.phones.put(Phone{MAC: ata, Vendor: "cisco-mpp", Model: "ATA191", Accounts: accounts(ata, 2)})
	unknown := r.ask(stranger, http.MethodGet, "/no-such-file.cfg", "curl/7.88.1", nil)
	if unknown.Status != 404 || unknown.Header.Get("Set-Cookie") != "" {
		t.Fatalf("unknown file: %+v", unknown)
	}
	for _, tc := range []struct {
		name        string
		from        netip.Addr
		path, agent string
		asked       mac.Addr
		reason      story.Reason // on the story of the asked phone; empty: none
		asker       mac.Addr     // zero: no story
	}{
		{"nobody's address", stranger, "/001565005301.cfg", "", yealink, story.AddressUnknown, mac.Addr{}},
		{"another phone", home(poly), "/001565005301.cfg", polyUA, yealink, story.AddressOfOther, poly},
		{"another phone that lies about its MAC", home(poly), "/001565005301.cfg", yealinkUA, yealink, story.AddressOfOther, poly},
		{"a laptop", home(laptop), "/001565005301.cfg", "curl/7.88.1", yealink, story.AddressOfOther, laptop},
		{"User-Agent of another phone", home(yealink), "/001565005301.cfg", "Yealink SIP-T46U 108.86.0.45 00:15:65:00:53:05", yealink, story.IdentityClash, mac.Addr{}},
		{"window closed", home(closed), "/001565005305.cfg", "", closed, story.WindowClosed, mac.Addr{}},
		{"phone that nobody knows", stranger, "/001565005399.cfg", "", mac.Addr{0x00, 0x15, 0x65, 0x00, 0x53, 0x99}, "", mac.Addr{}},
		{"adapter's file by another", home(cisco), "/00005e005304.xml", ciscoUA, ata, story.IdentityClash, cisco},
		{"with language", home(poly), "/lang_de/001565005301.cfg", polyUA, yealink, story.AddressOfOther, poly},
		{"in upper case", home(poly), "/001565005301.CFG", "", yealink, story.AddressOfOther, poly},
		{"forged proxy header", home(poly), "/001565005301.cfg", "", yealink, story.AddressOfOther, poly},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.told.forget()
			got := r.ask(tc.from, http.MethodGet, tc.path, tc.agent, nil, "X-Forwarded-For", home(yealink).String(), "X-Real-IP", home(yealink).String())
			if diff := cmp.Diff(unknown, got); diff != "" {
				t.Error("not the answer of an unknown file (-unknown +got)\n" + diff)
			}
			for _, who := range []struct {
				mac    mac.Addr
				reason story.Reason
			}{{tc.asked, tc.reason}, {tc.asker, tc.reason}} {
				var want []string
				if who.reason != "" && !who.mac.IsZero() {
					want = []string{"provision.refused " + string(who.reason)}
				}
				if diff := cmp.Diff(want, r.told.codes(who.mac)); diff != "" {
					t.Errorf("story of %s (-want +got)\n%s", who.mac, diff)
				}
			}
		})
	}
	for ip := range homes {
		r.told.forget()
		if m := homes[ip]; m != yealink {
			if got := r.ask(ip, http.MethodGet, "/001565005301.cfg", "", nil); strings.Contains(got.Body, "Secret") {
				t.Errorf("%s got the password of %s", m, yealink)
			}
		}
	}
}

// TestCommonFiles carry no secret and are served to anybody.
func TestCommonFiles(t *testing.T) {
	r := newRig(t, true, nil)
	for _, path := range []string{"/y000000000028.cfg", "/000000000000.cfg", "/8841-3PCC.xml", "/CP-8841-3PCC.xml", "/CP-8841-3PCC.cfg", "/$PSN.xml", "//lang_fr//8841-3PCC.xml"} {
		for _, from := range []netip.Addr{stranger, home(yealink), home(closed)} {
			got := r.ask(from, http.MethodGet, path, yealinkUA, nil)
			if strings.HasSuffix(path, ".cfg") && strings.HasPrefix(path, "/y") && got.Status != 200 {
				t.Errorf("%s from %s: %d", path, from, got.Status)
			}
			if strings.Contains(got.Body, "assword") || strings.Contains(got.Body, "Secret") {
				t.Errorf("%s holds a secret:\n%s", path, got.Body)
			}
		}
		if got := r.ask(stranger, http.MethodGet, path, "curl/7.88.1", nil); got.Status != 200 {
			t.Errorf("%s: %d", path, got.Status)
		}
	}
}

// FuzzServe: whatever is asked in whatever name, nobody gets a password that
// is not of the phone at that address.
func FuzzServe(f *testing.F) {
	f.Add("/001565005301.cfg", yealinkUA, "GET", byte(1))
	f.Add("/0004f2005302.cfg", yealinkUA, "HEAD", byte(2))
	f.Add("/lang_de/00562b005303.xml", ciscoUA, "GET", byte(4))
	f.Add("/0004f2005302-app.log", polyUA, "PUT", byte(2))
	f.Add("/../\x00", "", "DELETE", byte(9))
	r := newRig(f, false, nil)
	for _, m := range []mac.Addr{yealink, poly, cisco, ata} {
		r.phones.put(Phone{MAC: m, Accounts: accounts(m, 2)})
	}
	r.stopClock()
	f.Fuzz(func(t *testing.T, path, agent, method string, from byte) {
		r.told.forget()
		r.limit.forget()
		source := netip.AddrFrom4([4]byte{127, 0, 3, from})
		got := r.answer(context.Background(), query{door: story.HTTP, path: path, agent: agent, head: method == "HEAD", local: netip.MustParseAddr("192.0.2.1"), remote: source})
		who := homes[source]
		for _, m := range homes {
			if m != who && bytes.Contains(got.body, []byte("of"+m.Hex())) {
				t.Errorf("%s got a password of %s by %q", who, m, path)
			}
		}
		switch got.status {
		case 200, 400, 404, 414:
		default:
			t.Errorf("status %d for %q", got.status, path)
		}
	})
}

// TestSecondAddress: who forges the MAC address of a phone that has got its
// file gets nothing at another address, while the phone may fetch again.
func TestSecondAddress(t *testing.T) {
	r := newRig(t, false, nil)
	forged := netip.MustParseAddr("127.0.3.77")
	r.whois = people{home(yealink): yealink, forged: yealink}
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	r.windows.Close(yealink)
	r.windows.Open(yealink, home(yealink), story.WindowByLease)
	get := func(from netip.Addr) int {
		w, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/001565005301.cfg", nil)
		req.RemoteAddr = netip.AddrPortFrom(from, 4000).String()
		req.Header.Set("User-Agent", yealinkUA)
		r.ServeHTTP(w, req)
		return w.Code
	}
	for i, tc := range []struct {
		from   netip.Addr
		status int
	}{{forged, 404}, {home(yealink), 200}, {forged, 404}, {home(yealink), 200}, {forged, 404}} {
		if got := get(tc.from); got != tc.status {
			t.Errorf("fetch %d from %v: %d, want %d", i+1, tc.from, got, tc.status)
		}
	}
	r.windows.Open(yealink, netip.Addr{}, story.WindowByAdmin)
	if first, second := get(forged), get(home(yealink)); first != 200 || second != 404 {
		t.Errorf("moved by an administrator: %d at the new address, %d at the old one; want 200 and 404", first, second)
	}
}

// TestGuesses walks through a block of addresses: no password comes out, and
// no story is filled but that of the one who guesses.
func TestGuesses(t *testing.T) {
	r := newRig(t, false, nil)
	known := addr(t, "00:15:65:00:10:10")
	r.phones.put(Phone{MAC: known, Vendor: "yealink", Accounts: accounts(known, 1)})
	r.windows.Open(known, netip.Addr{}, story.WindowByLease)
	for _, from := range []netip.Addr{stranger, home(laptop), home(poly)} {
		for n := range 5_000 { // more than the known one: 0x1010 = 4112
			m := mac.Addr{0x00, 0x15, 0x65, 0x00, byte(n >> 8), byte(n)}
			for _, door := range []story.Proto{story.HTTP, story.TFTP} {
				got := r.answer(t.Context(), query{door: door, path: "/" + m.Hex() + ".cfg", remote: from})
				if diff := cmp.Diff(string(notFound.body), string(got.body)); diff != "" || got.status != 404 {
					t.Fatalf("%s by %s: %d %s", m, from, got.status, diff)
				}
			}
		}
	}
	r.told.mu.Lock()
	defer r.told.mu.Unlock()
	for m, events := range r.told.all {
		if m != known && m != laptop && m != poly {
			t.Errorf("%s has a story of %d events", m, len(events))
		}
		for _, e := range events {
			if alive := e.Dir == story.In; alive && m == known {
				t.Errorf("a guess counts as a sign of life: %+v", e)
			}
		}
	}
	if len(r.phones.enlisted) > 0 {
		t.Errorf("guesses were enlisted: %v", r.phones.enlisted)
	}
}

// TestPowerCut: all phones of a site boot at once, and all are served.
func TestPowerCut(t *testing.T) {
	const phones = 500
	all := people{}
	r := newRig(t, false, nil)
	r.whois = all
	r.stopClock()
	for n := range phones {
		m := mac.Addr{0x00, 0x15, 0x65, 0x01, byte(n >> 8), byte(n)}
		from := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
		all[from] = m
		r.windows.Open(m, netip.Addr{}, story.WindowByLease)
		for path, want := range map[string]int{
			"/" + m.Hex() + ".boot": 404, "/y000000000000.boot": 404, "/y000000000108.cfg": 200, "/" + m.Hex() + ".cfg": 200,
		} {
			w, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
			req.RemoteAddr = netip.AddrPortFrom(from, 4000).String()
			req.Header.Set("User-Agent", "Yealink SIP-T46U 108.86.0.45 "+m.String())
			r.ServeHTTP(w, req)
			if w.Code != want {
				t.Fatalf("phone %d: %s: %d, want %d", n, path, w.Code, want)
			}
		}
	}
}
