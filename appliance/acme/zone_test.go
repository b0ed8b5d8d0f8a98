package acme

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const zoneSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0"

// nameServer is a primary that takes signed updates of TXT records. Before it
// answers the first ones it does what trouble says: a code, or -1 to hang up.
func nameServer(t *testing.T, trouble ...int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	records := map[string][]string{}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		answer := new(dns.Msg).SetReply(m)
		if m.Opcode == dns.OpcodeUpdate && len(trouble) > 0 {
			code := trouble[0]
			trouble = trouble[1:]
			if code < 0 {
				_ = w.Close()
				return
			}
			answer.Rcode = code
			_ = w.WriteMsg(answer)
			return
		}
		switch {
		case m.Opcode == dns.OpcodeUpdate && (m.IsTsig() == nil || w.TsigStatus() != nil):
			answer.Rcode = dns.RcodeNotAuth
		case m.Opcode == dns.OpcodeUpdate:
			for _, rr := range m.Ns {
				name, value := rr.Header().Name, rr.(*dns.TXT).Txt[0]
				if rr.Header().Class == dns.ClassNONE { // RFC 2136 §2.5.4: this record goes
					records[name] = slices.DeleteFunc(records[name], func(v string) bool { return v == value })
				} else {
					records[name] = append(records[name], value)
				}
			}
		default:
			for _, value := range records[m.Question[0].Name] {
				answer.Answer = append(answer.Answer, txt(m.Question[0].Name, value))
			}
		}
		if key := m.IsTsig(); key != nil && w.TsigStatus() == nil {
			answer.SetTsig(key.Hdr.Name, key.Algorithm, fudge, time.Now().Unix())
		}
		_ = w.WriteMsg(answer)
	})
	s := &dns.Server{Listener: l, Handler: handler, TsigSecret: map[string]string{"box.": zoneSecret}}
	// Updates are refused by this library unless they are let in.
	s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-ended
	})
	return l.Addr().String()
}

// TestZone: two records of one name, as a name and its wildcard need, come and
// go each by itself, and only with the key.
func TestZone(t *testing.T) {
	z := Zone{Name: "example.com", Server: nameServer(t), Key: TSIG{Name: "Box", Algorithm: "hmac-sha256", Secret: zoneSecret}}
	const name = "_acme-challenge.phones.example.com"
	shown := func(value string) bool {
		t.Helper()
		ok, err := z.shows(t.Context(), name, value)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for _, value := range []string{"one", "two"} {
		if err := z.add(t.Context(), name, value); err != nil {
			t.Fatal(err)
		}
	}
	if !shown("one") || !shown("two") {
		t.Error("not both are shown")
	}
	if err := z.remove(t.Context(), name, "one"); err != nil || shown("one") || !shown("two") {
		t.Errorf("one of two is taken away: %v", err)
	}
	for what, key := range map[string]TSIG{"no key": {}, "another secret": {Name: "box", Algorithm: "hmac-sha256", Secret: "d3Jvbmc="}} {
		bad := z
		bad.Key = key
		if err := bad.add(t.Context(), name, "three"); err == nil || !strings.Contains(err.Error(), "NOTAUTH") {
			t.Errorf("with %s: %v", what, err)
		}
	}
	if shown("three") {
		t.Error("a record came without the key")
	}
}

// TestZonePatience: an update is sent again while the name server has no time,
// and not where it says no.
func TestZonePatience(t *testing.T) {
	const name = "_acme-challenge.phones.example.com"
	down := slices.Repeat([]int{-1}, updateTries)
	for _, tc := range []struct {
		name    string
		trouble []int
		want    string // of the error; empty: it works in the end
	}{
		{"it is started anew", []int{-1, dns.RcodeServerFailure, -1}, ""},
		{"it stays away", down, "put " + name + " into example.com"},
		{"it reloads for ever", slices.Repeat([]int{dns.RcodeServerFailure}, updateTries), "says SERVFAIL"},
		{"it says no", []int{dns.RcodeRefused}, "says REFUSED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z := Zone{
				Name: "example.com", Server: nameServer(t, tc.trouble...), pause: time.Millisecond,
				Key: TSIG{Name: "box", Algorithm: "hmac-sha256", Secret: zoneSecret},
			}
			err := z.add(t.Context(), name, "one")
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestZoneValidate(t *testing.T) {
	for _, tc := range []struct {
		zone Zone
		ok   bool
	}{
		{Zone{Name: "example.com", Server: "192.0.2.53:53"}, true},
		{Zone{Name: "", Server: "192.0.2.53:53"}, false},
		{Zone{Name: "example..com", Server: "192.0.2.53:53"}, false},
		{Zone{Name: "example.com", Server: "192.0.2.53"}, false},
	} {
		if err := tc.zone.Validate(); (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc.zone, err)
		}
	}
}
