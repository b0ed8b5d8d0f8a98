package dhcp

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

var (
	far1 = ip4("198.51.100.67") // servers behind the relay
	far2 = ip4("198.51.100.68")
)

func relayConfig() Config {
	cfg := testConfig()
	cfg.Mode, cfg.Pools, cfg.RelayTo = Relay, nil, []netip.Addr{far1}
	return cfg
}

// relaying runs a relay whose look for local servers is over.
func relaying(t *testing.T, cfg Config, f func(w *world), rows ...Lease) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := prepare(t, cfg, rows...).start(cfg)
		defer w.stop()
		time.Sleep(defaultQuiet + time.Second)
		f(w)
	})
}

// reply delivers the answer of a server elsewhere.
func (w *world) reply(m *dhcpv4.DHCPv4, from netip.Addr) []sent {
	w.conn.in <- inbound{m.ToBytes(), netip.AddrPortFrom(from, serverPort), serverIP}
	return w.replies()
}

// answer makes what a server says to a request that was relayed to it.
func (w *world) answer(to sent, kind dhcpv4.MessageType, ip netip.Addr, id netip.Addr, mods ...mod) *dhcpv4.DHCPv4 {
	w.t.Helper()
	d, err := dhcpv4.NewReplyFromRequest(to.DHCPv4)
	if err != nil {
		w.t.Fatal(err)
	}
	d.YourIPAddr = ip.AsSlice()
	d.UpdateOption(dhcpv4.OptMessageType(kind))
	d.Options[optServerID] = id.AsSlice()
	d.Options[optLeaseTime] = []byte{0, 0, 2, 88} // 600 s
	d.Options[66] = []byte("tftp.example.com")
	d.Options[optRelayAgent] = to.Options[optRelayAgent]
	for _, m := range mods {
		m(d)
	}
	return d
}

func phoneClass(d *dhcpv4.DHCPv4) { d.Options[optVendorClass] = []byte("phone") }

// forwarded insists on one message to a server.
func (w *world) forwarded(got []sent, to netip.Addr) sent {
	w.t.Helper()
	if len(got) != 1 || got[0].to.Addr != netip.AddrPortFrom(to, serverPort) || got[0].OpCode != dhcpv4.OpcodeBootRequest {
		w.t.Fatalf("got %v, want one request to %v", got, to)
	}
	return got[0]
}

func TestRelayLeavesOthersAlone(t *testing.T) {
	relaying(t, relayConfig(), func(w *world) {
		m := w.message(dhcpv4.MessageTypeDiscover, mac1, opt(optRequested, 1, 3, 66), opt(224, 1, 2, 3))
		fwd := w.forwarded(w.send(m, allOnes), far1)
		if fwd.HopCount != 1 || addrOf(fwd.GatewayIPAddr) != serverIP {
			t.Errorf("hops %d, giaddr %v", fwd.HopCount, fwd.GatewayIPAddr)
		}
		agent := fwd.Options[optRelayAgent]
		if got := subOption(agent, subCircuitID); string(got) != "test0" {
			t.Errorf("circuit id %q", got)
		}
		if len(subOption(agent, subRemoteID)) == 0 || subOption(agent, subServerOverride) != nil {
			t.Errorf("option 82: %x", agent)
		}
		// But for the duties of a relay, not one octet differs.
		back := slices.Clone(without(fwd.raw, optRelayAgent))
		back[atHops] = 0
		copy(back[atGiaddr:], make([]byte, 4))
		if diff := cmp.Diff(padded(m.ToBytes()), back); diff != "" {
			t.Errorf("the request was changed (-client +server):\n%s", diff)
		}
		offer := w.answer(fwd, dhcpv4.MessageTypeOffer, ip4("192.0.2.77"), far1)
		got := w.reply(offer, far1)
		if len(got) != 1 || got[0].to.HW != mac1 || got[0].to.Addr.Addr() != ip4("192.0.2.77") {
			t.Fatalf("got %+v", got)
		}
		delete(offer.Options, optRelayAgent)
		if diff := cmp.Diff(padded(offer.ToBytes()), got[0].raw); diff != "" {
			t.Errorf("the answer was changed (-server +client):\n%s", diff)
		}
		// Its REQUEST goes through too, and names the other server without alarm.
		w.forwarded(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, optIP(optRequestedIP, ip4("192.0.2.77")), optIP(optServerID, far1)), allOnes), far1)
		if c := w.s.Conflict(); !c.IsZero() {
			t.Errorf("conflict: %+v", c)
		}
	})
}

// TestRelayPhone walks through the life of a phone's lease behind us.
func TestRelayPhone(t *testing.T) {
	for _, tc := range []struct {
		name     string
		override bool // the server knows RFC 5107
	}{{"server without RFC 5107", false}, {"server with RFC 5107", true}} {
		t.Run(tc.name, func(t *testing.T) {
			relaying(t, relayConfig(), func(w *world) {
				id, asServer := far1, far1
				if tc.override {
					id, asServer = serverIP, serverIP
				}
				list := opt(optRequested, 1, 66)
				fwd := w.forwarded(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1, phoneClass, list), allOnes), far1)
				if got := addrOf(subOption(fwd.Options[optRelayAgent], subServerOverride)); got != serverIP {
					t.Errorf("override %v", got)
				}
				ip := ip4("192.0.2.77")
				offer := w.one(w.reply(w.answer(fwd, dhcpv4.MessageTypeOffer, ip, id), far1), dhcpv4.MessageTypeOffer)
				if got := addrOf(offer.Options[optServerID]); got != serverIP {
					t.Errorf("option 54 towards the phone: %v", got)
				}
				if got := string(offer.Options[66]); got != "http://192.0.2.1/" {
					t.Errorf("option 66: %q", got)
				}
				if offer.Options[160] == nil || offer.Options[optRelayAgent] != nil || offer.Options[43] != nil {
					t.Errorf("options: %v", offer.Options)
				}
				fwd = w.forwarded(w.selecting(mac1, ip, phoneClass, list), far1)
				if got := addrOf(fwd.Options[optServerID]); got != asServer {
					t.Errorf("option 54 towards the server: %v, want %v", got, asServer)
				}
				if got := addrOf(subOption(fwd.Options[optRelayAgent], subServerOverride)); got.IsValid() != tc.override {
					t.Errorf("override %v", got)
				}
				w.one(w.reply(w.answer(fwd, dhcpv4.MessageTypeAck, ip, id), far1), dhcpv4.MessageTypeAck)
				if m, ok := w.s.Relayed(ip); !ok || m != mac1 {
					t.Errorf("Relayed: %v, %v", m, ok)
				}
				if len(w.acked) != 1 || w.acked[0].IP != ip {
					t.Errorf("acked: %v", w.acked)
				}
				if m, why := NewWhois([]*Server{w.s}, nil, nil).Whois(ip); m != mac1 || why != mac.RelayedLease {
					t.Errorf("Whois: %v, %v", m, why)
				}
				// The renewal comes to us and goes the same way.
				time.Sleep(5 * time.Minute)
				fwd = w.forwarded(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, phoneClass, list, ciaddr(ip)), serverIP), far1)
				if addrOf(fwd.GatewayIPAddr) != serverIP || addrOf(fwd.ClientIPAddr) != ip {
					t.Errorf("renewal: %v", fwd)
				}
				ack := w.one(w.reply(w.answer(fwd, dhcpv4.MessageTypeAck, ip, id, ciaddr(ip)), far1), dhcpv4.MessageTypeAck)
				if ack.to.Addr.Addr() != ip || string(ack.Options[66]) != "http://192.0.2.1/" {
					t.Errorf("renewed: %+v", ack.to)
				}
				time.Sleep(9 * time.Minute)
				if _, ok := w.s.Relayed(ip); !ok {
					t.Error("the renewal was not learnt")
				}
				if l, ok := w.store.row(ip); !ok || l.State != Relayed || l.Server != id || l.MAC != mac1 {
					t.Errorf("on disk: %+v", l)
				}
				fwd = w.forwarded(w.send(w.message(dhcpv4.MessageTypeRelease, mac1, phoneClass, ciaddr(ip), optIP(optServerID, serverIP)), serverIP), far1)
				if got := addrOf(fwd.Options[optServerID]); got != asServer {
					t.Errorf("RELEASE names %v", got)
				}
				if _, ok := w.s.Relayed(ip); ok {
					t.Error("released, and still held for its own")
				}
			})
		})
	}
}

func TestRelayRemembersAcrossARestart(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	ip := ip4("192.0.2.77")
	row := Lease{IP: ip, MAC: mac1, State: Relayed, Server: far2, Granted: now, Expires: now.Add(time.Hour)}
	old := Lease{IP: ip4("192.0.2.78"), MAC: mac2, State: Relayed, Server: far2, Granted: now.Add(-2 * time.Hour), Expires: now}
	relaying(t, relayConfig(), func(w *world) {
		if m, ok := w.s.Relayed(ip); !ok || m != mac1 {
			t.Errorf("Relayed: %v, %v", m, ok)
		}
		if l := w.s.Leases(); len(l) != 1 {
			t.Errorf("leases: %v", l)
		}
		fwd := w.forwarded(w.selecting(mac1, ip, phoneClass), far1)
		if got := addrOf(fwd.Options[optServerID]); got != far2 {
			t.Errorf("option 54 towards the server: %v", got)
		}
	}, row, old)
	cfg := relayConfig()
	cfg.RelayTo = append(cfg.RelayTo, far2)
	relaying(t, cfg, func(w *world) {
		got := w.selecting(mac3, ip, phoneClass) // its OFFER came before the restart
		if len(got) != 2 {
			t.Fatalf("got %v", got)
		}
		for _, m := range got {
			if id := addrOf(m.Options[optServerID]); id != m.to.Addr.Addr() || subOption(m.Options[optRelayAgent], subServerOverride) != nil {
				t.Errorf("%v was told %v", m.to.Addr, id)
			}
		}
	})
	// A relayed lease is not ours to give out, should the mode change.
	run(t, testConfig(), func(w *world) {
		if l := w.s.Leases(); len(l) != 0 {
			t.Errorf("leases: %v", l)
		}
	}, row)
}

func TestRelayRefuses(t *testing.T) {
	relaying(t, relayConfig(), func(w *world) {
		discover := func(mods ...mod) *dhcpv4.DHCPv4 { return w.message(dhcpv4.MessageTypeDiscover, mac1, mods...) }
		w.silence(w.send(discover(giaddr(serverIP)), allOnes)) // our own address
		w.silence(w.send(discover(opt(optRelayAgent, 1, 1, 'x')), allOnes))
		if got := w.lastReason(mac1); got != story.RelayUntrusted {
			t.Errorf("reason %q", got)
		}
		w.silence(w.send(discover(func(d *dhcpv4.DHCPv4) { d.HopCount = 16 }), allOnes))
		// Through another relay: the hops are ours, nothing else.
		fwd := w.forwarded(w.send(discover(giaddr(ip4("192.0.2.9")), opt(optRelayAgent, 1, 1, 'x')), serverIP), far1)
		if addrOf(fwd.GatewayIPAddr) != ip4("192.0.2.9") || !bytes.Equal(fwd.Options[optRelayAgent], []byte{1, 1, 'x'}) || fwd.HopCount != 1 {
			t.Errorf("%v", fwd)
		}
		fwd = w.forwarded(w.send(discover(), allOnes), far1)
		offer := w.answer(fwd, dhcpv4.MessageTypeOffer, ip4("192.0.2.77"), far1)
		w.silence(w.reply(offer, far2)) // not a server that we asked
		w.silence(w.reply(w.answer(fwd, dhcpv4.MessageTypeOffer, ip4("198.51.100.9"), far1), far1))
		offer.GatewayIPAddr = ip4("192.0.2.9").AsSlice()
		w.silence(w.reply(offer, far1))
		w.silence(w.sendRaw([]byte{2}, serverIP))
	})
	cfg := relayConfig()
	cfg.RelayTrust = true
	relaying(t, cfg, func(w *world) {
		fwd := w.forwarded(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1, opt(optRelayAgent, 1, 1, 'x')), allOnes), far1)
		if got := fwd.Options[optRelayAgent]; !bytes.Equal(got, []byte{1, 1, 'x'}) {
			t.Errorf("option 82: %x", got)
		}
		got := w.one(w.reply(w.answer(fwd, dhcpv4.MessageTypeOffer, ip4("192.0.2.77"), far1), far1), dhcpv4.MessageTypeOffer)
		if !bytes.Equal(got.Options[optRelayAgent], []byte{1, 1, 'x'}) {
			t.Error("the switch's information did not come back to it")
		}
	})
}

func TestRelayOnlyWhereNoServerIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := relayConfig()
		w := prepare(t, cfg)
		w.probe.servers = []OtherServer{{IP: ip4("192.0.2.2"), MAC: stranger}}
		w.start(cfg)
		defer w.stop()
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		if got := w.lastReason(mac1); got != story.ProbingFirst {
			t.Errorf("reason %q", got)
		}
		time.Sleep(4 * time.Second)
		w.silence(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes))
		if got := w.lastReason(mac1); got != story.ServerIsLocal {
			t.Errorf("reason %q", got)
		}
		if c := w.s.Conflict(); c.IP != ip4("192.0.2.2") || !c.Blocking {
			t.Errorf("conflict: %+v", c)
		}
		w.s.ServeBeside(w.s.Rivals())
		w.forwarded(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes), far1)
	})
}

func TestRelaySilence(t *testing.T) {
	relaying(t, relayConfig(), func(w *world) {
		var fwd sent
		for range 4 {
			fwd = w.forwarded(w.send(w.message(dhcpv4.MessageTypeDiscover, mac1), allOnes), far1)
			time.Sleep(10 * time.Second)
		}
		if _, silent := w.s.RelaySilence(); !silent {
			t.Error("four requests went unanswered and nothing is said")
		}
		w.reply(w.answer(fwd, dhcpv4.MessageTypeOffer, ip4("192.0.2.77"), far1), far1)
		if _, silent := w.s.RelaySilence(); silent {
			t.Error("it answered")
		}
	})
}

// FuzzRelay: whatever comes from either side, a relay neither breaks nor
// writes what nobody can read, and an answer for what is no phone differs in
// nothing but option 82.
func FuzzRelay(f *testing.F) {
	base, err := dhcpv4.NewDiscovery(mac1.HardwareAddr())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base.ToBytes(), false)
	reply, err := dhcpv4.NewReplyFromRequest(base, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithLeaseTime(60))
	if err != nil {
		f.Fatal(err)
	}
	reply.GatewayIPAddr, reply.YourIPAddr = serverIP.AsSlice(), ip4("192.0.2.50").AsSlice()
	reply.Options[optRelayAgent] = []byte{1, 5, 't', 'e', 's', 't', '0'}
	f.Add(reply.ToBytes(), true)
	f.Fuzz(func(t *testing.T, b []byte, fromServer bool) {
		if len(b) >= atOptions {
			for _, out := range [][]byte{without(b, optRelayAgent, 66), with(b, option{66, []byte("x")}), replaced(b, optServerID, []byte{1, 2, 3, 4})} {
				if len(out) < atOptions || !bytes.Equal(out[:atOptions], b[:atOptions]) {
					t.Fatal("the fixed fields were changed")
				}
			}
			if got := without(b, optRelayAgent); len(got) > max(len(b), minimumLen) {
				t.Fatal("longer without an option")
			}
		}
		cfg := relayConfig()
		cfg.Quiet = -1
		w := prepare(t, cfg)
		s, err := New(t.Context(), w.conn, w.probe, cfg, w.store, w.boot, nil, w.record, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.commit = t.Context()
		from := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort)
		if fromServer {
			s.handle(w.message(dhcpv4.MessageTypeDiscover, mac1, phoneClass).ToBytes(), from, true)
			from = netip.AddrPortFrom(far1, serverPort)
		}
		s.handle(b, from, true)
		s.commits.Wait()
	})
}
