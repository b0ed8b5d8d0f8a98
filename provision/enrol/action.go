package enrol

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// The bounds of asking phones to fetch again or to restart.
const (
	asksAtOnce  = 8                // phones that are asked at the same time
	asksEach    = 3                // accounts of a phone that are tried until one is reached
	attempts    = 3                // until an action counts as failed
	callLook    = time.Second      // how often a phone that talks is looked at
	retryAfter  = 10 * time.Second // a phone that refused or was not reached
	offlineFor  = 2 * time.Minute  // a phone that is not registered is waited for
	fetchWithin = 90 * time.Second // after it was asked; a Poly takes 20 s to begin
	heardAfter  = 5 * time.Second  // silence after the fetch, then it is asked whether it lives
	heardWithin = 4 * time.Minute  // after the fetch: a restart takes up to three minutes
	keptActions = 500              // that are over
)

// ErrOffline is wrapped by a [Notifier] that knows no way to the phone.
var ErrOffline = errors.New("no phone is registered with this account")

// Notifier reaches phones by SIP. Its methods may block for some seconds.
type Notifier interface {
	// Resync asks the phone of an account to fetch its configuration again, or
	// with restart to start anew, in the mildest words that its vendor has for
	// that. What becomes of it is put on the phone's story by whoever sends
	// it. An error that wraps [ErrOffline] says that there is no way to it.
	Resync(a mac.Account, restart bool) error
	// InCall reports whether somebody talks on the phone.
	InCall(m mac.Addr) bool
	// Alive asks the phone over the way of its registration for a sign of life.
	Alive(a mac.Account) error
}

// ActionKind is what a phone is asked to do.
type ActionKind string

// The kinds of actions.
const (
	Resync  ActionKind = "resync"  // fetch the configuration again
	Restart ActionKind = "restart" // start anew, and fetch
)

// ActionState is how far an action has come. It is done when it was seen, not
// when the phone said yes.
type ActionState string

// The states of an action.
const (
	Queued  ActionState = "queued"  // not asked yet; Why says what is waited for
	Asked   ActionState = "asked"   // the phone said yes, and has not come yet
	Fetched ActionState = "fetched" // it fetched the new content whole, and was not heard of by SIP since
	Done    ActionState = "done"    // it was heard of by SIP after that
	Failed  ActionState = "failed"  // Why says for what reason
)

// Action is one thing that a phone is asked to do.
type Action struct {
	ID       int64
	Account  mac.Account
	Kind     ActionKind
	State    ActionState
	Why      story.Reason
	Attempts int
	Created  time.Time
	Changed  time.Time
}

// Over reports whether the action has come to its end.
func (a Action) Over() bool { return a.State == Done || a.State == Failed }

// actions follows what phones are asked to do until it was seen, or failed.
// Each phone has one action at most that is not over, with a goroutine of its
// own; close ends them and waits.
type actions struct {
	notify Notifier
	keep   keeper // may be nil
	tell   func(mac.Addr, story.Code, story.Args)
	now    func() time.Time
	places chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	next   int64
	live   map[mac.Addr]*acting
	over   []Action // oldest first
}

// acting is an action that is not over.
type acting struct {
	Action
	accounts []mac.Account // the ones to try, best first
	since    time.Time     // what was fetched before this is old
	begun    bool          // it is asked, or was
	more     chan struct{} // holds one token when something changed since it was asked
	fetched  chan struct{} // holds one token when the phone fetched
	heard    chan struct{} // holds one token when the phone was heard of
}

// keeper is where actions that are not over outlive the process.
type keeper interface {
	KeepAction(a Action)
	DropAction(m mac.Addr)
}

func newActions(n Notifier, keep keeper, tell func(mac.Addr, story.Code, story.Args), now func() time.Time) *actions {
	ctx, cancel := context.WithCancel(context.Background())
	return &actions{
		notify: n, keep: keep, tell: tell, now: now, places: make(chan struct{}, asksAtOnce), ctx: ctx, cancel: cancel,
		live: make(map[mac.Addr]*acting),
	}
}

// add has a phone asked over the first of its accounts that can be reached. It
// returns at once, with the id of the action. One that waits already is not
// doubled; one that was asked already is asked again.
func (x *actions) add(kind ActionKind, accounts []mac.Account) int64 {
	if x.notify == nil || len(accounts) == 0 {
		return 0
	}
	m := accounts[0].MAC
	x.mu.Lock()
	defer x.mu.Unlock()
	if p, ok := x.live[m]; ok {
		p.accounts, p.since = accounts, x.now()
		if kind == Restart && p.Kind != Restart {
			p.Kind = Restart
			x.note(p.Action)
		}
		if p.begun {
			put(p.more)
		}
		return p.ID
	}
	if x.closed {
		return 0
	}
	x.next++
	p := &acting{
		Action:   Action{ID: x.next, Account: accounts[0], Kind: kind, State: Queued, Created: x.now(), Changed: x.now()},
		accounts: accounts, since: x.now(), more: make(chan struct{}, 1), fetched: make(chan struct{}, 1), heard: make(chan struct{}, 1),
	}
	x.live[m] = p
	x.note(p.Action)
	x.wg.Go(func() { x.run(p) })
	return p.ID
}

// note keeps an action for the time after a restart. mu is held, so that it
// can't come after the end; it does not block.
func (x *actions) note(a Action) {
	if x.keep != nil {
		x.keep.KeepAction(a)
	}
}

// run follows one action to its end, and begins anew if something changed
// meanwhile.
func (x *actions) run(p *acting) {
	for {
		state, why := x.follow(p)
		x.mu.Lock()
		if drain(p.more) && x.ctx.Err() == nil {
			p.begun, p.State, p.Why, p.Attempts = false, Queued, "", 0
			x.mu.Unlock()
			continue
		}
		delete(x.live, p.Account.MAC)
		p.State, p.Why, p.Changed = state, why, x.now()
		x.over = append(x.over, p.Action)
		x.over = x.over[max(0, len(x.over)-keptActions):]
		if x.ctx.Err() == nil && x.keep != nil { // else it goes on after the restart
			x.keep.DropAction(p.Account.MAC)
		}
		x.mu.Unlock()
		if x.ctx.Err() == nil {
			code := story.ActionDone
			if state == Failed {
				code = story.ActionFailed
			}
			x.tell(p.Account.MAC, code, story.Args{Account: p.Account, Reason: why, Detail: string(p.Kind)})
		}
		return
	}
}

// follow returns how an action ended.
func (x *actions) follow(p *acting) (ActionState, story.Reason) {
	why := story.ActionOffline
	since := x.now()
	for n := 0; n < attempts; {
		if !x.quiet(p) {
			return Failed, story.Stopping
		}
		switch a, err := x.ask(p); {
		case x.ctx.Err() != nil:
			return Failed, story.Stopping
		case errors.Is(err, ErrOffline):
			x.set(p, Queued, story.ActionOffline)
			if x.now().Sub(since) >= offlineFor {
				return Failed, story.ActionOffline
			}
			x.wait(p.heard, nil, retryAfter)
		case err != nil:
			n++
			why = story.ActionRefused
			x.set(p, Queued, why)
			x.wait(nil, nil, retryAfter)
		default:
			n++
			state, reason, changed := x.watch(p, a)
			switch {
			case changed:
				n = 0
			case state == Done:
				return Done, ""
			}
			why = reason
		}
	}
	return Failed, why
}

// watch waits until a phone that said yes has done it. changed means that it
// is to be asked again, since there is something newer.
func (x *actions) watch(p *acting, a mac.Account) (s ActionState, why story.Reason, changed bool) {
	x.set(p, Asked, "")
	got, changed := x.wait(p.fetched, p.more, fetchWithin)
	if !got {
		return Failed, story.ActionNotFetched, changed
	}
	x.set(p, Fetched, "")
	for until := x.now().Add(heardWithin); x.ctx.Err() == nil && x.now().Before(until); {
		got, changed := x.wait(p.heard, p.more, heardAfter)
		if changed {
			return Failed, "", true
		}
		if got || x.ctx.Err() == nil && x.notify.Alive(a) == nil {
			return Done, "", false
		}
	}
	return Failed, story.ActionNotHeard, false
}

// quiet waits until nobody talks on the phone. It is false if the box stops.
func (x *actions) quiet(p *acting) bool {
	for told := false; x.notify.InCall(p.Account.MAC); told = true {
		if !told {
			x.set(p, Queued, story.ActionInCall)
			x.tell(p.Account.MAC, story.ActionWaits, story.Args{Account: p.Account, Reason: story.ActionInCall, Detail: string(p.Kind)})
		}
		x.wait(nil, nil, callLook)
		if x.ctx.Err() != nil {
			return false
		}
	}
	return x.ctx.Err() == nil
}

// ask asks over one account after the other until one is reached, and returns
// that one.
func (x *actions) ask(p *acting) (mac.Account, error) {
	select {
	case x.places <- struct{}{}:
	case <-x.ctx.Done():
		return mac.Account{}, x.ctx.Err()
	}
	defer func() { <-x.places }()
	x.mu.Lock()
	accounts, kind := p.accounts, p.Kind
	p.Attempts++
	p.begun = true
	drain(p.more)
	drain(p.fetched)
	drain(p.heard)
	x.mu.Unlock()
	var first error
	for _, a := range accounts[:min(asksEach, len(accounts))] {
		err := x.notify.Resync(a, kind == Restart)
		if err == nil {
			return a, nil
		}
		if first == nil || errors.Is(first, ErrOffline) {
			first = err
		}
		if x.ctx.Err() != nil {
			break
		}
	}
	return accounts[0], first
}

// wait is got if a token came in time, and changed if something newer did.
func (x *actions) wait(token, more <-chan struct{}, limit time.Duration) (got, changed bool) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-token:
		return true, false
	case <-more:
		return false, true
	case <-t.C:
	case <-x.ctx.Done():
	}
	return false, false
}

func put(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// set moves an action on.
func (x *actions) set(p *acting, s ActionState, why story.Reason) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p.State, p.Why, p.Changed, p.begun = s, why, x.now(), s != Queued
}

// fetched says that a phone got whole what was rendered for it then.
func (x *actions) fetched(m mac.Addr, rendered time.Time) {
	x.signal(m, func(p *acting) chan struct{} {
		if rendered.Before(p.since) {
			return nil
		}
		drain(p.heard) // what it said before does not count
		return p.fetched
	})
}

// heard says that a phone was heard of by SIP.
func (x *actions) heard(m mac.Addr) {
	x.signal(m, func(p *acting) chan struct{} { return p.heard })
}

func (x *actions) signal(m mac.Addr, which func(*acting) chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p, ok := x.live[m]; ok {
		put(which(p)) // a nil channel takes none
	}
}

// list returns what is going on and what is over, newest first.
func (x *actions) list() []Action {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := slices.Clone(x.over)
	for _, p := range x.live {
		out = append(out, p.Action)
	}
	slices.SortFunc(out, func(a, b Action) int { return int(b.ID - a.ID) })
	return out
}

// close ends all actions and takes no more.
func (x *actions) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.cancel()
	x.wg.Wait()
}
