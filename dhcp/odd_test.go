package dhcp

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Clients and relays that do what few do.

// agent is option 82 with some sub-options.
func agent(subs ...option) mod {
	var b []byte
	for _, o := range subs {
		b = appendOption(b, o)
	}
	return opt(optRelayAgent, b...)
}

// farNetwork is a network behind a relay.
func farNetwork() Config {
	cfg := testConfig()
	cfg.Networks = []Network{{Subnet: netip.MustParsePrefix("198.51.100.0/24"), Pools: []Pool{pool("198.51.100.10-198.51.100.11")}, Router: ip4("198.51.100.1")}}
	return cfg
}

// TestServerOverride: a relay that stays in the path gives us its name
// (RFC 5107), and passes renewals on with the word that they were unicast
// (RFC 5010).
func TestServerOverride(t *testing.T) {
	run(t, farNetwork(), func(w *world) {
		relay := ip4("198.51.100.1")
		through := []mod{giaddr(relay), agent(option{subCircuitID, []byte("sw1/7")}, option{subServerOverride, addrs(relay)})}
		named := func(s sent) {
			t.Helper()
			if got := addrOf(s.Options[optServerID]); got != relay {
				t.Errorf("%v calls itself %v", s.MessageType(), got)
			}
			if s.to.Addr != netip.AddrPortFrom(relay, serverPort) || string(subOption(s.Options[optRelayAgent], subCircuitID)) != "sw1/7" {
				t.Errorf("to %v with %x", s.to.Addr, s.Options[optRelayAgent])
			}
		}
		offer := w.discover(mac1, through...)
		named(offer)
		ip := addrOf(offer.YourIPAddr)
		ask := append(slices.Clone(through), optIP(optRequestedIP, ip), optIP(optServerID, relay))
		named(w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, ask...), serverIP), dhcpv4.MessageTypeAck))

		direct := []mod{giaddr(relay), agent(option{subServerOverride, addrs(relay)}, option{subFlags, []byte{0x80}}, option{subCircuitID, []byte("sw1/7")})}
		renew := append(slices.Clone(direct), ciaddr(ip))
		named(w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, renew...), serverIP), dhcpv4.MessageTypeAck))
		// Nobody else has this lease, and RENEWING goes to its server alone.
		unknown := append(slices.Clone(direct), ciaddr(ip4("198.51.100.11")))
		named(w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac2, unknown...), serverIP), dhcpv4.MessageTypeNak))
		release := append(slices.Clone(direct), ciaddr(ip), optIP(optServerID, relay))
		w.silence(w.send(w.message(dhcpv4.MessageTypeRelease, mac1, release...), serverIP))
		if _, ok := w.s.Whois(ip); ok {
			t.Error("not released")
		}
		if c := w.s.Conflict(); !c.IsZero() {
			t.Errorf("false alarm: %+v", c)
		}
	})
}

// TestOverrideNeedsRelay: who is on the segment itself can't rename us.
func TestOverrideNeedsRelay(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		offer := w.discover(mac1, agent(option{subServerOverride, addrs(ip4("192.0.2.66"))}))
		if got := addrOf(offer.Options[optServerID]); got != serverIP {
			t.Errorf("calls itself %v", got)
		}
	})
}

// TestRelayedRebinding: what comes through a relay was a broadcast, which
// other servers hear too. The lease of one of them is not ours to refuse.
func TestRelayedRebinding(t *testing.T) {
	run(t, farNetwork(), func(w *world) {
		relayed := giaddr(ip4("198.51.100.1"))
		w.silence(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, relayed, ciaddr(ip4("198.51.100.11"))), serverIP))
		if r := w.lastReason(mac1); r != story.LeaseUnknown {
			t.Errorf("reason %q", r)
		}
	})
}

// TestFarPoolExhausted: the story tells how many addresses that network has.
func TestFarPoolExhausted(t *testing.T) {
	run(t, farNetwork(), func(w *world) {
		relayed := giaddr(ip4("198.51.100.1"))
		for _, m := range []mac.Addr{mac1, mac2} {
			ip := addrOf(w.discover(m, relayed).YourIPAddr)
			w.one(w.selecting(m, ip, relayed), dhcpv4.MessageTypeAck)
		}
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac3, relayed, opt(optRequested, 66)), serverIP))
		w.mu.Lock()
		defer w.mu.Unlock()
		if e := w.events[len(w.events)-1]; e.Args.Reason != story.PoolExhausted || e.Args.Total != 2 {
			t.Errorf("told %+v", e.Args)
		}
	})
}

// TestDeclineStorm: a device that finds every address in use puts three of
// them aside and no more.
func TestDeclineStorm(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		for range 12 {
			ip := addrOf(w.discover(mac1).YourIPAddr)
			w.one(w.selecting(mac1, ip), dhcpv4.MessageTypeAck)
			w.silence(w.send(w.message(dhcpv4.MessageTypeDecline, mac1, optIP(optRequestedIP, ip), optIP(optServerID, serverIP)), allOnes))
			time.Sleep(10 * time.Second) // RFC 2131 §3.1: a client waits as long
		}
		if u := w.s.Pools()[0]; u.Declined != declinesBelieved || u.Free != 10-declinesBelieved {
			t.Errorf("pool: %+v", u)
		}
		if r := w.lastReason(mac1); r != story.DeclinesAll {
			t.Errorf("reason %q", r)
		}
		w.dora(mac2)
		time.Sleep(quarantine)
		w.dora(mac1) // it is well again
		if u := w.s.Pools()[0]; u.Declined != 0 || u.Bound != 2 {
			t.Errorf("afterwards: %+v", u)
		}
	})
}

// TestStrangersDecline: whoever makes devices up that give each address back
// gets no more of the pool than others that are no phones.
func TestStrangersDecline(t *testing.T) {
	cfg := testConfig()
	cfg.OthersShare = 50
	run(t, cfg, func(w *world) {
		declined := 0
		for i := range byte(30) {
			m := mac.Addr{0x02, 0, 0, 0, 7, i}
			got := w.send(w.message(dhcpv4.MessageTypeDiscover, m), allOnes)
			if len(got) == 0 {
				time.Sleep(time.Second)
				continue
			}
			ip := addrOf(got[0].YourIPAddr)
			w.one(w.selecting(m, ip), dhcpv4.MessageTypeAck)
			w.send(w.message(dhcpv4.MessageTypeDecline, m, optIP(optRequestedIP, ip), optIP(optServerID, serverIP)), allOnes)
			declined++
		}
		if declined != 5 {
			t.Errorf("%d addresses of 10 given back by strangers", declined)
		}
		w.dora(mac1, phoneClass)
	})
}

// TestQuarantineGivesWay: when nothing else is left, what rests for a minute
// is asked for again, and given out if nobody answers.
func TestQuarantineGivesWay(t *testing.T) {
	cfg := testConfig()
	cfg.Pools = []Pool{pool("192.0.2.100-192.0.2.101")}
	run(t, cfg, func(w *world) {
		for _, m := range []mac.Addr{mac1, mac2} {
			ip := w.dora(m)
			w.send(w.message(dhcpv4.MessageTypeDecline, m, optIP(optRequestedIP, ip), optIP(optServerID, serverIP)), allOnes)
		}
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac3), allOnes))
		w.probe.set(func(p *memProbe) { p.hosts[ip4("192.0.2.100")] = stranger })
		time.Sleep(restAtLeast + 5*time.Second)
		w.replies()
		if ip := w.dora(mac3); ip != ip4("192.0.2.101") {
			t.Errorf("given %v, which somebody uses", ip)
		}
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
	})
}

// TestRelayKnowsServersAfterRestart: a PC that takes the offer of a server
// that we relay to raises no alarm, though that server calls itself by another
// address than it is reached at, and we have just been started again.
func TestRelayKnowsServersAfterRestart(t *testing.T) {
	lease := Lease{IP: ip4("192.0.2.77"), MAC: mac2, State: Relayed, Server: far2, Granted: time.Now(), Expires: time.Now().Add(1000000 * time.Hour)}
	relaying(t, relayConfig(), func(w *world) {
		w.forwarded(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip4("192.0.2.78")), optIP(optServerID, far2)), allOnes), far1)
		if c := w.s.Conflict(); !c.IsZero() {
			t.Errorf("false alarm: %+v", c)
		}
	}, lease)
}

// TestVendorIdentifying: options 124 and 125 (RFC 3925) are no obstacle.
func TestVendorIdentifying(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		long := append([]byte{0, 0, 0x0d, 0xe9, 200}, make([]byte, 200)...)
		offer := w.discover(mac1, opt(124, long...), opt(125, long...), opt(optMaxSize, 0, 1), phoneClass)
		if string(offer.Options[66]) == "" || len(offer.raw) > minimumDatagram-ipUDPOverhead {
			t.Errorf("%d octets: %v", len(offer.raw), offer.DHCPv4)
		}
	})
}
