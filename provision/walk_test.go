package provision

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestWalk: who asks for one phone after the other is noticed, slowed down
// and reported, and others are not.
func TestWalk(t *testing.T) {
	r := newRig(t, true, nil)
	r.stopClock()
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	answered := 0
	for n := range 60 {
		m := mac.Addr{0x00, 0x15, 0x65, 0x01, 0, byte(n)}
		if got := r.ask(home(laptop), http.MethodGet, "/"+m.Hex()+".cfg", "", nil); got.Status == 404 {
			answered++
		}
	}
	if answered > walkPhones+1 {
		t.Errorf("%d guesses were answered", answered)
	}
	if diff := cmp.Diff(1, strings.Count(strings.Join(r.told.codes(laptop), " "), "provision.walked")); diff != "" {
		t.Errorf("story of the walker: %v", r.told.codes(laptop))
	}
	list := r.Walks()
	if len(list) != 0 && (list[0].IP != home(laptop) || list[0].MAC != laptop) || answered == walkPhones && len(list) != 1 {
		t.Errorf("walks: %+v", list)
	}
	if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 {
		t.Errorf("another phone meanwhile: %d", got.Status)
	}
}

func TestWalks(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	w := newWalks(func() time.Time { return now })
	from := netip.MustParseAddr("192.0.2.9")
	try := func(n int) bool { return w.refused(from, laptop, mac.Addr{0, 0x15, 0x65, 0, byte(n >> 8), byte(n)}) }
	for range 1000 { // a phone with the wrong address asks for its own file again and again
		if try(1) {
			t.Fatal("one phone is no walk")
		}
	}
	told := 0
	for n := range 1000 {
		if try(n) {
			told++
		}
	}
	if list := w.list(); told != 1 || len(list) != 1 || list[0].Phones < 900 || !w.walking(from) {
		t.Errorf("told %d times, %+v", told, list)
	}
	now = now.Add(walkTime + time.Second)
	if w.walking(from) || len(w.list()) != 0 {
		t.Error("it is not forgotten")
	}
	if try(1) || w.walking(from) {
		t.Error("it begins where it ended")
	}
	for n := range walkHosts + 100 { // forged sources fill no memory
		w.refused(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), mac.Addr{}, yealink)
	}
	if len(w.hosts) > walkHosts {
		t.Errorf("%d sources are watched", len(w.hosts))
	}
}

// TestPersonalPath: the path is evidence by itself, for one phone only.
func TestPersonalPath(t *testing.T) {
	paths := NewPaths([]byte("secret of the box"), map[mac.Addr]uint32{poly: 3})
	r := newRigWith(t, true, func(c *Config) { c.Paths = paths })
	own := paths.Path(closed)
	if own == paths.Path(yealink) || len(own) < 36 {
		t.Fatalf("path %s", own)
	}
	forged := []byte(own)
	forged[len(forged)-5] ^= 1
	for _, tc := range []struct {
		name, path, agent string
		from              netip.Addr
		status            int
	}{
		{"from anywhere, window closed", own + "001565005305.cfg", "", stranger, 200},
		{"in upper case", strings.ToUpper(own[:3]) + strings.ToUpper(own[3:]) + "001565005305.cfg", "", stranger, 404},
		{"token in upper case", own[:3] + strings.ToUpper(own[3:]) + "001565005305.cfg", "", stranger, 200},
		{"language after", own + "lang_de/001565005305.cfg", "", stranger, 200},
		{"language before", "/lang_de" + own + "001565005305.cfg", "", stranger, 200},
		{"its own address too", own + "001565005305.cfg", "", home(closed), 200},
		{"another's file", own + "001565005301.cfg", "", stranger, 404},
		{"from another's lease", own + "001565005305.cfg", "", home(poly), 404},
		{"agent of another phone", own + "001565005305.cfg", yealinkUA, stranger, 404},
		{"forged", string(forged) + "001565005305.cfg", "", stranger, 404},
		{"forged, own lease", string(forged) + "001565005301.cfg", "", home(yealink), 404},
		{"nonsense", "/p/x/001565005305.cfg", "", stranger, 404},
		{"nothing below", own, "", stranger, 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.limit.forget()
			if got := r.ask(tc.from, http.MethodGet, tc.path, tc.agent, nil); got.Status != tc.status {
				t.Errorf("%d, want %d", got.Status, tc.status)
			}
		})
	}
	if n := paths.Renew(closed); n != 1 {
		t.Errorf("renewed %d times", n)
	}
	if got := r.ask(stranger, http.MethodGet, own+"001565005305.cfg", "", nil); got.Status != 404 {
		t.Errorf("the old path: %d", got.Status)
	}
	if NewPaths([]byte("secret of the box"), map[mac.Addr]uint32{closed: 1}).Path(closed) != paths.Path(closed) {
		t.Error("another path after a restart")
	}
	if got := r.told.codes(closed); got[len(got)-1] != "provision.refused path-unknown" && got[len(got)-1] != "provision.refused address-unknown" {
		t.Errorf("story ends with %s", got[len(got)-1])
	}
}

// TestAtHome: a phone is never refused where it was at home, and never
// anywhere else.
func TestAtHome(t *testing.T) {
	r := newRig(t, true, nil)
	if got := r.get(closed, "/001565005305.cfg", ""); got.Status != 404 {
		t.Fatalf("a phone that was never seen: %d", got.Status)
	}
	moved := map[mac.Addr]netip.Addr{}
	r.windows.Settle(map[mac.Addr]netip.Addr{closed: home(poly)}, func(m mac.Addr, ip netip.Addr) { moved[m] = ip })
	if got := r.get(closed, "/001565005305.cfg", ""); got.Status != 404 {
		t.Errorf("at another address: %d", got.Status)
	}
	r.windows.Home(closed, home(closed))
	if got := r.get(closed, "/001565005305.cfg", ""); got.Status != 200 {
		t.Errorf("at home: %d", got.Status)
	}
	if got := r.ask(home(poly), http.MethodGet, "/001565005305.cfg", "", nil); got.Status != 404 {
		t.Errorf("from the address of another phone: %d", got.Status)
	}
	if diff := cmp.Diff(map[mac.Addr]netip.Addr{closed: home(closed)}, moved, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error("remembered (-want +got)\n" + diff)
	}
	r.windows.Close(closed)
	if got := r.get(closed, "/001565005305.cfg", ""); got.Status != 404 {
		t.Errorf("after it was closed: %d", got.Status)
	}
	// A phone that is served once from an open window has its home there.
	if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 || !r.windows.AtHome(yealink, home(yealink)) {
		t.Errorf("%d", got.Status)
	}
	if codes := r.told.codes(closed); len(codes) == 0 || codes[0] != "provision.refused "+string(story.WindowClosed) {
		t.Errorf("story: %v", codes)
	}
}
