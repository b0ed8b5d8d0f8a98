package enrol

import (
	"sync"

	"patchbay/dhcp/mac"
)

// The bounds of asking phones to fetch again.
const (
	asksAtOnce = 8 // phones that are asked at the same time
	asksEach   = 3 // accounts of a phone that are tried until one is reached
)

// asker asks phones to fetch again behind the back of the administrator, for
// a phone that is unplugged lets its asker wait for seconds. Each phone has
// one goroutine at most, which close waits for.
type asker struct {
	notify Notifier
	places chan struct{}
	stop   chan struct{}
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	phones map[mac.Addr]*asking
}

// asking is a phone that is being asked, or waits for its turn.
type asking struct {
	accounts []mac.Account // the ones to try, best first
	begun    bool
	again    bool // something changed since it began
}

func newAsker(n Notifier) *asker {
	return &asker{
		notify: n, places: make(chan struct{}, asksAtOnce), stop: make(chan struct{}),
		phones: make(map[mac.Addr]*asking),
	}
}

// ask has a phone asked over the first of its accounts that can be reached.
// It returns at once. A phone that still waits for its turn is asked once.
func (a *asker) ask(accounts []mac.Account) {
	if a.notify == nil || len(accounts) == 0 {
		return
	}
	m := accounts[0].MAC
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.phones[m]; ok {
		p.accounts, p.again = accounts, p.begun
		return
	}
	if a.closed {
		return
	}
	p := &asking{accounts: accounts}
	a.phones[m] = p
	a.wg.Go(func() { a.run(m, p) })
}

// run asks one phone until nothing changed while it was asked.
func (a *asker) run(m mac.Addr, p *asking) {
	for more := true; more; {
		select {
		case a.places <- struct{}{}:
		case <-a.stop:
			a.mu.Lock()
			delete(a.phones, m)
			a.mu.Unlock()
			return
		}
		a.mu.Lock()
		accounts := p.accounts
		p.begun = true
		a.mu.Unlock()
		a.tryEach(accounts[:min(asksEach, len(accounts))])
		<-a.places
		a.mu.Lock()
		more = p.again
		p.again, p.begun = false, false
		if !more {
			delete(a.phones, m)
		}
		a.mu.Unlock()
	}
}

// tryEach asks over one account after the other until one is reached. That
// none is, is no failure of the edit: the phone fetches when it starts, and
// its story tells the rest.
func (a *asker) tryEach(accounts []mac.Account) {
	for _, acc := range accounts {
		if a.notify.Resync(acc) == nil {
			return
		}
		select {
		case <-a.stop:
			return
		default:
		}
	}
}

// close lets the asks that have begun end, and drops the others.
func (a *asker) close() {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.stop)
	}
	a.mu.Unlock()
	a.wg.Wait()
}
