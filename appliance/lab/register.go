package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// registration keeps one account registered (RFC 3261 §10.2).
type registration struct {
	a       *agent
	account Account // its Label and Display only through snapshot
	creds   *credentials
	retry   time.Duration // first pause after a failure
	note    func(format string, args ...any)
	changed func() // something that a waiter may look at is different

	again chan struct{} // register now: the connection was lost

	mu     sync.Mutex
	callID string
	tag    string
	seq    uint32
	until  time.Time // registered until then
	flow   bool      // the connection of that registration has not been lost since
}

func newRegistration(a *agent, account Account, retry time.Duration, note func(string, ...any), changed func()) *registration {
	return &registration{
		a: a, account: account, retry: retry, note: note, changed: changed,
		creds: &credentials{user: account.AuthUser, password: account.Password},
		again: make(chan struct{}, 1), callID: sip.GenerateTagN(20), tag: sip.GenerateTagN(12),
	}
}

// registered reports whether the server holds a binding of ours that has not
// run out.
func (r *registration) registered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.until)
}

// reachable reports whether, in addition, a request of the server can arrive:
// over TCP the connection is open.
func (r *registration) reachable() bool {
	r.mu.Lock()
	flow := r.flow
	r.mu.Unlock()
	return flow && r.registered() && r.a.connected(r.account.destination())
}

// snapshot returns the account as it is now.
func (r *registration) snapshot() Account {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.account
}

// relabel changes what is shown, and nothing about the registration.
func (r *registration) relabel(label, display string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.account.Label, r.account.Display = label, display
}

// aor returns the address of record, which is also what From and To show.
func (r *registration) aor() party {
	return party{name: r.snapshot().Display, uri: sip.Uri{Scheme: "sip", User: r.account.User, Host: r.account.Server}}
}

// register sends one REGISTER, with its challenge two, and returns how long
// the server keeps the binding. Zero removes it.
func (r *registration) register(ctx context.Context, expires time.Duration) (time.Duration, error) {
	dest := r.account.destination()
	if err := r.a.connect(ctx, dest); err != nil {
		return 0, err
	}
	res, err := r.a.do(ctx, r.creds, func() (*sip.Request, error) { return r.build(dest, expires), nil })
	if err != nil {
		return 0, err
	}
	if !res.IsSuccess() {
		return 0, fmt.Errorf("REGISTER %s: %w: %d %s", r.account.User, errRefused, res.StatusCode, res.Reason)
	}
	granted := time.Duration(0)
	if expires > 0 {
		if granted, err = r.granted(res, dest); err != nil {
			return 0, fmt.Errorf("REGISTER %s: %w", r.account.User, err)
		}
	}
	r.mu.Lock()
	r.until, r.flow = time.Now().Add(granted), true
	r.mu.Unlock()
	r.changed()
	return granted, nil
}

func (r *registration) build(dest string, expires time.Duration) *sip.Request {
	req := r.a.request(sip.REGISTER, sip.Uri{Scheme: "sip", Host: r.account.Server}, dest)
	r.mu.Lock()
	r.seq++
	seq := r.seq
	r.mu.Unlock()
	aor := r.aor()
	to := aor.to()
	aor.tag = r.tag
	callID := sip.CallIDHeader(r.callID)
	seconds := sip.ExpiresHeader(expires / time.Second)
	req.AppendHeader(aor.from())
	req.AppendHeader(to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: sip.REGISTER})
	req.AppendHeader(r.a.contact(r.account.User, dest))
	req.AppendHeader(&seconds)
	req.SetBody(nil)
	return req
}

// granted finds our Contact in a 200; without it we are not registered,
// whatever the status says (RFC 3261 §10.2.4).
func (r *registration) granted(res *sip.Response, dest string) (time.Duration, error) {
	ours := r.a.contact(r.account.User, dest).Address
	for _, h := range res.GetHeaders("Contact") {
		for text := range strings.SplitSeq(h.Value(), ",") {
			var uri sip.Uri
			var params sip.HeaderParams
			if _, err := sip.ParseAddressValue(strings.TrimSpace(text), &uri, &params); err != nil {
				continue
			}
			if uri.User != ours.User || uri.Host != ours.Host || uri.Port != ours.Port {
				continue
			}
			value, ok := params.Get("expires")
			if e := res.GetHeader("Expires"); !ok && e != nil {
				value = e.Value()
			}
			n, err := strconv.Atoi(value)
			if err != nil || n <= 0 {
				return 0, fmt.Errorf("200 with our Contact and expiry %q", value)
			}
			return time.Duration(n) * time.Second, nil
		}
	}
	return 0, fmt.Errorf("200 without our Contact %s", ours.String())
}

// keep refreshes until ctx ends: at half of what was granted, at once when
// the connection was lost, and with growing pauses when it fails.
func (r *registration) keep(ctx context.Context, granted time.Duration) {
	wait, pause, lost := granted/2, r.retry, false
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-r.again:
			timer.Stop()
			lost = true
		}
		attempt, cancel := context.WithTimeout(ctx, max(4*time.Second, 4*r.retry))
		got, err := r.register(attempt, r.account.Expires)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if pause == r.retry {
				r.note("can't register %s: %v; tries again", r.account.User, err)
			}
			lost = true
			wait, pause = pause, min(2*pause, 30*r.retry)
		default:
			if lost {
				r.note("is registered as %s again for %v", r.account.User, got)
			}
			wait, pause, lost = got/2, r.retry, false
		}
	}
}

// reconnect makes keep register at once, because the connection was lost.
func (r *registration) reconnect() {
	r.mu.Lock()
	r.flow = false
	r.mu.Unlock()
	select {
	case r.again <- struct{}{}:
	default:
	}
	r.changed()
}
