package sipedge

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// tapped notes what a tap sees.
type tapped struct {
	mu   sync.Mutex
	seen []string // direction, transport, first line
	ours netip.AddrPort
}

func (s *tapped) Message(_ time.Time, from, to netip.AddrPort, transport string, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, _, _ := strings.Cut(string(raw), "\r\n")
	dir := "other"
	switch s.ours {
	case from:
		dir = "out"
	case to:
		dir = "in"
	}
	s.seen = append(s.seen, dir+" "+transport+" "+first)
}

func (s *tapped) count(line string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.seen {
		if strings.HasPrefix(l, line) {
			n++
		}
	}
	return n
}

// TestTap sees each message once, with its ends, over UDP and TCP, those that
// are refused before sipgo included.
func TestTap(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			rig := newCallRig(t, false, nil)
			tap := &tapped{ours: rig.ep.Addrs()[0]}
			rig.tap.Store(tap)
			one := newPhoneAgent(t, rig, transport, 1)
			one.register(rig.ep.Addrs()[0])
			bad := one.outOfDialog(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: "box"}, 1, "x", "t")
			bad.ReplaceHeader(sip.NewHeader("CSeq", "7 INVITE"))
			one.send(bad)
			one.next("refusal", func(m sip.Message) bool { r, ok := m.(*sip.Response); return ok && r.StatusCode == 400 })
			for line, want := range map[string]int{
				"in " + transport + " REGISTER": 2, "out " + transport + " SIP/2.0 401": 1, "out " + transport + " SIP/2.0 200": 1,
				"in " + transport + " OPTIONS": 1, "out " + transport + " SIP/2.0 400": 1, "other": 0,
			} {
				if got := tap.count(line); got != want {
					t.Errorf("%q seen %d times, want %d: %q", line, got, want, tap.seen)
				}
			}
		})
	}
}
