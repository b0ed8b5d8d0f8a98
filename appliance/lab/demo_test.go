package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/dhcp/mac"
)

// testAdmin looks after a testBox: it registers each line at the gateway,
// routes its numbers to the phone that it is given to, and tells the phone.
type testAdmin struct {
	b     *testBox
	g     *Gateway
	lines []Line
	fail  error
}

func (a *testAdmin) AddLine(ctx context.Context, l Line) (int64, error) {
	if a.fail != nil {
		return 0, a.fail
	}
	a.lines = append(a.lines, l)
	user, _, _ := strings.Cut(strings.TrimPrefix(l.AOR, "sip:"), "@")
	creds := &credentials{user: l.AuthUser, password: l.AuthPassword}
	for seq := uint32(1); seq <= 2; seq++ {
		req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: a.g.Domain()})
		req.SetTransport("TLS")
		req.SetDestination(a.g.Addr().String())
		aor := party{uri: sip.Uri{Scheme: "sip", User: user, Host: a.g.Domain()}, tag: "t"}
		req.AppendHeader(aor.from())
		aor.tag = ""
		req.AppendHeader(aor.to())
		req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.REGISTER})
		req.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:%s@%v;transport=tls>", user, a.b.sip)))
		if err := creds.apply(req); err != nil {
			return 0, err
		}
		res, err := a.b.client.Do(ctx, req)
		if err != nil {
			return 0, err
		}
		if challenged(res) {
			if err := creds.learn(res); err != nil {
				return 0, err
			}
		} else if !res.IsSuccess() {
			return 0, fmt.Errorf("gateway: %d %s", res.StatusCode, res.Reason)
		}
	}
	return int64(len(a.lines)), nil
}

func (a *testAdmin) AddPhone(context.Context, mac.Addr) error { return nil }

func (a *testAdmin) Assign(ctx context.Context, account mac.Account, line int64) error {
	l := a.lines[line-1]
	user := fmt.Sprintf("%s-%d", account.MAC.Hex(), account.Slot)
	name, _, _ := strings.Cut(strings.TrimPrefix(l.AOR, "sip:"), "@")
	for _, number := range []string{l.Number, l.Extension, name} {
		a.b.routeTo(number, user)
	}
	a.b.label(user, l.DisplayName)
	_, err := a.b.notify(ctx, user, "check-sync;reboot=false")
	return err
}

// writer keeps what is written and tells when a text was.
type writer struct {
	mu   sync.Mutex
	text strings.Builder
	when map[string]func()
}

func (w *writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for text, f := range w.when {
		if strings.Contains(string(b), text) {
			f()
		}
	}
	return w.text.Write(b)
}

func testDemo(t *testing.T) (*testBox, *testAdmin, Options, *writer) {
	t.Helper()
	g := testGateway(t, func(c *GatewayConfig) { c.TrustFlow, c.plain = true, true })
	b := newTestBox(t, "udp")
	b.stopSIP()
	b.gateway, b.trust = g.Addr(), &tls.Config{RootCAs: g.CA(), ServerName: g.ServerName()}
	b.startSIP()
	a, out := &testAdmin{b: b, g: g}, &writer{}
	return b, a, Options{DHCPServer: b.dhcpAddr(), Gateway: g, Admin: a, Out: out, Once: true, Talk: 500 * time.Millisecond}, out
}

func TestRun(t *testing.T) {
	t.Parallel()
	_, _, opt, out := testDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := Run(ctx, opt)
	t.Logf("\n%s", out.text.String())
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Errorf("results:\n%v", r)
	}
	for _, row := range r.Rows[wanted-3:] {
		if row.Forth == nil || row.Back == nil || !row.Forth.OK(opt.Talk) || !row.Back.OK(opt.Talk) {
			t.Errorf("%s: there %v, back %v", row.What, row.Forth, row.Back)
		}
	}
	for _, want := range []string{"Yealink SIP-T46U", "Poly Edge E450", "Cisco CP-8841-3PCC", "everything works", "option 160", "option 66", "Anna Albers"} {
		if !strings.Contains(out.text.String(), want) {
			t.Errorf("the account does not mention %q", want)
		}
	}
}

func TestRunNotices(t *testing.T) {
	t.Run("a muted gateway", func(t *testing.T) {
		_, _, opt, _ := testDemo(t)
		opt.Gateway.Mute(true)
		r, err := Run(within20s(t), opt)
		if err != nil || r.OK() {
			t.Errorf("Run = %v, %v, want a failed table", r, err)
		}
		failed := 0
		for _, row := range r.Rows {
			if !row.OK {
				failed++
			}
		}
		if failed != 2 {
			t.Errorf("%d rows failed, want the two calls with the gateway:\n%v", failed, r)
		}
	})
	t.Run("a phone that gets no files", func(t *testing.T) {
		b, _, opt, _ := testDemo(t)
		b.gone.Store(true)
		r, err := Run(within20s(t), opt)
		if !errors.Is(err, errNoConfig) || r.OK() {
			t.Errorf("Run = %v, %v, want errNoConfig", r, err)
		}
	})
	t.Run("an administrator that can't", func(t *testing.T) {
		_, a, opt, _ := testDemo(t)
		a.fail = errors.New("disk full")
		if r, err := Run(within20s(t), opt); !errors.Is(err, a.fail) || r.OK() {
			t.Errorf("Run = %v, %v, want the administrator's error", r, err)
		}
	})
	t.Run("no gateway", func(t *testing.T) {
		if r, err := Run(t.Context(), Options{}); err == nil || r.OK() {
			t.Errorf("Run = %v, %v, want an error", r, err)
		}
	})
}

func within20s(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRunStays(t *testing.T) {
	t.Parallel()
	b, _, opt, out := testDemo(t)
	opt.Once = false
	ctx, cancel := context.WithCancel(within20s(t))
	defer cancel()
	bound := 0
	out.when = map[string]func(){"until you press": func() { bound = b.bound(); cancel() }}
	r, err := Run(ctx, opt)
	if err != nil || !r.OK() {
		t.Errorf("Run = %v, %v", r, err)
	}
	if bound == 0 || b.bound() != 0 {
		t.Errorf("%d bindings while it stays and %d afterwards, want some and none", bound, b.bound())
	}
}

func TestRunInterrupted(t *testing.T) {
	t.Parallel()
	_, _, opt, out := testDemo(t)
	ctx, cancel := context.WithCancel(within20s(t))
	defer cancel()
	out.when = map[string]func(){"is in a call": cancel}
	if r, err := Run(ctx, opt); !errors.Is(err, context.Canceled) || r.OK() {
		t.Errorf("Run = %v, %v, want the interruption", r, err)
	}
}
