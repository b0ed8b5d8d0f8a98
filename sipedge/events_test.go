package sipedge

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// dialogInfo is what a phone reads in a NOTIFY (RFC 4235 §4.4).
type dialogInfo struct {
	XMLName xml.Name        `xml:"urn:ietf:params:xml:ns:dialog-info dialog-info"`
	Version int             `xml:"version,attr"`
	State   string          `xml:"state,attr"`
	Entity  string          `xml:"entity,attr"`
	Dialogs []dialogElement `xml:"dialog"`
}

type dialogElement struct {
	CallID    string `xml:"call-id,attr"`
	LocalTag  string `xml:"local-tag,attr"`
	RemoteTag string `xml:"remote-tag,attr"`
	Direction string `xml:"direction,attr"`
	State     string `xml:"state"`
	Remote    struct {
		Identity struct {
			Display string `xml:"display,attr"`
			URI     string `xml:",chardata"`
		} `xml:"identity"`
	} `xml:"remote"`
}

// watching is a subscription as a phone holds it.
type watching struct {
	a   *agent
	req *sip.Request // that was accepted
	res *sip.Response
}

// subscribe sends a SUBSCRIBE and answers the challenge.
func (a *agent) subscribe(event, user string, status int, extra ...sip.Header) *watching {
	a.t.Helper()
	to := sip.Uri{Scheme: "sip", User: user, Host: a.domain()}
	req := a.outOfDialog(sip.SUBSCRIBE, to, 1, sip.GenerateTagN(10), sip.GenerateTagN(8))
	req.AppendHeader(sip.NewHeader("Event", event))
	for _, h := range extra {
		req.AppendHeader(h)
	}
	a.send(req)
	req = a.authorize(req, a.response(407, sip.SUBSCRIBE))
	a.send(req)
	return &watching{a, req, a.response(status, sip.SUBSCRIBE)}
}

// again sends SUBSCRIBE within the dialog.
func (w *watching) again(expires, status int) {
	w.a.t.Helper()
	req := w.req.Clone()
	for _, name := range []string{"Via", "Proxy-Authorization", "Expires", "To"} {
		req.RemoveHeader(name)
	}
	req.PrependHeader(w.a.via())
	req.AppendHeader(sip.HeaderClone(w.res.To()))
	req.AppendHeader(sip.NewHeader("Expires", fmt.Sprint(expires)))
	req.CSeq().SeqNo++
	w.a.send(req)
	req = w.a.authorize(req, w.a.response(407, sip.SUBSCRIBE))
	w.a.send(req)
	w.a.response(status, sip.SUBSCRIBE)
	w.req = req
}

// news waits for the next NOTIFY and answers it.
func (a *agent) news(status int) *sip.Request {
	a.t.Helper()
	req := a.request(sip.NOTIFY)
	a.send(sip.NewResponseFromRequest(req, status, "", nil))
	return req
}

// lamp waits until the lamp shows a state, and returns the last news.
func (w *watching) lamp(want string) (d dialogInfo) {
	w.a.t.Helper()
	for {
		req := w.a.news(200)
		d = dialogInfo{}
		if err := xml.Unmarshal(req.Body(), &d); err != nil {
			w.a.t.Fatalf("%v in\n%s", err, req.Body())
		}
		if len(d.Dialogs) > 0 && d.Dialogs[0].State == want {
			return d
		}
	}
}

// rings waits until the lamp of a resource, whose address begins so, names the
// dialog of a phone that rings.
func (w *watching) rings(entity string) dialogElement {
	w.a.t.Helper()
	for {
		req := w.a.news(200)
		var d dialogInfo
		if err := xml.Unmarshal(req.Body(), &d); err != nil {
			w.a.t.Fatalf("%v in\n%s", err, req.Body())
		}
		if strings.HasPrefix(d.Entity, entity) && len(d.Dialogs) > 0 && d.Dialogs[0].State == "early" && d.Dialogs[0].CallID != "" {
			return d.Dialogs[0]
		}
	}
}

// TestBusyLamp: the lamp of a colleague follows a call, with the gateway away.
func TestBusyLamp(t *testing.T) {
	rig := newCallRig(t, false, nil)
	one, two, three := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "tls", 2), newPhoneAgent(t, rig, "tcp", 3)
	one.register(rig.ep.Addrs()[0])
	two.register(rig.ep.Addrs()[0])
	three.register(rig.ep.Addrs()[0])
	w := three.subscribe("dialog", "102", 200)
	if d := w.lamp("terminated"); d.Version != 0 || d.State != "full" || !strings.HasPrefix(d.Entity, "sip:102@") {
		t.Errorf("%+v", d)
	}
	out := one.dial("102", one.sdp(""))
	in := two.take()
	d := w.lamp("early")
	if d.Dialogs[0].Direction != "recipient" || d.Dialogs[0].Remote.Identity.Display != "Alice Ärzte" || !strings.Contains(d.Dialogs[0].Remote.Identity.URI, "sip:101@") {
		t.Errorf("%+v", d)
	}
	in.ring()
	in.answer(two.sdp(""))
	out.connected()
	if next := w.lamp("confirmed"); next.Version <= d.Version {
		t.Errorf("version %d after %d", next.Version, d.Version)
	}
	out.hangUp()
	two.send(two.reply(two.request(sip.BYE), 200, "OK", "", ""))
	w.lamp("terminated")

	w.again(0, 200)
	if state := three.news(200).GetHeader("Subscription-State").Value(); state != "terminated;reason=timeout" {
		t.Errorf("at the end: %s", state)
	}
	w.again(300, 481)
}

// TestSubscriptions: what is refused, and what ends a subscription.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	rig := newCallRig(t, false, nil)
	one := newPhoneAgent(t, rig, "udp", 1)
	one.register(rig.ep.Addrs()[0])
	one.subscribe("dialog", "777", 404)
	one.subscribe("message-summary", "102", 403)
	brief := one.subscribe("dialog", "102", 423, sip.NewHeader("Expires", "5"))
	if h := brief.res.GetHeader("Min-Expires"); h == nil || h.Value() != "30" {
		t.Errorf("Min-Expires %v", h)
	}
	// Just once, without a subscription.
	one.subscribe("dialog", "102", 200, sip.NewHeader("Expires", "0"))
	if state := one.news(200).GetHeader("Subscription-State").Value(); !strings.HasPrefix(state, "terminated") {
		t.Errorf("just once: %s", state)
	}
	// A phone that knows nothing of it any more.
	w := one.subscribe("dialog;id=7", "102", 200)
	if event := one.news(481).GetHeader("Event").Value(); event != "dialog;id=7" {
		t.Errorf("Event %s", event)
	}
	until(t, "the subscription is gone", func() bool {
		rig.ep.events.mu.Lock()
		defer rig.ep.events.mu.Unlock()
		return len(rig.ep.events.subs) == 0
	})
	w.again(300, 481)
	// One that is not refreshed.
	one.subscribe("dialog", "102", 200)
	one.news(200)
	rig.ep.events.mu.Lock()
	for _, s := range rig.ep.events.subs {
		s.expires = time.Now().Add(-time.Second)
	}
	rig.ep.events.mu.Unlock()
	if state := one.news(200).GetHeader("Subscription-State").Value(); state != "terminated;reason=timeout" {
		t.Errorf("not refreshed: %s", state)
	}
}

// TestMessageWaiting: what the gateway says of a mailbox goes to the phones of
// the line, asked for or not, and to nobody else.
func TestMessageWaiting(t *testing.T) {
	rig := upRig(t)
	until(t, "subscriptions of the lines", func() bool {
		rig.gw.mu.Lock()
		defer rig.gw.mu.Unlock()
		return slices.Contains(rig.gw.subscribed, "bob")
	})
	asks, silent, other := newPhoneAgent(t, rig, "tcp", 2), newPhoneAgent(t, rig, "udp", 4), newPhoneAgent(t, rig, "udp", 1)
	for _, a := range []*agent{asks, silent, other} {
		a.register(rig.ep.Addrs()[0])
	}
	asks.subscribe("message-summary", asks.user, 200)
	if body := string(asks.news(200).Body()); body != noMessages {
		t.Errorf("at first: %q", body)
	}
	tell := func(summary string, status int) {
		t.Helper()
		req := rig.gw.outOfDialog(sip.NOTIFY, sip.Uri{Scheme: "sip", User: "bob", Host: "box.invalid"}, 1, sip.GenerateTagN(10), sip.GenerateTagN(8))
		req.AppendHeader(sip.NewHeader("Event", "message-summary"))
		req.AppendHeader(sip.NewHeader("Subscription-State", "active"))
		req.AppendHeader(sip.NewHeader("Content-Type", "application/simple-message-summary"))
		req.SetBody([]byte(summary))
		rig.gw.send(req)
		rig.gw.response(status, sip.NOTIFY)
	}
	tell("Messages-Waiting: yes\r\nMessage-Account: sip:bob@vm.example.com\r\nVoice-Message: 2/8 (0/2)\r\n", 200)
	want := "Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"
	for _, a := range []*agent{asks, silent} {
		req := a.news(200)
		if body := string(req.Body()); body != want {
			t.Errorf("%s is told %q, want %q", a.name, body, want)
		}
	}
	// A phone that was restarted hears it again; one that refuses is left alone.
	silent.register(rig.ep.Addrs()[0])
	if body := string(silent.news(489).Body()); body != want {
		t.Errorf("after a restart: %q", body)
	}
	until(t, "the refusal is noted", func() bool {
		rig.ep.mail.mu.Lock()
		defer rig.ep.mail.mu.Unlock()
		return rig.ep.mail.deaf[testAccount(4)] != ""
	})
	tell("Messages-Waiting: no\r\n", 200)
	if body := string(asks.news(200).Body()); body != noMessages {
		t.Errorf("at the end: %q", body)
	}
	isNotify := func(m sip.Message) bool {
		r, ok := m.(*sip.Request)
		return ok && r.Method == sip.NOTIFY
	}
	silent.quiet(50*time.Millisecond, "news after it refused them", isNotify)
	other.quiet(10*time.Millisecond, "news of another line", isNotify)
}

func FuzzSummary(f *testing.F) {
	f.Add([]byte("Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, ok := readSummary(body)
		if !ok {
			return
		}
		if again, ok := readSummary([]byte(s)); !ok || again != s {
			t.Errorf("%q is read as %q, and that as %q", body, s, again)
		}
		if strings.Contains(s, "@") || strings.Contains(s, "\x00") {
			t.Errorf("passes on %q", s)
		}
	})
}
