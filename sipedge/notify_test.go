package sipedge

import (
	"errors"
	"strings"
	"testing"

	"github.com/icholy/digest"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// answer makes the response of a phone to a request that it received.
func answer(req string, status string, extra ...string) string {
	out := []string{"SIP/2.0 " + status}
	for line := range strings.SplitSeq(req, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			out = append(out, line)
		case "To":
			out = append(out, line+";tag=phone")
		}
	}
	return strings.Join(append(append(out, extra...), "Content-Length: 0", "", ""), "\n")
}

func TestResync(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		s := newSite()
		e := s.start(t, nil)
		p := dialPeer(t, network, e)
		p.register(1, 1, "r")
		result := make(chan error, 1)
		go func() { result <- e.Resync(account(1), "") }()
		req := p.receive(patience)
		if !strings.HasPrefix(req, "NOTIFY "+strings.Trim(p.contact(1)[len("Contact: "):], "<>")+" SIP/2.0\r\n") {
			t.Fatalf("got:\n%s", req)
		}
		if got := header(req, "Event"); got != "check-sync;reboot=false" {
			t.Errorf("Event %q, which makes a Yealink reboot", got)
		}
		// The phone wants a digest, as Cisco phones do.
		p.send(answer(req, "401 Unauthorized", `WWW-Authenticate: Digest realm="phone", nonce="abc", algorithm=MD5, qop="auth"`))
		again := p.receive(patience)
		c, err := digest.ParseCredentials(header(again, "Authorization"))
		if err != nil {
			t.Fatalf("%v in:\n%s", err, again)
		}
		want := credentials{username: c.Username, realm: "phone", nonce: "abc", uri: c.URI, cnonce: c.Cnonce, qop: "auth", nc: "00000001"}
		if c.Username != phoneMAC.Hex()+"-1" || c.Response != want.expected("NOTIFY", "secret-1", nil) {
			t.Errorf("credentials %+v", c)
		}
		if !strings.HasPrefix(again, "NOTIFY "+c.URI+" SIP/2.0") {
			t.Errorf("digest is for %q, the request line is %q", c.URI, again[:60])
		}
		if header(again, "Call-ID") != header(req, "Call-ID") || header(again, "CSeq") != "2 NOTIFY" || header(again, "Via") == header(req, "Via") {
			t.Errorf("not the next try:\n%s", again)
		}
		p.send(answer(again, "200 OK"))
		if err := <-result; err != nil {
			t.Error(err)
		}
		s.waitTold(t, story.Resync)
	})
}

func TestResyncErrors(t *testing.T) {
	s := newSite()
	e := s.start(t, nil)
	if err := e.Resync(account(1), ""); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("not registered: %v", err)
	}
	p := dialPeer(t, "udp", e)
	p.register(1, 1, "r")
	result := make(chan error, 1)
	go func() { result <- e.Resync(account(1), "") }()
	req := p.receive(patience)
	p.send(answer(req, "489 Bad Event"))
	if err := <-result; err == nil || !strings.Contains(err.Error(), "489") {
		t.Errorf("refused: %v", err)
	}
	// A phone that refuses the password once more is not asked again.
	go func() { result <- e.Resync(account(1), "") }()
	for range 2 {
		p.send(answer(p.receive(patience), "407 Proxy Authentication Required", `Proxy-Authenticate: Digest realm="phone", nonce="abc"`))
	}
	if err := <-result; err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("refused twice: %v", err)
	}
	if err := e.Resync(mac.Account{MAC: otherMAC, Slot: 9}, ""); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("unknown account: %v", err)
	}
}

func TestResyncEvent(t *testing.T) {
	for agent, want := range map[string]string{
		"Yealink SIP-T46U 108.86.0.20":       "check-sync;reboot=false",
		"PolycomVVX-VVX_411-UA/5.9.5.0614":   "check-sync",
		"PolyEdge-Edge_E220-UA/8.1.2":        "check-sync",
		"Cisco-CP-8851-3PCC/11.3.7":          "check-sync",
		"AUDC-IPPhone/3.5.5.48 (445HD-Rev0)": "check-sync;reboot=false",
		"AudioCodes-445HD":                   "check-sync;reboot=false",
		"snomD785/10.1.169.16":               "check-sync;reboot=false",
		"Grandstream GXP2170 1.0.11.64":      "check-sync",
		"":                                   "check-sync",
	} {
		if got := resyncEvent(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}

func TestSubscribe(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		e := newSite().start(t, nil)
		p := dialPeer(t, network, e)
		user := phoneMAC.Hex() + "-1"
		uri := "sip:" + user + "@patchbay"
		p.send(p.request("SUBSCRIBE", uri, user, "x", 1, "Event: presence", p.contact(1)))
		if allow := header(p.want(489), "Allow-Events"); allow != "dialog, message-summary" {
			t.Errorf("Allow-Events %q", allow)
		}
		p.send(p.request("SUBSCRIBE", uri, user, "mwi", 1, "o: message-summary", p.contact(1)))
		msg := p.want(407)
		auth := authorize(msg, "SUBSCRIBE", uri, user, "secret-1")
		p.send(p.request("SUBSCRIBE", uri, user, "mwi", 2, "Event: message-summary", "Expires: 1800", p.contact(1), auth))
		ok := p.want(200)
		if header(ok, "Expires") != "600" || header(ok, "Contact") == "" {
			t.Errorf("answer:\n%s", ok)
		}
		notify := p.receive(patience)
		for name, want := range map[string]string{
			"Event": "message-summary", "Subscription-State": "active;expires=600", "Call-ID": "mwi",
			"From": header(ok, "To"), "To": header(ok, "From"), "Content-Type": "application/simple-message-summary",
		} {
			if got := header(notify, name); got != want {
				t.Errorf("%s of the NOTIFY is %q, want %q", name, got, want)
			}
		}
		if !strings.HasSuffix(notify, "\r\n\r\nMessages-Waiting: no\r\n") {
			t.Errorf("got:\n%s", notify)
		}
		p.send(answer(notify, "200 OK"))
	})
}
