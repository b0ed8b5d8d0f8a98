package sipedge

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func TestUpstreamRegistersLines(t *testing.T) {
	rig := upRig(t)
	until(t, "all lines registered", func() bool { return len(rig.gw.bindings()) == 3 })
	for user, binding := range rig.gw.bindings() {
		// The contact is the address that the gateway itself sees.
		if !strings.HasPrefix(binding, "sip:"+user+"@127.0.0.1:") || !strings.HasSuffix(binding, "transport=tls 600") {
			t.Errorf("%s is bound to %s", user, binding)
		}
	}
	until(t, "states", func() bool {
		n := 0
		for _, st := range rig.server.Upstream() {
			if st.State == RegRegistered && time.Until(st.Expires) > 100*time.Second {
				n++
			}
		}
		return n == 3
	})

	// A line that goes is taken back, one with a new password is tried again.
	rig.dir.mu.Lock()
	lines := append([]Line(nil), rig.dir.lines...)
	lines[1].AuthPassword = "wrong"
	rig.dir.lines = append(lines[1:3:3], lines[3])
	rig.dir.mu.Unlock()
	rig.server.Sync()
	until(t, "alice is taken back", func() bool { return strings.HasSuffix(rig.gw.bindings()["alice"], " 0") })
	until(t, "bob is refused", func() bool {
		for _, st := range rig.server.Upstream() {
			if st.LineID == 2 && st.State == RegRefused && st.Status == 403 {
				return true
			}
		}
		return false
	})
}

func TestUplinkNoticesLossAndComesBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		lose func(*gateway)
		back func(*gateway)
	}{
		{"connection closed", func(g *gateway) { g.setDeaf(true); g.hangup() }, func(g *gateway) { g.setDeaf(false) }},
		{"silent", func(g *gateway) { g.setDeaf(true) }, func(g *gateway) { g.setDeaf(false) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := upRig(t)
			one := newPhoneAgent(t, rig, "udp", 1)
			until(t, "registered", func() bool { return len(rig.gw.bindings()) == 3 })
			start := time.Now()
			tt.lose(rig.gw)
			until(t, "noticed", func() bool { return !rig.uplink.Up() })
			if d := time.Since(start); d > patience/2 {
				t.Errorf("noticed after %v", d)
			}
			one.dial("0301112223", one.sdp(""))
			one.response(503, sip.INVITE)
			if _, _, fault, _ := rig.uplink.Status(); fault == "" {
				t.Error("no word about why")
			}
			rig.gw.mu.Lock()
			clear(rig.gw.registered)
			rig.gw.mu.Unlock()
			tt.back(rig.gw)
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			if err := rig.uplink.Hurry(ctx); err != nil {
				t.Fatal(err)
			}
			until(t, "registered again", func() bool { return len(rig.gw.bindings()) == 3 })
		})
	}
}

// A call survives the loss of the signalling, and its BYE finds the new
// connection.
func TestCallSurvivesNewConnection(t *testing.T) {
	t.Parallel()
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	audio.meet(t, audio.sdp(1), in.taken.Body())
	in.answer(audio.sdp(1))
	res := out.connected()
	_, before, _ := rig.uplink.State()
	rig.gw.hangup()
	until(t, "new connection", func() bool { up, now, _ := rig.uplink.State(); return up && now > before })
	hears(t, one.rtp, audioOf(t, res.Body()).RTP(), rig.gw.rtp, "still here")
	in.hangUp()
	one.send(one.reply(one.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}

func TestUplinkFaultsInWords(t *testing.T) {
	gw := newGateway(t)
	_, otherCA := testCertificate(t, "gw.example.com")
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	tests := []struct {
		name string
		cfg  UplinkConfig
		want string
	}{
		{"authority", UplinkConfig{Address: gw.addr.String(), ServerName: "gw.example.com", CA: otherCA}, "gateway.ca"},
		{"name", UplinkConfig{Address: gw.addr.String(), ServerName: "other.example.com", CA: gw.ca}, "gateway.server_name"},
		{"nobody listens", UplinkConfig{Address: nobody, CA: gw.ca}, "can't be reached"},
		{"no such name", UplinkConfig{Address: "gw.invalid:5061", CA: gw.ca, Resolver: &net.Resolver{
			PreferGo: true,
			Dial:     func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
		}}, "looked up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := NewTLSUplink(tt.cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- u.Run(ctx) }()
			until(t, tt.want, func() bool { _, _, fault, _ := u.Status(); return strings.Contains(fault, tt.want) })
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := NewTLSUplink(UplinkConfig{Address: "gw.example.com:99999"}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a bad port was taken")
	}
}

func TestSplitAddress(t *testing.T) {
	tests := []struct {
		in, host string
		port     uint16
		bad      bool
	}{
		{"gw.example.com", "gw.example.com", 0, false},
		{"gw.example.com:5061", "gw.example.com", 5061, false},
		{"192.0.2.1", "192.0.2.1", 0, false},
		{"192.0.2.1:443", "192.0.2.1", 443, false},
		{"2001:db8::1", "2001:db8::1", 0, false},
		{"[2001:db8::1]:5061", "2001:db8::1", 5061, false},
		{"", "", 0, true},
		{":5061", "", 0, true},
		{"gw:0", "", 0, true},
		{"gw:99999", "", 0, true},
	}
	for _, tt := range tests {
		host, port, err := splitAddress(tt.in)
		if (err != nil) != tt.bad || !tt.bad && (host != tt.host || port != tt.port) {
			t.Errorf("splitAddress(%q) = %q, %d, %v", tt.in, host, port, err)
		}
	}
}
