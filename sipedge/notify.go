package sipedge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// ErrNotRegistered is returned by [Endpoint.Resync] for an account that no
// phone is registered with.
var ErrNotRegistered = errors.New("no phone is registered with this account")

// answerTime is how long a phone has for its answer to a NOTIFY.
const answerTime = 8 * time.Second

// resyncEvents is how each vendor's phones are asked to fetch their
// configuration again, by a word of their User-Agent, with the mildest verb
// that they know: some reboot for a bare check-sync. Others get the bare one.
var resyncEvents = []struct{ agent, event string }{
	{"yealink", "check-sync;reboot=false"},    // sip.notify_reboot_enable is 1 by default: any other reboots
	{"audiocodes", "check-sync;reboot=false"}, // SBC and gateway manuals; seen in phone configurations
	{"audc", "check-sync;reboot=false"},
	{"snom", "check-sync;reboot=false"},
	{"gigaset", "check-sync;reboot=false"}, // N610, N670, N870
	{"cisco", "check-sync"},                // MPP; challenged with digest by default
	{"poly", "check-sync"},                 // reboots only if a file changed
	{"grandstream", "check-sync"},
	{"fanvil", "check-sync"},
}

// resyncEvent picks the verb for a phone.
func resyncEvent(userAgent string) string {
	agent := strings.ToLower(userAgent)
	for _, v := range resyncEvents {
		if strings.Contains(agent, v.agent) {
			return v.event
		}
	}
	return "check-sync"
}

// Resync asks the phone of an account to fetch its configuration again, by
// NOTIFY over the flow that it registered over. event is the value of the Event
// header; empty means the mildest that its User-Agent is known for. It blocks
// until the phone has answered, 8 seconds at most. A phone that wants a digest
// gets its own device identity. The error is or wraps [ErrNotRegistered] or
// [ErrFlowLost], or says what the phone answered. That the phone said yes does
// not mean that it came.
func (e *Endpoint) Resync(a mac.Account, event string) error {
	b, id, err := e.reach(a)
	if err != nil {
		return fmt.Errorf("re-sync %v: %w", a, err)
	}
	if event == "" {
		event = resyncEvent(b.UserAgent)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	status, err := e.notify(ctx, b, id, news{event: event})
	e.record(a.MAC, story.Event{
		Time: e.now(), Proto: story.SIP, Dir: story.Out, Code: story.Resync,
		Args: story.Args{Account: a, IP: b.Source.Addr(), Via: b.Transport, Status: status, Detail: event},
	})
	if err != nil {
		return fmt.Errorf("re-sync %v: %w", a, err)
	}
	if status >= 300 {
		return fmt.Errorf("re-sync %v: the phone answered %d", a, status)
	}
	return nil
}

// Alive asks the phone of an account by OPTIONS, over the flow that it
// registered over, for any answer at all (RFC 3261 §11). It blocks for 8
// seconds at most. The error is or wraps [ErrNotRegistered] or [ErrFlowLost],
// or says that nobody answered.
func (e *Endpoint) Alive(a mac.Account) error {
	b, id, err := e.reach(a)
	if err != nil {
		return fmt.Errorf("look for %v: %w", a, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	req, err := e.outOfDialog(sip.OPTIONS, b, id)
	if err != nil {
		return err
	}
	if _, err := e.roundTrip(ctx, b.Flow(), req); err != nil {
		return fmt.Errorf("look for %v: %w", a, err)
	}
	return nil
}

// reach returns the binding and the identity of an account that can be reached.
func (e *Endpoint) reach(a mac.Account) (Binding, Identity, error) {
	b, ok := e.location.Binding(a)
	switch {
	case !ok:
		return b, Identity{}, ErrNotRegistered
	case b.FlowLost:
		return b, Identity{}, ErrFlowLost
	}
	id, ok := e.accounts.Account(a)
	if !ok {
		return b, id, ErrNotRegistered
	}
	return b, id, nil
}

// outOfDialog makes a request of the box itself to a phone.
func (e *Endpoint) outOfDialog(method sip.RequestMethod, b Binding, id Identity) (*sip.Request, error) {
	req, err := NewRequest(method, b)
	if err != nil {
		return nil, err
	}
	local := b.Local.Addr().String()
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "patchbay", Host: local}}
	from.Params.Add("tag", sip.GenerateTagN(16))
	for _, h := range []sip.Header{
		from,
		&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: id.Username, Host: local}},
		&sip.CSeqHeader{SeqNo: 1, MethodName: method},
		b.Flow().Contact("patchbay"),
	} {
		req.AppendHeader(h)
	}
	return req, nil
}

// news is what a NOTIFY outside of a dialog says.
type news struct {
	event       string
	contentType string // with a body
	body        string
}

// notify sends a NOTIFY outside of a dialog, over the flow that the phone
// registered over, and again with credentials if the
// phone asks for them: those of the password that it had first, if it may have
// either. It returns the final status.
func (e *Endpoint) notify(ctx context.Context, b Binding, id Identity, n news) (int, error) {
	req, err := e.outOfDialog(sip.NOTIFY, b, id)
	if err != nil {
		return 0, err
	}
	req.AppendHeader(sip.NewHeader("Event", n.event))
	req.AppendHeader(sip.NewHeader("Subscription-State", "terminated;reason=noresource"))
	if n.body != "" {
		req.AppendHeader(sip.NewHeader("Content-Type", n.contentType))
		req.SetBody([]byte(n.body))
	}
	res, err := e.roundTrip(ctx, b.Flow(), req)
	if err != nil {
		return 0, err
	}
	for _, password := range []string{id.OldPassword, id.Password} {
		if password == "" {
			continue
		}
		if res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired {
			break
		}
		req.RemoveHeader("Authorization")
		req.RemoveHeader("Proxy-Authorization")
		if err := respondToChallenge(req, res, id.Username, password); err != nil {
			return res.StatusCode, err
		}
		if res, err = e.roundTrip(ctx, b.Flow(), req); err != nil {
			return 0, err
		}
	}
	return res.StatusCode, nil
}

// respondToChallenge turns a request into its next try with credentials
// (RFC 3261 §22.2): the same Call-ID, a higher CSeq, a new branch. The device
// identity is what this very phone was given, so nobody else learns from it.
func respondToChallenge(req *sip.Request, res *sip.Response, username, password string) error {
	ask, give := "WWW-Authenticate", "Authorization"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		ask, give = "Proxy-Authenticate", "Proxy-Authorization"
	}
	failure := errors.New("401 without a challenge")
	for _, h := range res.GetHeaders(ask) {
		c, err := digestFor(h.Value(), req, username, password)
		if err == nil {
			req.CSeq().SeqNo++
			req.RemoveHeader("Via")
			req.AppendHeader(sip.NewHeader(give, c.String()))
			return nil
		}
		failure = err
	}
	return fmt.Errorf("challenge of the phone: %w", failure)
}

// roundTrip sends a request over a flow and waits for its final answer.
func (e *Endpoint) roundTrip(ctx context.Context, f Flow, req *sip.Request) (*sip.Response, error) {
	tx, err := e.Send(ctx, f, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, fmt.Errorf("%s to %v: %w", req.Method, f.Remote, tx.Err())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s to %v: %w", req.Method, f.Remote, ctx.Err())
		}
	}
}
