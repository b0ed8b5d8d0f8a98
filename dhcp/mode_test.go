package dhcp

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestPhonesMode(t *testing.T) {
	cfg := testConfig()
	cfg.Mode = Phones
	ip := ip4("192.0.2.100")
	run(t, cfg, func(w *world) {
		pc := []*dhcpv4.DHCPv4{
			w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip), optIP(optServerID, serverIP)),
			w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip4("198.51.100.9"))), // INIT-REBOOT, wrong net
			w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(ip)),
			w.message(dhcpv4.MessageTypeInform, mac1, ciaddr(ip4("192.0.2.9"))),
		}
		for range 20 {
			pc = append(pc, w.message(dhcpv4.MessageTypeDiscover, mac1))
		}
		for _, m := range pc {
			w.silence(w.send(m, allOnes))
			time.Sleep(time.Second)
		}
		if got := w.lastReason(mac1); got != story.NotAPhone {
			t.Errorf("reason %q", got)
		}
		if got := w.s.Stats().Strangers; got != uint64(len(pc)) {
			t.Errorf("%d counted, want %d", got, len(pc))
		}
		if got := w.dora(mac2, phoneClass); !cfg.Pools[0].Contains(got) {
			t.Errorf("a phone got %v", got)
		}
		w.one(w.send(w.message(dhcpv4.MessageTypeInform, mac2, phoneClass, ciaddr(ip4("192.0.2.9"))), allOnes), dhcpv4.MessageTypeAck)
	})
}

func TestInformMode(t *testing.T) {
	cfg := testConfig()
	cfg.Mode, cfg.Pools = Inform, nil
	synctest.Test(t, func(t *testing.T) {
		w := prepare(t, cfg)
		w.probe.servers = []OtherServer{{IP: ip4("192.0.2.2"), MAC: stranger}}
		w.start(cfg)
		defer w.stop()
		for _, m := range []*dhcpv4.DHCPv4{
			w.message(dhcpv4.MessageTypeDiscover, mac1, phoneClass),
			w.message(dhcpv4.MessageTypeRequest, mac1, phoneClass, optIP(optRequestedIP, ip4("192.0.2.9")), optIP(optServerID, ip4("192.0.2.2"))),
			w.message(dhcpv4.MessageTypeRequest, mac1, phoneClass, optIP(optRequestedIP, ip4("198.51.100.9"))),
			w.message(dhcpv4.MessageTypeInform, mac1, ciaddr(ip4("192.0.2.9"))),                // a PC
			w.message(dhcpv4.MessageTypeInform, mac1, phoneClass, ciaddr(ip4("198.51.100.9"))), // from elsewhere
		} {
			w.silence(w.send(m, allOnes))
		}
		ask := w.message(dhcpv4.MessageTypeInform, mac1, phoneClass, ciaddr(ip4("192.0.2.9")), opt(optRequested, 1, 3, 6, 66))
		ack := w.one(w.send(ask, allOnes), dhcpv4.MessageTypeAck)
		if got := ack.to.Addr; got != netip.MustParseAddrPort("192.0.2.9:68") {
			t.Errorf("sent to %v", got)
		}
		codes := make([]int, 0, len(ack.Options))
		for c := range ack.Options {
			codes = append(codes, int(c))
		}
		slices.Sort(codes)
		// Not the mask, the router or the name servers: they are another's business.
		if want := []int{optMessageType, optServerID, 66, 160}; !slices.Equal(codes, want) {
			t.Errorf("options %v, want %v", codes, want)
		}
		time.Sleep(4 * time.Second)
		if c := w.s.Conflict(); !c.IsZero() {
			t.Errorf("the server that we help is a conflict: %+v", c)
		}
		if o := w.s.Others(); len(o) != 1 || o[0].MAC != stranger {
			t.Errorf("others: %+v", o)
		}
	})
}

func TestWatchMode(t *testing.T) {
	cfg := testConfig()
	cfg.Mode, cfg.Pools = Watch, nil
	run(t, cfg, func(w *world) {
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1, phoneClass), allOnes))
		w.silence(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, phoneClass, optIP(optRequestedIP, ip4("192.0.2.9")), optIP(optServerID, ip4("192.0.2.2"))), allOnes))
		w.silence(w.send(w.message(dhcpv4.MessageTypeInform, mac1, phoneClass, ciaddr(ip4("192.0.2.9"))), allOnes))
		w.silence(w.send(w.message(dhcpv4.MessageTypeDecline, mac1, phoneClass), allOnes))
		w.silence(w.send(w.message(dhcpv4.MessageTypeRelease, mac1, ciaddr(ip4("192.0.2.9"))), serverIP))
		w.silence(w.send(w.message(dhcpv4.MessageTypeOffer, mac1), allOnes))
		want := []story.Code{story.Discover, story.Request, story.Inform, story.Decline, story.Release}
		if got := w.codes(mac1); !slices.Equal(got, want) {
			t.Errorf("story %v, want %v", got, want)
		}
		if o := w.s.Others(); len(o) != 1 || o[0].IP != ip4("192.0.2.2") || !w.s.Conflict().IsZero() {
			t.Errorf("others: %+v, conflict %+v", o, w.s.Conflict())
		}
		time.Sleep(forgetOthers + time.Second)
		if o := w.s.Others(); len(o) != 0 {
			t.Errorf("others: %+v", o)
		}
	})
}

// serving runs a server that has looked and found nobody.
func serving(t *testing.T, cfg Config, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := prepare(t, cfg).start(cfg)
		defer w.stop()
		time.Sleep(defaultQuiet + 2*time.Second)
		f(w)
	})
}

// takesForeign is what a client says to everybody when it takes the offer of
// another server.
func (w *world) takesForeign(m mac.Addr, mods ...mod) *dhcpv4.DHCPv4 {
	mods = append([]mod{optIP(optRequestedIP, ip4("192.0.2.200")), optIP(optServerID, ip4("192.0.2.2"))}, mods...)
	return w.message(dhcpv4.MessageTypeRequest, m, mods...)
}

func TestAnotherServerComesWhileServing(t *testing.T) {
	other := OtherServer{IP: ip4("192.0.2.2"), MAC: stranger}
	for _, tc := range []struct {
		name  string
		comes func(w *world)
	}{
		{"found by a look", func(w *world) {
			w.probe.set(func(p *memProbe) { p.servers = []OtherServer{other} })
			time.Sleep(lookAgain + defaultQuiet)
		}},
		{"named by a client", func(w *world) {
			w.probe.set(func(p *memProbe) { p.hosts[other.IP] = stranger })
			w.silence(w.send(w.takesForeign(mac3), allOnes))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Lease = 12 * time.Hour
			serving(t, cfg, func(w *world) {
				ip := w.dora(mac1)
				tc.comes(w)
				// Not one more offer.
				w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac2), allOnes))
				w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
				if got := w.lastReason(mac2); got != story.OtherServerHere {
					t.Errorf("reason %q", got)
				}
				time.Sleep(2 * defaultQuiet)
				if c := w.s.Conflict(); !c.Blocking || c.IP != other.IP || c.MAC != stranger {
					t.Errorf("conflict: %+v", c)
				}
				// Who holds a lease of ours keeps it for the grace.
				start := time.Now()
				renew := func() []sent { return w.send(w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(ip)), serverIP) }
				w.one(renew(), dhcpv4.MessageTypeAck)
				for range 3 {
					w.probe.set(func(p *memProbe) { p.servers = []OtherServer{other} })
					time.Sleep(6 * time.Hour)
					ack := w.one(renew(), dhcpv4.MessageTypeAck)
					if end := time.Since(start) + ack.IPAddressLeaseTime(0); end > grace+time.Minute {
						t.Errorf("renewed until %v after the other came", end)
					}
				}
				time.Sleep(6 * time.Hour)
				w.silence(renew())
				w.s.ServeBeside(w.s.Rivals())
				w.one(w.send(w.message(dhcpv4.MessageTypeDiscover, mac2), allOnes), dhcpv4.MessageTypeOffer)
				time.Sleep(time.Hour)
				w.dora(mac2)
				if c := w.s.Conflict(); c.IP != other.IP || c.Blocking {
					t.Errorf("conflict: %+v", c)
				}
				// A third server is another matter.
				w.probe.set(func(p *memProbe) { p.servers = append(p.servers, OtherServer{IP: ip4("192.0.2.3"), MAC: mac3}) })
				time.Sleep(lookAgain + defaultQuiet)
				w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac3), allOnes))
			})
		})
	}
}

func TestOffersGoOnWhenTheOtherServerIsGone(t *testing.T) {
	serving(t, testConfig(), func(w *world) {
		w.silence(w.send(w.takesForeign(mac3), allOnes))
		time.Sleep(stayBlocked - time.Minute)
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		time.Sleep(2 * time.Minute)
		w.one(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes), dhcpv4.MessageTypeOffer)
		if c := w.s.Conflict(); !c.IsZero() {
			t.Errorf("conflict: %+v", c)
		}
	})
}

// TestNoFalseAlarm: what the box itself brings to the segment, or what may be
// about another segment, stops nothing.
func TestNoFalseAlarm(t *testing.T) {
	cfg := testConfig()
	cfg.Ours = []netip.Addr{ip4("192.0.2.2"), ip4("198.51.100.67")}
	serving(t, cfg, func(w *world) {
		w.probe.set(func(p *memProbe) {
			p.servers = []OtherServer{{IP: ip4("192.0.2.2"), MAC: stranger}, {IP: ip4("198.51.100.67"), MAC: stranger}}
		})
		w.send(w.takesForeign(mac3), allOnes) // an address of ours
		time.Sleep(time.Hour)
		if c := w.s.Conflict(); !c.IsZero() {
			t.Errorf("conflict: %+v", c)
		}
		w.dora(mac1)
	})
	serving(t, testConfig(), func(w *world) {
		w.send(w.takesForeign(mac3, giaddr(ip4("192.0.2.9"))), serverIP)                                                              // through a relay
		w.send(w.takesForeign(mac3), serverIP)                                                                                        // to us alone
		w.send(w.message(dhcpv4.MessageTypeRequest, mac3, ciaddr(ip4("192.0.2.200")), optIP(optServerID, ip4("192.0.2.2"))), allOnes) // a renewal
		if c := w.s.Conflict(); c.Blocking {
			t.Errorf("conflict: %+v", c)
		}
		w.dora(mac1)
	})
}

func TestOffersInVain(t *testing.T) {
	serving(t, testConfig(), func(w *world) {
		for i := range untakenMany {
			if got := w.s.Untaken(); len(got) != 0 {
				t.Errorf("after %d: %v", i, got)
			}
			w.discover(mac1)
			w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, byte(0x80 + i)})
			time.Sleep(4 * time.Second)
		}
		if got := w.s.Untaken(); len(got) != 1 || got[0].MAC != mac1 || got[0].Offers != untakenMany {
			t.Errorf("got %v", got)
		}
		if got := w.lastReason(mac1); got != story.OffersNotTaken {
			t.Errorf("reason %q", got)
		}
		w.dora(mac1)
		if got := w.s.Untaken(); len(got) != 0 {
			t.Errorf("it took one, and still: %v", got)
		}
	})
}

func TestUntakenIsBounded(t *testing.T) {
	var u untaken
	now := time.Unix(0, 0)
	for i := range 2 * maxUntaken {
		u.offered(mac.Addr{0, 0, byte(i >> 16), byte(i >> 8), byte(i), 2}, now)
	}
	if n := len(u.list); n > maxUntaken {
		t.Errorf("%d clients are counted", n)
	}
	u.offered(mac1, now.Add(time.Hour))
	if n := len(u.list); n != 1 {
		t.Errorf("%d clients are counted after an hour", n)
	}
}
