package mdns

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// lan runs responders against each other: what one says, the others hear.
type lan struct {
	t *testing.T
	c *clock
	r []*Responder
}

func (l *lan) run(d time.Duration) {
	for end := l.c.t.Add(d); l.c.t.Before(end); l.c.t = l.c.t.Add(10 * time.Millisecond) {
		for i, r := range l.r {
			if m := r.due(); m != nil {
				l.say(i, m)
			}
		}
	}
}

func (l *lan) say(i int, m *dns.Msg) {
	from := netip.AddrPortFrom(l.r[i].cfg.Address, group.Port())
	for j, other := range l.r {
		if i == j {
			continue
		}
		for _, out := range other.hear(pack(l.t, m), from) {
			l.say(j, out.msg)
		}
	}
}

func (l *lan) names() []string {
	var out []string
	for _, r := range l.r {
		if r.probing {
			out = append(out, "probing")
			continue
		}
		out = append(out, r.names()+" "+r.claims[len(r.claims)-1].text())
	}
	return out
}

// TestConflict: two boxes of one name share a LAN.
func TestConflict(t *testing.T) {
	first := "patchbay.local front-desk.local Front desk. 2nd floor"
	second := "patchbay-2.local front-desk-2.local Front desk. 2nd floor (2)"
	c := &clock{time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)}
	t.Run("one after the other", func(t *testing.T) {
		l := &lan{t: t, c: c, r: []*Responder{newTest(t, c, "192.0.2.1")}}
		l.run(5 * time.Second)
		l.r = append(l.r, newTest(t, c, "192.0.2.2"))
		l.run(20 * time.Second)
		if diff := cmp.Diff([]string{first, second}, l.names()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		third := newTest(t, c, "192.0.2.3")
		l.r = append(l.r, third)
		l.run(20 * time.Second)
		if got := third.names(); got != "patchbay-3.local front-desk-3.local" {
			t.Errorf("the third is %s", got)
		}
	})
	t.Run("at the same moment", func(t *testing.T) {
		a, b := newTest(t, c, "192.0.2.1"), newTest(t, c, "192.0.2.2")
		a.probe(0)
		b.probe(0)
		l := &lan{t: t, c: c, r: []*Responder{a, b}}
		l.run(30 * time.Second)
		// §8.2: the later address wins.
		if diff := cmp.Diff([]string{second, first}, l.names()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("two networks are joined", func(t *testing.T) {
		a, b := newTest(t, c, "192.0.2.1"), newTest(t, c, "192.0.2.2")
		(&lan{t: t, c: c, r: []*Responder{a}}).run(5 * time.Second)
		(&lan{t: t, c: c, r: []*Responder{b}}).run(5 * time.Second)
		l := &lan{t: t, c: c, r: []*Responder{a, b}}
		l.say(0, reply(a.zone.all(), nil))
		l.run(30 * time.Second)
		got := l.names()
		slices.Sort(got)
		if diff := cmp.Diff([]string{second, first}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a forged answer changes nothing", func(t *testing.T) {
		a := newTest(t, c, "192.0.2.1")
		l := &lan{t: t, c: c, r: []*Responder{a}}
		l.run(5 * time.Second)
		m := reply([]dns.RR{&dns.A{Hdr: header("patchbay.local.", dns.TypeA, 120, true), A: net.IP{192, 0, 2, 66}}}, nil)
		a.hear(pack(t, m), netip.MustParseAddrPort("192.0.2.66:4000"))
		if a.probing {
			t.Error("it believed an answer from another port")
		}
	})
}
