package enrol

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Authenticator lets a user prove who it is, somewhere else than at the phone.
type Authenticator interface {
	// Begin asks for a code that a user enters somewhere.
	Begin(ctx context.Context) (Prompt, error)
	// Wait returns who entered it. It ends with ctx, and with ErrExpired when
	// the code is over.
	Wait(ctx context.Context, p Prompt) (Who, error)
}

// PairingState is how far a pairing has come.
type PairingState string

// The states of a pairing.
const (
	PairingStarts PairingState = "starting" // there is no code yet
	PairingShown  PairingState = "shown"    // the code can be entered
	PairingDone   PairingState = "done"     // the user is signed in
	PairingFailed PairingState = "failed"   // Why says for what reason
)

// Pairing is a user who wants to sign in at a phone.
type Pairing struct {
	Account  mac.Account
	State    PairingState
	Code     string
	URL      string
	Complete string // for a QR code; may be empty
	Expires  time.Time
	Codes    int // how many were shown so far: it is renewed while somebody is there
	Why      story.Reason
	Detail   string
	Line     string // name of the line, when it is done
}

// The times of a pairing.
const (
	presence      = 5 * time.Minute // somebody who asked is there for so long
	renewBefore   = 30 * time.Second
	networkFor    = 2 * time.Minute // the provider is tried for so long
	networkRetry  = 3 * time.Second
	keptPairings  = 10 * time.Minute // that are over
	maxPairings   = 1000
	pairingWindow = 12 * time.Hour // the longest that one goes on, whoever asks
)

// ErrBusy: too many users sign in at once.
var ErrBusy = errors.New("too many users sign in at once; try again later")

// ErrNoMethod: no way to sign in is set up.
var ErrNoMethod = errors.New("signing in is not set up; fill in [sign_in] in patchbay.toml")

// Pairings follows the users who want to sign in. Each has a goroutine, which
// Close ends and waits for.
type Pairings struct {
	desk   *Desk
	auth   Authenticator // nil: nobody can sign in
	source LineSource
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	live map[mac.Account]*pairing
}

type pairing struct {
	Pairing
	touched time.Time
	ended   time.Time
	changed chan struct{} // closed when the state changes, and made anew
	cancel  context.CancelFunc
}

// NewPairings makes the pairings of a desk. auth may be nil.
func NewPairings(d *Desk, auth Authenticator, source LineSource) *Pairings {
	ctx, cancel := context.WithCancel(context.Background())
	return &Pairings{desk: d, auth: auth, source: source, ctx: ctx, cancel: cancel, live: make(map[mac.Account]*pairing)}
}

// Close ends all pairings. It returns nil.
func (x *Pairings) Close() error {
	x.cancel()
	x.wg.Wait()
	return nil
}

// Begin starts a pairing for an account, or joins the one that there is. It
// waits for the code until ctx ends. The error wraps [ErrTransition] where
// nobody may sign in.
func (x *Pairings) Begin(ctx context.Context, a mac.Account) (Pairing, error) {
	if x.auth == nil {
		return Pairing{}, ErrNoMethod
	}
	if err := x.desk.may(a, PairingAsk); err != nil {
		return Pairing{}, fmt.Errorf("sign in at %v: %w", a, err)
	}
	p, err := x.start(a)
	if err != nil {
		return Pairing{}, err
	}
	for {
		x.mu.Lock()
		now, changed := p.Pairing, p.changed
		x.mu.Unlock()
		if now.State != PairingStarts {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, nil
		case <-x.ctx.Done():
			return now, x.ctx.Err()
		}
	}
}

func (x *Pairings) start(a mac.Account) (*pairing, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.desk.now()
	maps.DeleteFunc(x.live, func(_ mac.Account, p *pairing) bool { return !p.ended.IsZero() && now.Sub(p.ended) > keptPairings })
	if p, ok := x.live[a]; ok && p.ended.IsZero() {
		p.touched = now
		return p, nil
	}
	if len(x.live) >= maxPairings {
		return nil, ErrBusy
	}
	if x.ctx.Err() != nil {
		return nil, x.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(x.ctx, pairingWindow)
	p := &pairing{Pairing: Pairing{Account: a, State: PairingStarts}, touched: now, changed: make(chan struct{}), cancel: cancel}
	x.live[a] = p
	x.wg.Go(func() {
		defer cancel()
		x.run(ctx, p)
	})
	return p, nil
}

// Get returns the pairing of an account. Whoever looks is there: the code is
// renewed for them.
func (x *Pairings) Get(a mac.Account) (Pairing, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p, ok := x.live[a]
	if !ok {
		return Pairing{}, false
	}
	p.touched = x.desk.now()
	return p.Pairing, true
}

// Cancel ends the pairing of an account.
func (x *Pairings) Cancel(a mac.Account) {
	x.mu.Lock()
	p, ok := x.live[a]
	delete(x.live, a)
	x.mu.Unlock()
	if ok {
		p.cancel()
	}
}

// List returns all pairings by account.
func (x *Pairings) List() []Pairing {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []Pairing
	for _, p := range x.live {
		out = append(out, p.Pairing)
	}
	slices.SortFunc(out, func(a, b Pairing) int { return a.Account.Compare(b.Account) })
	return out
}

// set changes a pairing and wakes whoever waits for that.
func (x *Pairings) set(p *pairing, change func(*Pairing)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&p.Pairing)
	if p.State == PairingDone || p.State == PairingFailed {
		p.ended = x.desk.now()
		p.Code, p.URL, p.Complete = "", "", ""
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// there reports whether somebody still wants to sign in.
func (x *Pairings) there(p *pairing) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.desk.now().Sub(p.touched) < presence
}

// found is what became of one code.
type found struct {
	who Who
	err error
}

// run shows codes until one was entered, or nobody is there any more. A code
// is renewed before it expires; the one before is good until it does.
func (x *Pairings) run(ctx context.Context, p *pairing) {
	results := make(chan found)
	var waits sync.WaitGroup
	inner, stop := context.WithCancel(ctx)
	defer waits.Wait()
	defer stop()
	open := 0
	for {
		prompt, err := x.begin(inner, p)
		if err != nil {
			if open == 0 || ctx.Err() != nil {
				x.fail(ctx, p, err)
				return
			}
		} else {
			open++
			x.show(p, prompt)
			waits.Go(func() {
				who, err := x.auth.Wait(inner, prompt)
				select {
				case results <- found{who, err}:
				case <-inner.Done():
				}
			})
		}
		renew := time.NewTimer(max(time.Until(prompt.Expires)-renewBefore, time.Second))
		for again := false; !again; {
			select {
			case f := <-results:
				open--
				if f.err == nil || !errors.Is(f.err, ErrExpired) || open == 0 && !x.there(p) {
					renew.Stop()
					x.finish(ctx, p, f)
					return
				}
				again = open == 0
			case <-renew.C:
				again = x.there(p)
			case <-ctx.Done():
				renew.Stop()
				x.fail(ctx, p, ctx.Err())
				return
			}
		}
		renew.Stop()
	}
}

// begin asks for a code, and again while the provider can't be reached.
func (x *Pairings) begin(ctx context.Context, p *pairing) (Prompt, error) {
	since := x.desk.now()
	for {
		prompt, err := x.auth.Begin(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, ErrUnreachable) || x.desk.now().Sub(since) > networkFor {
			return prompt, err
		}
		x.set(p, func(q *Pairing) { q.Why = story.PairingNetwork })
		select {
		case <-time.After(networkRetry):
		case <-ctx.Done():
			return prompt, ctx.Err()
		}
	}
}

func (x *Pairings) show(p *pairing, prompt Prompt) {
	x.set(p, func(q *Pairing) {
		q.State, q.Why, q.Detail = PairingShown, "", ""
		q.Code, q.URL, q.Complete, q.Expires = prompt.Code, prompt.URL, prompt.Complete, prompt.Expires
		q.Codes++
	})
	x.desk.tell(p.Account.MAC, story.PairingShown, story.Args{
		Account: p.Account, URL: prompt.URL, Seconds: int64(time.Until(prompt.Expires) / time.Second),
	})
}

// finish signs in who entered the code.
func (x *Pairings) finish(ctx context.Context, p *pairing, f found) {
	if f.err != nil {
		x.fail(ctx, p, f.err)
		return
	}
	l, err := x.lineOf(ctx, f.who)
	if err == nil {
		by := f.who.Subject
		if len(f.who.Names) > 0 {
			by = f.who.Names[0]
		}
		var g *Grant
		if f.who.Subject != "" {
			g = &Grant{Subject: f.who.Subject, Refresh: f.who.Refresh, Access: f.who.Access, Expires: x.desk.now().Add(f.who.Life), Since: x.desk.now()}
		}
		l, err = x.desk.SignInUser(ctx, p.Account, l, cmp.Or(by, l.Name()), g)
	}
	if err != nil {
		x.fail(ctx, p, err)
		return
	}
	x.set(p, func(q *Pairing) { q.State, q.Line, q.Why = PairingDone, l.Name(), "" })
}

// lineOf finds the line of a user.
func (x *Pairings) lineOf(ctx context.Context, who Who) (Line, error) {
	if who.LineID != 0 {
		if l, ok := x.desk.Line(who.LineID); ok {
			return l, nil
		}
		return Line{}, ErrUnknownLine
	}
	err := ErrUnknownLine
	for _, name := range who.Names {
		var l Line
		if l, err = x.source.LineOf(ctx, name); err == nil || !errors.Is(err, ErrUnknownLine) {
			return l, err
		}
	}
	return Line{}, err
}

// fail ends a pairing with a reason.
func (x *Pairings) fail(ctx context.Context, p *pairing, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return // somebody ended it, or the box stops
	}
	why := story.PairingRefused
	switch {
	case errors.Is(err, ErrDenied):
		why = story.PairingDenied
	case errors.Is(err, ErrExpired), errors.Is(err, context.DeadlineExceeded):
		why = story.PairingExpired
	case errors.Is(err, ErrUnreachable):
		why = story.PairingNetwork
	case errors.Is(err, ErrUnknownLine):
		why = story.PairingNoLine
	case errors.Is(err, ErrNotAllowed):
		why = story.LineRevoked
	}
	detail := clip(err.Error())
	x.set(p, func(q *Pairing) { q.State, q.Why, q.Detail = PairingFailed, why, detail })
	x.desk.tell(p.Account.MAC, story.PairingFailed, story.Args{Account: p.Account, Reason: why, Detail: detail})
}
