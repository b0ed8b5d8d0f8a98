package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

var testLine = GatewayLine{User: "anna", Name: "Anna Albers", Number: "+493023125011", AuthUser: "anna-auth", Password: "of the line"}

func testGateway(t *testing.T, change func(*GatewayConfig)) *Gateway {
	t.Helper()
	cfg := GatewayConfig{Ring: 20 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	g, err := NewGateway(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	g.AddLine(testLine)
	return g
}

// edge is the box's side of the gateway: it registers a line over TLS and
// talks SRTP. What comes in is in its inbox.
type edge struct {
	a   *agent
	reg *registration
	t   talker
	in  inbox
	err chan error
}

func newEdge(t *testing.T, g *Gateway, l GatewayLine, change func(*tls.Config)) *edge {
	t.Helper()
	config := &tls.Config{RootCAs: g.CA(), ServerName: g.ServerName(), MinVersion: tls.VersionTLS12}
	if change != nil {
		change(config)
	}
	a, err := newAgent("TLS", "Edge", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	e := &edge{a: a, in: newInbox(), err: make(chan error, 8), t: talker{addr: netip.MustParseAddr("127.0.0.1"), laws: []law{muLaw, aLaw}, secure: true}}
	book := &callBook{}
	a.invited = func(inv *invitation) {
		c := newCall(inv.req.From().Address.User, "", 0, book)
		if err := inv.take(a.ctx, e.t, 20*time.Millisecond, c, func() { e.in.put(c) }); err != nil {
			e.err <- err
		}
	}
	if err := a.open(netip.MustParseAddr("127.0.0.1"), config); err != nil {
		t.Fatal(err)
	}
	account := Account{Server: g.Domain(), Proxy: g.Addr().String(), User: l.User, AuthUser: l.AuthUser, Password: l.Password, Transport: "tls"}
	e.reg = newRegistration(a, account, 20*time.Millisecond, t.Logf, func() {})
	return e
}

func (e *edge) call(ctx context.Context, g *Gateway, number string, talk time.Duration) (*Call, error) {
	target := sip.Uri{Scheme: "sip", User: number, Host: g.Domain()}
	return e.a.place(ctx, e.a.ctx, e.t, outgoing{
		target: target, dest: g.Addr().String(), from: e.reg.aor(), to: party{uri: target}, creds: e.reg.creds,
	}, talk, newCall(number, "", 0, &callBook{}))
}

func TestGatewayCalls(t *testing.T) {
	for _, tc := range []struct {
		name  string
		trust bool
		mute  bool
		dial  func(ctx context.Context, g *Gateway, e *edge) (there, here *Call, err error)
	}{
		{name: "out to a number", dial: callOut("+494066969123")},
		{name: "out, connection trusted", trust: true, dial: callOut("+494066969123")},
		{name: "out to 112", dial: callOut("112")},
		{name: "in by number", dial: callIn("+493023125011")},
		{name: "in by user", dial: callIn("anna")},
		{name: "the gateway is muted", mute: true, dial: callOut("112")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := testGateway(t, func(c *GatewayConfig) { c.TrustFlow = tc.trust })
			g.Mute(tc.mute)
			e := newEdge(t, g, testLine, nil)
			ctx := inTime(t)
			if granted, err := e.reg.register(ctx, 2*time.Minute); err != nil || granted != 2*time.Minute {
				t.Fatalf("register = %v, %v", granted, err)
			}
			if err := g.WaitRegistered(ctx, testLine.Number); err != nil {
				t.Fatal(err)
			}
			there, here, err := tc.dial(ctx, g, e)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(there.Wait(ctx), here.Wait(ctx)); err != nil {
				t.Fatal(err)
			}
			forth, err := Measure(there, here)
			if err != nil {
				t.Fatal(err)
			}
			back, err := Measure(here, there)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("there %v, back %v", forth, back)
			if !forth.OK(400*time.Millisecond) || back.OK(400*time.Millisecond) == tc.mute {
				t.Errorf("there %v, back %v, muted %v", forth, back, tc.mute)
			}
			if _, err := e.reg.register(ctx, 0); err != nil || g.Registered(testLine.Number) {
				t.Errorf("after it was taken back: %v, registered %v", err, g.Registered(testLine.Number))
			}
		})
	}
}

func callOut(number string) func(context.Context, *Gateway, *edge) (*Call, *Call, error) {
	return func(ctx context.Context, g *Gateway, e *edge) (*Call, *Call, error) {
		there, err := e.call(ctx, g, number, 500*time.Millisecond)
		if err != nil {
			return nil, nil, err
		}
		here, err := g.NextCall(ctx)
		return there, here, err
	}
}

func callIn(number string) func(context.Context, *Gateway, *edge) (*Call, *Call, error) {
	return func(ctx context.Context, g *Gateway, e *edge) (*Call, *Call, error) {
		there, err := g.Dial(ctx, outside, number, 500*time.Millisecond)
		if err != nil {
			return nil, nil, err
		}
		here, err := e.in.next(ctx)
		return there, here, err
	}
}

func TestGatewayRefuses(t *testing.T) {
	register := func(ctx context.Context, t *testing.T, e *edge) {
		t.Helper()
		if _, err := e.reg.register(ctx, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		try  func(ctx context.Context, t *testing.T, g *Gateway) error
		want string
	}{
		{"a wrong password", func(ctx context.Context, t *testing.T, g *Gateway) error {
			l := testLine
			l.Password = "guessed"
			_, err := newEdge(t, g, l, nil).reg.register(ctx, time.Minute)
			return err
		}, "403"},
		{"another's address of record", func(ctx context.Context, t *testing.T, g *Gateway) error {
			l := testLine
			l.User = "boris"
			_, err := newEdge(t, g, l, nil).reg.register(ctx, time.Minute)
			return err
		}, "403"},
		{"too short a time", func(ctx context.Context, t *testing.T, g *Gateway) error {
			_, err := newEdge(t, g, testLine, nil).reg.register(ctx, time.Second)
			return err
		}, "423"},
		{"TLS 1.1", func(ctx context.Context, t *testing.T, g *Gateway) error {
			_, err := newEdge(t, g, testLine, func(c *tls.Config) {
				c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
			}).reg.register(ctx, time.Minute)
			return err
		}, "protocol version"},
		{"a name that is not in its certificate", func(ctx context.Context, t *testing.T, g *Gateway) error {
			_, err := newEdge(t, g, testLine, func(c *tls.Config) { c.ServerName = "other.example.com" }).reg.register(ctx, time.Minute)
			return err
		}, "certificate"},
		{"a call over a connection without a registration", func(ctx context.Context, t *testing.T, g *Gateway) error {
			_, err := newEdge(t, g, testLine, nil).call(ctx, g, "112", time.Second)
			return err
		}, "403"},
		{"a number that is none", func(ctx context.Context, t *testing.T, g *Gateway) error {
			e := newEdge(t, g, testLine, nil)
			register(ctx, t, e)
			_, err := e.call(ctx, g, "12", time.Second)
			return err
		}, "404"},
		{"media in the clear", func(ctx context.Context, t *testing.T, g *Gateway) error {
			e := newEdge(t, g, testLine, nil)
			register(ctx, t, e)
			e.t.secure = false
			_, err := e.call(ctx, g, "112", time.Second)
			for g.Insecure() != 1 { // counted after the refusal is out
				if !sleep(ctx, 10*time.Millisecond) {
					t.Fatalf("%d insecure offers counted, want 1", g.Insecure())
				}
			}
			return err
		}, "488"},
		{"a line that is not registered", func(ctx context.Context, _ *testing.T, g *Gateway) error {
			_, err := g.Dial(ctx, outside, testLine.Number, time.Second)
			return err
		}, "not registered"},
		{"a line whose connection is gone", func(ctx context.Context, t *testing.T, g *Gateway) error {
			e := newEdge(t, g, testLine, nil)
			register(ctx, t, e)
			g.Drop()
			for g.Registered(testLine.Number) {
				if !sleep(ctx, 10*time.Millisecond) {
					t.Fatal("the line outlives its connection")
				}
			}
			_, err := g.Dial(ctx, outside, testLine.Number, time.Second)
			return err
		}, "not registered"},
		{"a call that the other end answers in the clear", func(ctx context.Context, t *testing.T, g *Gateway) error {
			e := newEdge(t, g, testLine, nil)
			register(ctx, t, e)
			e.t.secure = false
			_, err := g.Dial(ctx, outside, testLine.Number, time.Second)
			return err
		}, "488"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.try(inTime(t), t, testGateway(t, nil))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want one that says %q", err, tc.want)
			}
		})
	}
}

func TestGatewayCallerGivesUp(t *testing.T) {
	g := testGateway(t, func(c *GatewayConfig) { c.Ring = time.Hour })
	steps := make(chan string, 100)
	g.Observe(func(s Step) { steps <- s.Text })
	e := newEdge(t, g, testLine, nil)
	ctx := inTime(t)
	if _, err := e.reg.register(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	told := func(text string) {
		t.Helper()
		for {
			select {
			case s := <-steps:
				if strings.Contains(s, text) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("the gateway did not say %q", text)
			}
		}
	}
	calling, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan error, 1)
	go func() {
		_, err := e.call(calling, g, "112", time.Second)
		ended <- err
	}()
	told("rings")
	giveUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want the end of the context", err)
	}
	told(errGone.Error())
}
