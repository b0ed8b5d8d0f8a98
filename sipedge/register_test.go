package sipedge

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func account(slot uint8) mac.Account { return mac.Account{MAC: phoneMAC, Slot: slot} }

func TestRegister(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		s := newSite()
		e := s.start(t, nil)
		p := dialPeer(t, network, e)
		msg := p.register(1, 1, "reg-1")
		if !strings.HasPrefix(msg, "SIP/2.0 200 ") {
			t.Fatalf("got:\n%s", msg)
		}
		if got, want := header(msg, "Contact"), p.contact(1)[len("Contact: "):]+";expires=600"; got != want {
			t.Errorf("Contact %q, want %q", got, want)
		}
		if _, err := time.Parse(httpDate, header(msg, "Date")); err != nil {
			t.Error(err)
		}
		b, ok := e.Location().Binding(account(1))
		if !ok {
			t.Fatal("no binding")
		}
		want := Binding{
			Account: account(1), Contact: strings.Trim(p.contact(1)[len("Contact: "):], "<>"), Transport: network,
			Source: p.addr(), Local: localOf(e, network), CallID: "reg-1", CSeq: 2,
			UserAgent: "Yealink SIP-T46U 108.86.0.20", Expires: b.Expires,
		}
		if diff := cmp.Diff(want, b, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("binding (-want +got):\n%s", diff)
		}
		if left := time.Until(b.Expires); left < 590*time.Second || left > 600*time.Second {
			t.Errorf("expires in %v", left)
		}
		if diff := cmp.Diff(b, s.stored[account(1)], cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("stored (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]toldEvent{{MAC: phoneMAC, Code: story.Registered}}, s.told()); diff != "" {
			t.Errorf("story (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]mac.Account{account(1)}, s.registered); diff != "" {
			t.Errorf("registered (-want +got):\n%s", diff)
		}
	})
}

// TestRegisterAgain is about one phone with one account, step after step.
func TestRegisterAgain(t *testing.T) {
	user := phoneMAC.Hex() + "-1"
	contact := func(host string) string { return "Contact: <sip:" + user + "@" + host + ">" }
	type step struct {
		name    string
		callID  string
		cseq    int // of the request without credentials
		headers []string
		status  int
		bound   string // contact host of the binding afterwards; empty: none
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"refresh, fetch, end", []step{
			{"register", "a", 1, []string{contact("192.0.2.1"), "Expires: 600"}, 200, "192.0.2.1"},
			{"refresh", "a", 3, []string{contact("192.0.2.1"), "Expires: 600"}, 200, "192.0.2.1"},
			{"fetch", "a", 5, []string{"X-Nothing: here"}, 200, "192.0.2.1"},
			{"end", "a", 7, []string{contact("192.0.2.1") + ";expires=0"}, 200, ""},
			{"end again", "a", 9, []string{contact("192.0.2.1"), "Expires: 0"}, 200, ""},
		}},
		{"a new contact replaces the ghost", []step{
			{"register", "a", 1, []string{contact("192.0.2.1"), "Expires: 600"}, 200, "192.0.2.1"},
			{"after a restart", "b", 1, []string{contact("192.0.2.2"), "Expires: 600"}, 200, "192.0.2.2"},
			{"the ghost is ended late", "b", 3, []string{contact("192.0.2.1"), "Expires: 0"}, 200, "192.0.2.2"},
			{"both in one", "b", 5, []string{contact("192.0.2.2") + ";expires=0", contact("192.0.2.3") + ";expires=600"}, 200, "192.0.2.3"},
		}},
		{"order", []step{
			{"register", "a", 10, []string{contact("192.0.2.1"), "Expires: 600"}, 200, "192.0.2.1"},
			{"older", "a", 5, []string{contact("192.0.2.9"), "Expires: 600"}, 500, "192.0.2.1"},
			{"older end", "a", 7, []string{contact("192.0.2.1"), "Expires: 0"}, 500, "192.0.2.1"},
			{"older of another Call-ID", "c", 1, []string{contact("192.0.2.2"), "Expires: 600"}, 200, "192.0.2.2"},
		}},
		{"everything by a star", []step{
			{"register", "a", 1, []string{contact("192.0.2.1"), "Expires: 600"}, 200, "192.0.2.1"},
			{"star without Expires", "a", 3, []string{"Contact: *"}, 400, "192.0.2.1"},
			{"star with time", "a", 5, []string{"Contact: *", "Expires: 60"}, 400, "192.0.2.1"},
			{"star not alone", "a", 7, []string{"Contact: *", contact("192.0.2.1"), "Expires: 0"}, 400, "192.0.2.1"},
			{"star", "a", 9, []string{"Contact: *", "Expires: 0"}, 200, ""},
		}},
		{"time", []step{
			{"too brief", "a", 1, []string{contact("192.0.2.1"), "Expires: 59"}, 423, ""},
			{"not given", "a", 3, []string{contact("192.0.2.1")}, 200, "192.0.2.1"},
			{"beyond what is granted", "a", 5, []string{contact("192.0.2.1"), "Expires: 4294967295"}, 200, "192.0.2.1"},
		}},
		{"contacts", []step{
			{"no SIP URI", "a", 1, []string{"Contact: <tel:+15550100>"}, 400, ""},
			{"the preferred one", "a", 3, []string{contact("192.0.2.1") + ";q=0.2", contact("192.0.2.2") + ";q=0.7"}, 200, "192.0.2.2"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newSite().start(t, nil)
			p := dialPeer(t, "udp", e)
			for _, st := range test.steps {
				msg := p.register(1, st.cseq, st.callID, st.headers...)
				if !strings.HasPrefix(msg, fmt.Sprintf("SIP/2.0 %d ", st.status)) {
					t.Fatalf("%s: want %d, got:\n%s", st.name, st.status, msg)
				}
				b, ok := e.Location().Binding(account(1))
				if ok != (st.bound != "") || ok && !strings.HasSuffix(b.Contact, "@"+st.bound) {
					t.Fatalf("%s: bound to %q, want %q", st.name, b.Contact, st.bound)
				}
				if st.status == 200 && (header(msg, "Contact") != "") != ok {
					t.Errorf("%s: 200 lists %q", st.name, header(msg, "Contact"))
				}
				if st.status == 423 && header(msg, "Min-Expires") != "60" {
					t.Errorf("%s: Min-Expires %q", st.name, header(msg, "Min-Expires"))
				}
				if ok && time.Until(b.Expires) > time.Hour {
					t.Errorf("%s: expires %v", st.name, b.Expires)
				}
			}
		})
	}
}

// TestRegisterRetransmission: the same REGISTER again gets the same answer,
// though its transaction is gone.
func TestRegisterRetransmission(t *testing.T) {
	s := newSite()
	e := s.start(t, nil)
	p := dialPeer(t, "udp", e)
	user := phoneMAC.Hex() + "-1"
	p.send(p.request("REGISTER", registrarURI, user, "again", 1))
	auth := authorize(p.want(401), "REGISTER", registrarURI, user, "secret-1")
	req := p.request("REGISTER", registrarURI, user, "again", 2, p.contact(1), auth)
	var tags []string
	for range 3 {
		p.send(req)
		tags = append(tags, header(p.want(200), "To"))
	}
	if tags[0] != tags[1] || tags[0] != tags[2] {
		t.Errorf("To differs: %q", tags)
	}
	if n := len(s.told()); n != 1 {
		t.Errorf("%d events: %v", n, s.told())
	}
}

func TestRegisterRefused(t *testing.T) {
	me, other := phoneMAC.Hex()+"-1", otherMAC.Hex()+"-1"
	for _, test := range []struct {
		name           string
		user, password string
		to             string
		status         int
		want           []toldEvent
	}{
		{"wrong password", me, "guess", me, 401, []toldEvent{{phoneMAC, story.RegisterRefused, story.WrongPassword, 401}}},
		{"unknown account", "nobody", "guess", "nobody", 401, []toldEvent{{phoneMAC, story.RegisterRefused, story.AccountUnknown, 401}}},
		{"from an address of another phone", other, "other", other, 403, []toldEvent{
			{otherMAC, story.RegisterRefused, story.WrongAddress, 403},
			{phoneMAC, story.RegisterRefused, story.WrongAddress, 403},
		}},
		{"for another account", me, "secret-1", phoneMAC.Hex() + "-2", 403, []toldEvent{{phoneMAC, story.RegisterRefused, story.AccountUnknown, 403}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite()
			e := s.start(t, nil)
			p := dialPeer(t, "udp", e)
			p.send(p.request("REGISTER", registrarURI, test.to, "r", 1))
			auth := authorize(p.want(401), "REGISTER", registrarURI, test.user, test.password)
			p.send(p.request("REGISTER", registrarURI, test.to, "r", 2, p.contact(1), auth))
			msg := p.want(test.status)
			if test.status == 401 && strings.Contains(header(msg, "WWW-Authenticate"), "stale") {
				t.Errorf("wrong password called stale: %s", header(msg, "WWW-Authenticate"))
			}
			if diff := cmp.Diff(test.want, s.told()); diff != "" {
				t.Errorf("story (-want +got):\n%s", diff)
			}
			if len(e.Location().Bindings()) != 0 {
				t.Error("bound")
			}
		})
	}
}

func TestChallengeOfCalls(t *testing.T) {
	s := newSite()
	got := make(chan Identity, 1)
	e := s.start(t, func(e *Endpoint) {
		e.Handle(sip.INVITE, func(r *Request) {
			id, ok := e.Authenticate(r)
			if !ok {
				return
			}
			got <- id
			_ = r.Respond(486, "Busy Here")
		})
	})
	p := dialPeer(t, "udp", e)
	user := phoneMAC.Hex() + "-2"
	invite := p.request("INVITE", "sip:100@patchbay", user, "call", 1)
	p.send(invite)
	msg := p.want(407)
	if n := strings.Count(msg, "Proxy-Authenticate:"); n != 1 {
		t.Errorf("%d challenges in:\n%s", n, msg)
	}
	p.send(ackOf(invite, msg))
	p.send(p.request("INVITE", "sip:100@patchbay", user, "call", 2, authorize(msg, "INVITE", "sip:100@patchbay", user, "secret-2")))
	p.want(486)
	if id := <-got; id.Account != account(2) {
		t.Errorf("authenticated %v", id.Account)
	}
}

// TestChallengeAtOnce: an INVITE that proves nothing leaves nothing behind, nor
// does its ACK, but for one that nobody is asked for.
func TestChallengeAtOnce(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		var acks atomic.Int32
		e := newSite().start(t, func(e *Endpoint) {
			e.asks = func(_ Flow, to sip.Uri) bool { return to.User != "112" }
			e.Handle(sip.INVITE, func(r *Request) { _ = r.Respond(486, "Busy Here") })
			e.Handle(sip.ACK, func(*Request) { acks.Add(1) })
		})
		p := dialPeer(t, network, e)
		p.register(1, 1, "not-a-stranger")
		const calls = 50
		for i := range calls {
			invite := p.request("INVITE", "sip:100@patchbay", "u", fmt.Sprint("call", i), 1)
			p.send(invite)
			first := p.want(407)
			p.send(invite) // the answer got lost
			again := p.want(407)
			if to := header(first, "To"); to != header(again, "To") || !strings.Contains(to, ";tag=") {
				t.Fatalf("To: %s, then %s", to, header(again, "To"))
			}
			p.send(ackOf(invite, first))
		}
		p.send(p.request("OPTIONS", "sip:100@patchbay", "u", "last", 1)) // all before was read
		p.want(200)
		lanes := func() int {
			e.dispatch.mu.Lock()
			defer e.dispatch.mu.Unlock()
			return len(e.dispatch.lanes)
		}
		for end := time.Now().Add(patience); lanes() > 0; time.Sleep(time.Millisecond) { // that of OPTIONS ends by itself
			if time.Now().After(end) {
				t.Fatalf("%d of %d calls are remembered", lanes(), calls)
			}
		}
		if n := acks.Load(); n != 0 {
			t.Errorf("%d ACKs were served", n)
		}
		help := p.request("INVITE", "sip:112@patchbay", "u", "help", 1)
		p.send(help)
		p.send(ackOf(help, p.want(486)))
	})
}

// ackOf makes the ACK of a refused INVITE (RFC 3261 §17.1.1.3).
func ackOf(invite, answer string) string {
	lines := strings.Split(strings.ReplaceAll(invite, "\r\n", "\n"), "\n")
	lines[0] = strings.Replace(lines[0], "INVITE", "ACK", 1)
	for i, l := range lines {
		if strings.HasPrefix(l, "To:") {
			lines[i] = "To: " + header(answer, "To")
		}
		lines[i] = strings.Replace(lines[i], " INVITE", " ACK", 1)
	}
	return strings.Join(lines, "\n")
}

// TestRestart: UDP phones are reachable at once, those of TCP when they come
// back; what is over is forgotten.
func TestRestart(t *testing.T) {
	s := newSite()
	local := netip.AddrPortFrom(loopback, 5060)
	for slot, b := range map[uint8]Binding{
		1: {Transport: "udp", Source: netip.AddrPortFrom(loopback, 6001), Expires: time.Now().Add(time.Hour)},
		2: {Transport: "tcp", Source: netip.AddrPortFrom(loopback, 6002), Expires: time.Now().Add(time.Hour)},
		3: {Transport: "udp", Source: netip.AddrPortFrom(loopback, 6003), Expires: time.Now().Add(-time.Second)},
	} {
		b.Account, b.Local, b.Contact = account(slot), local, "sip:x@192.0.2.1"
		s.stored[b.Account] = b
	}
	e := s.start(t, nil)
	lost := make(map[uint8]bool)
	for _, b := range e.Location().Bindings() {
		lost[b.Account.Slot] = b.FlowLost
	}
	if diff := cmp.Diff(map[uint8]bool{1: false, 2: true}, lost); diff != "" {
		t.Errorf("flow lost (-want +got):\n%s", diff)
	}
	if _, ok := s.stored[account(3)]; ok {
		t.Error("the expired binding is still stored")
	}
	p := dialPeer(t, "tcp", e)
	if msg := p.register(2, 1, "back"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		t.Fatal(msg)
	}
	if b, _ := e.Location().Binding(account(2)); b.FlowLost || b.Source != p.addr() {
		t.Errorf("after it came back: %+v", b)
	}
}

// TestConnectionLost: when the connection ends, the binding is marked at once,
// and nobody dials the phone.
func TestConnectionLost(t *testing.T) {
	s := newSite()
	e := s.start(t, nil)
	p := dialPeer(t, "tcp", e)
	p.register(1, 1, "r")
	p.register(2, 1, "r2")
	b, _ := e.Location().Binding(account(1))
	if diff := cmp.Diff([]mac.Account{account(1), account(2)}, e.Location().On(b.Flow())); diff != "" {
		t.Errorf("accounts of the connection (-want +got):\n%s", diff)
	}
	if err := p.conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.waitTold(t, story.FlowLost)
	b, ok := e.Location().Binding(account(1))
	if !ok || !b.FlowLost {
		t.Fatalf("binding %+v %v", b, ok)
	}
	if err := e.Resync(account(1), ""); err == nil {
		t.Error("re-sync over a lost connection succeeded")
	}
	req, err := NewRequest(sip.OPTIONS, b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Send(t.Context(), b.Flow(), req); err == nil {
		t.Error("sent over a lost connection")
	}
}

func TestExpiry(t *testing.T) {
	s := newSite()
	now := time.Unix(1_800_000_000, 0)
	l := newLocation(s, func() time.Time { return now })
	e := &Endpoint{location: l, record: s.tell, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler)}
	source := netip.AddrPortFrom(loopback, 5062)
	l.put(Binding{Account: account(1), Transport: "udp", Source: source, Expires: now.Add(time.Minute)})
	l.put(Binding{Account: account(2), Transport: "udp", Source: source, Expires: now.Add(time.Hour)})
	now = now.Add(time.Minute)
	if _, ok := l.Binding(account(1)); ok {
		t.Error("still bound when it is over")
	}
	e.expire()
	if diff := cmp.Diff([]toldEvent{{MAC: phoneMAC, Code: story.Expired}}, s.told()); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
	if len(s.stored) != 1 || !l.knows(loopback) {
		t.Errorf("stored %v, address known %v", s.stored, l.knows(loopback))
	}
	now = now.Add(time.Hour)
	e.expire()
	if l.knows(loopback) {
		t.Error("the address is still known")
	}
}
