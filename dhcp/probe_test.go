package dhcp

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestOfferDoesNotWaitForARP: addresses were asked for before the client came.
func TestOfferDoesNotWaitForARP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.199")}
		cfg.Quiet = -1
		w := prepare(t, cfg)
		w.probe.delay = 400 * time.Millisecond
		w.start(cfg)
		defer w.stop()
		time.Sleep(time.Second)
		synctest.Wait()
		start := time.Now()
		for i := range readyAhead {
			w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, byte(i)})
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("%d new clients waited %v in all", readyAhead, d)
		}
		// One more than was ready: it gets its offer when the probe is done,
		// without asking again.
		m := mac.Addr{0, 0, 0x5e, 0, 0x53, 0x80}
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, m), allOnes))
		time.Sleep(900 * time.Millisecond)
		w.one(w.replies(), dhcpv4.MessageTypeOffer)
		// While the scout waits for ARP, known clients are served at once.
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac.Addr{0, 0, 0x5e, 0, 0x53, 0x81}, optIP(optRequestedIP, ip4("192.0.2.190"))), allOnes))
		w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, 0})
		time.Sleep(900 * time.Millisecond)
		if got := addrOf(w.one(w.replies(), dhcpv4.MessageTypeOffer).YourIPAddr); got != ip4("192.0.2.190") {
			t.Errorf("offered %v, want the address that was asked for", got)
		}
	})
}

// TestEveryNewAddressIsProbed: no address goes out that was not asked for.
func TestEveryNewAddressIsProbed(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		for i := range 10 {
			ip := w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, byte(i)})
			if !slices.Contains(w.probe.asked, ip) {
				t.Errorf("%v was given out without a probe", ip)
			}
		}
	})
}

func TestAddressInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Quiet = -1
		cfg.Reservations = []Reservation{{mac2, ip4("192.0.2.20")}, {mac3, ip4("192.0.2.21")}}
		w := prepare(t, cfg)
		w.probe.hosts = map[netip.Addr]mac.Addr{
			ip4("192.0.2.100"): stranger,
			ip4("192.0.2.105"): stranger,
			ip4("192.0.2.20"):  stranger,
			ip4("192.0.2.21"):  mac3,
			ip4("192.0.2.107"): mac1,
		}
		w.start(cfg)
		defer w.stop()
		if got := w.dora(mac2); got == ip4("192.0.2.20") || got == ip4("192.0.2.100") {
			t.Errorf("%v is in use by a stranger and was given out", got)
		}
		if got := w.dora(mac3); got != ip4("192.0.2.21") {
			t.Errorf("the device that holds its reservation already got %v", got)
		}
		if u := w.s.Pools()[0]; u.Declined < 2 {
			t.Errorf("usage: %+v", u)
		}
		// On the stories of both.
		var saw []mac.Addr
		for _, e := range w.events {
			if e.Code == story.Conflict && e.Args.MAC == stranger && e.Proto == story.ARP {
				saw = append(saw, e.mac)
			}
		}
		if !slices.Contains(saw, stranger) {
			t.Errorf("conflicts are on the stories of %v", saw)
		}
		// The stranger left: the address comes back after the quarantine.
		w.probe.set(func(p *memProbe) { clear(p.hosts) })
		time.Sleep(quarantine + 2*time.Second)
		for i := range 9 {
			w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, byte(0x80 + i)})
		}
		if u := w.s.Pools()[0]; u.Bound != 10 || u.Free != 0 {
			t.Errorf("usage: %+v", u)
		}
	})
}

// TestProbeFails: without a segment there is nobody to be served, and the
// service comes back by itself.
func TestProbeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		w := prepare(t, cfg)
		w.probe.err = errors.New("network is down")
		w.start(cfg)
		defer w.stop()
		time.Sleep(time.Minute)
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		w.probe.set(func(p *memProbe) { p.err = nil })
		time.Sleep(5 * time.Second)
		w.one(w.replies(), dhcpv4.MessageTypeOffer)
		w.dora(mac1)
	})
}

func TestLooksBeforeTheFirstOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		w := prepare(t, cfg).start(cfg)
		defer w.stop()
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		if got := w.lastReason(mac1); got != story.ProbingFirst {
			t.Errorf("reason %q", got)
		}
		// No NAK either: the client may be somebody else's.
		w.silence(w.send(w.message(dhcpv4.MessageTypeRequest, mac2, optIP(optRequestedIP, ip4("198.51.100.3"))), allOnes))
		time.Sleep(2900 * time.Millisecond)
		w.silence(w.replies())
		time.Sleep(200 * time.Millisecond)
		w.one(w.replies(), dhcpv4.MessageTypeOffer)
	})
}

func TestAnotherServerKeepsUsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := OtherServer{IP: ip4("192.0.2.2"), MAC: stranger}
		cfg := testConfig()
		w := prepare(t, cfg)
		w.probe.servers = []OtherServer{other}
		w.start(cfg)
		defer w.stop()
		time.Sleep(4 * time.Second)
		discover := func() []sent { return w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes) }
		w.silence(discover())
		if got := w.lastReason(mac1); got != story.OtherServerHere {
			t.Errorf("reason %q", got)
		}
		if got := w.s.Conflict(); got.IP != other.IP || got.MAC != other.MAC || !got.Blocking {
			t.Errorf("conflict: %+v", got)
		}
		w.silence(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip4("198.51.100.3"))), allOnes))
		w.silence(w.send(w.message(dhcpv4.MessageTypeInform, mac1, ciaddr(ip4("192.0.2.9"))), allOnes))
		time.Sleep(time.Hour)
		w.silence(discover())
		if got := w.s.Conflict(); !got.Blocking {
			t.Errorf("forgotten while it is there: %+v", got)
		}
		// It goes away.
		w.probe.set(func(p *memProbe) { p.servers = nil })
		time.Sleep(lookBlocked + 4*time.Second)
		w.one(discover(), dhcpv4.MessageTypeOffer)
		if got := w.s.Conflict(); !got.IsZero() {
			t.Errorf("conflict: %+v", got)
		}
	})
}

func TestServeAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		w := prepare(t, cfg)
		w.probe.servers = []OtherServer{{IP: serverIP, MAC: stranger}, {IP: ip4("192.0.2.2"), MAC: stranger}}
		w.start(cfg)
		defer w.stop()
		time.Sleep(4 * time.Second)
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		w.s.ServeBeside(w.s.Rivals())
		w.one(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes), dhcpv4.MessageTypeOffer)
		time.Sleep(time.Hour)
		w.one(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes), dhcpv4.MessageTypeOffer)
	})
}

// TestBeside: after a restart the administrator's word still holds, for the
// servers that it was about.
func TestBeside(t *testing.T) {
	known, another := ip4("192.0.2.2"), ip4("192.0.2.3")
	for _, tc := range []struct {
		name   string
		there  netip.Addr
		offers bool
	}{
		{"the one that was there", known, true},
		{"one that came later", another, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig()
				cfg.Beside = []netip.Addr{known}
				w := prepare(t, cfg)
				w.probe.servers = []OtherServer{{IP: tc.there, MAC: stranger}}
				w.start(cfg)
				defer w.stop()
				time.Sleep(4 * time.Second)
				got := w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes)
				if tc.offers {
					w.one(got, dhcpv4.MessageTypeOffer)
				} else {
					w.silence(got)
				}
				if !slices.Contains(w.s.Rivals(), tc.there) || !slices.Contains(w.s.Rivals(), known) {
					t.Errorf("rivals %v", w.s.Rivals())
				}
			})
		})
	}
}

func TestReadyQueueKeepsAddressesFresh(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		var before, after int
		w.probe.set(func(p *memProbe) { before = len(p.asked) })
		time.Sleep(time.Hour)
		w.probe.set(func(p *memProbe) { after = len(p.asked) })
		if rounds := (after - before) / 10; rounds < 20 || rounds > 40 {
			t.Errorf("the ready addresses were asked for %d times within an hour, want once in about two minutes", rounds)
		}
		w.dora(mac1)
	})
}

func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		w := prepare(t, cfg).start(cfg)
		defer w.stop()
		for i := range 3 * maxWaiting {
			w.conn.in <- inbound{b: w.message(dhcpv4.MessageTypeDiscover, mac.Addr{0, 0, 0x5e, 0x11, byte(i >> 8), byte(i)}).ToBytes(), to: allOnes}
		}
		synctest.Wait()
		w.s.waiting.mu.Lock()
		n := len(w.s.waiting.list)
		w.s.waiting.mu.Unlock()
		if n > maxWaiting {
			t.Errorf("%d clients wait", n)
		}
		time.Sleep(10 * time.Second)
		if got := len(w.replies()); got != 10 {
			t.Errorf("%d offers from a pool of 10", got)
		}
		time.Sleep(10 * time.Second)
		w.s.waiting.mu.Lock()
		defer w.s.waiting.mu.Unlock()
		if n := len(w.s.waiting.list); n != 0 {
			t.Errorf("%d clients wait for ever", n)
		}
	})
}

// TestRelayedOffersNeverWait: ARP does not reach behind a relay, so all of
// the pool goes out without a probe, each address once.
func TestRelayedOffersNeverWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Pools = []Pool{pool("192.0.2.1-192.0.2.249")} // beyond what is kept ready
		cfg.Quiet = -1
		w := prepare(t, cfg)
		w.probe.delay = 400 * time.Millisecond
		w.start(cfg)
		defer w.stop()
		start, given := time.Now(), map[netip.Addr]bool{}
		for i := range 200 {
			ip := w.dora(mac.Addr{0, 0, 0x5e, 0, 0x53, byte(i)}, giaddr(ip4("192.0.2.250")))
			if given[ip] {
				t.Fatalf("%v was given out twice", ip)
			}
			given[ip] = true
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("200 relayed clients waited %v in all", d)
		}
	})
}
