package sipedge

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"patchbay/dhcp/mac"
)

// Binding is the one live contact of an account (RFC 3261 §10): where its
// phone is reached, and over which flow.
type Binding struct {
	Account   mac.Account
	Contact   string         // Contact URI as the phone gave it
	Transport string         // "udp", "tcp" or "tls"
	Source    netip.AddrPort // where the REGISTER came from, and where requests go (RFC 3581)
	Local     netip.AddrPort // our listener that it came to
	CallID    string         // Call-ID of the REGISTER, with CSeq guards order (RFC 3261 §10.3 step 7)
	CSeq      uint32
	Instance  string // +sip.instance of RFC 5626, if offered
	UserAgent string
	Expires   time.Time
	// FlowLost marks a TCP or TLS binding whose connection is gone: it is
	// answered 480 at once until the phone reconnects. Never stored; every
	// connection-oriented binding is lost when the process starts.
	FlowLost bool
}

// BindingStore keeps bindings across a restart. Writes are behind: Put and
// Delete return at once and are on disk within a second.
type BindingStore interface {
	Bindings(ctx context.Context) ([]Binding, error)
	Put(b Binding)
	Delete(a mac.Account)
}

// CallStore keeps the call detail record. Its methods return at once.
type CallStore interface {
	Add(r CallRecord)
	// Report adds what a phone says of a call, which may not be stored yet.
	Report(r PhoneReport)
}

// CallRecord is one call as it is written when it ends, whatever its end.
type CallRecord struct {
	ID       string // our id, the one in the story
	Start    time.Time
	Answered time.Time // zero if it never was
	End      time.Time
	From     Party
	To       Party
	Dialled  string
	Via      string // "local", "gateway"
	Status   int    // final SIP status of the call; 200 for an answered one
	Reason   string // a story.Reason, empty for a normal end
	// Emergency marks a call to an emergency number.
	Emergency bool
	// CallIDs are those of the two dialogs on the wire: of the caller's, and
	// of that with who answered, empty if nobody did. They are not stored.
	CallIDs [2]string
	// Quality per leg, A towards the caller; zero if no audio flowed.
	A, B LegQuality
}

// Party is one end of a call. Account is zero for the gateway's side.
type Party struct {
	Account mac.Account
	Number  string
	Name    string
}

// Location knows where the accounts are registered. It is in memory; the
// [BindingStore] behind it is the copy that survives. All its methods may be
// called at any time.
type Location struct {
	store BindingStore
	now   func() time.Time

	mu       sync.RWMutex
	bindings map[mac.Account]Binding
	changed  map[mac.Account]time.Time // last REGISTER of this run
	perIP    map[netip.Addr]int        // bindings at each address
	perPort  map[netip.AddrPort]int    // and at each port there
}

// reorderTime is how long a request can be under way (64*T1). An older CSeq
// later than that is a phone that was restarted and counts anew.
const reorderTime = 32 * time.Second

// outcome is what became of a change of a binding.
type outcome uint8

const (
	unchanged outcome = iota // the same request again, or nothing to remove
	created
	updated
	removed
	outdated // older than what holds
)

func newLocation(store BindingStore, now func() time.Time) *Location {
	return &Location{
		store: store, now: now, bindings: make(map[mac.Account]Binding),
		changed: make(map[mac.Account]time.Time), perIP: make(map[netip.Addr]int),
		perPort: make(map[netip.AddrPort]int),
	}
}

// restore reads the bindings of the last run. Those that are over by now are
// deleted; connections did not survive.
func (l *Location) restore(ctx context.Context) error {
	stored, err := l.store.Bindings(ctx)
	if err != nil {
		return err
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range stored {
		if !b.Expires.After(now) {
			l.store.Delete(b.Account)
			continue
		}
		b.FlowLost = b.Flow().stream()
		l.insert(b)
	}
	return nil
}

// moveTo gives UDP bindings that came to a listener that is no more, because
// the configuration was changed, to the one that stands in its place: sipgo
// would bind the old address again.
func (l *Location) moveTo(listeners []netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a, b := range l.bindings {
		if b.Flow().stream() || slices.Contains(listeners, b.Local) {
			continue
		}
		i := max(0, slices.IndexFunc(listeners, func(at netip.AddrPort) bool { return at.Addr() == b.Local.Addr() }))
		b.Local = listeners[i]
		l.bindings[a] = b
	}
}

// Binding returns the live binding of an account. A binding whose FlowLost is
// set can't be reached until the phone comes back.
func (l *Location) Binding(a mac.Account) (Binding, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	b, ok := l.bindings[a]
	if !ok || !b.Expires.After(l.now()) {
		return Binding{}, false
	}
	return b, true
}

// Bindings returns all bindings, ordered by account.
func (l *Location) Bindings() []Binding {
	l.mu.RLock()
	all := make([]Binding, 0, len(l.bindings))
	for _, b := range l.bindings {
		all = append(all, b)
	}
	l.mu.RUnlock()
	slices.SortFunc(all, func(a, b Binding) int { return a.Account.Compare(b.Account) })
	return all
}

// On returns the accounts that are registered over a flow, ordered. A phone
// with two lines has two over one connection.
func (l *Location) On(f Flow) []mac.Account {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var on []mac.Account
	if l.perIP[f.Remote.Addr()] == 0 {
		return nil
	}
	for a, b := range l.bindings {
		if b.Flow() == f && !b.FlowLost {
			on = append(on, a)
		}
	}
	slices.SortFunc(on, mac.Account.Compare)
	return on
}

// knows says whether somebody is registered from this address.
func (l *Location) knows(ip netip.Addr) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.perIP[ip] > 0
}

// knowsFlow says whether somebody is registered from this address and port.
func (l *Location) knowsFlow(at netip.AddrPort) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.perPort[at] > 0
}

func (l *Location) hasFlow(f Flow) bool { return len(l.On(f)) > 0 }

// put sets the binding of an account, and returns the one that it replaces.
func (l *Location) put(b Binding) (old Binding, result outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, had := l.bindings[b.Account]
	had = had && old.Expires.After(l.now())
	if had && old.CallID == b.CallID && b.CSeq <= old.CSeq {
		switch {
		case b.CSeq == old.CSeq && old.Flow() == b.Flow():
			return old, unchanged
		case l.now().Sub(l.changed[b.Account]) < reorderTime:
			return old, outdated
		}
	}
	l.insert(b)
	l.changed[b.Account] = l.now()
	l.store.Put(b) // behind; in the lock, so that two writes keep their order
	if had {
		return old, updated
	}
	return Binding{}, created
}

// remove ends the binding of an account if its contact is uri, or any if uri
// is empty (RFC 3261 §10.3 steps 6 and 7).
func (l *Location) remove(a mac.Account, uri, callID string, cseq uint32) (old Binding, result outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, had := l.bindings[a]
	if !had || uri != "" && !sameContact(uri, old.Contact) {
		return Binding{}, unchanged
	}
	if old.CallID == callID && cseq <= old.CSeq && l.now().Sub(l.changed[a]) < reorderTime {
		return old, outdated
	}
	l.drop(a)
	l.store.Delete(a)
	return old, removed
}

// insert and drop keep the count per address. Both want mu held.
func (l *Location) insert(b Binding) {
	l.drop(b.Account)
	l.bindings[b.Account] = b
	l.perIP[b.Source.Addr()]++
	l.perPort[b.Source]++
}

func (l *Location) drop(a mac.Account) {
	old, ok := l.bindings[a]
	if !ok {
		return
	}
	delete(l.bindings, a)
	delete(l.changed, a)
	countDown(l.perIP, old.Source.Addr())
	countDown(l.perPort, old.Source)
}

func countDown[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// lose marks the bindings of a connection that is gone and returns them.
func (l *Location) lose(f Flow) []Binding {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perIP[f.Remote.Addr()] == 0 {
		return nil
	}
	var lost []Binding
	for a, b := range l.bindings {
		if b.Flow() == f && !b.FlowLost {
			b.FlowLost = true
			l.bindings[a] = b
			lost = append(lost, b)
		}
	}
	return sortBindings(lost)
}

// expire removes what is over and returns it.
func (l *Location) expire() []Binding {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var over []Binding
	walk := paced(&l.mu)
	for a, b := range l.bindings {
		if !b.Expires.After(now) {
			l.drop(a)
			l.store.Delete(a)
			over = append(over, b)
		}
		walk.next()
	}
	return sortBindings(over)
}

func sortBindings(b []Binding) []Binding {
	slices.SortFunc(b, func(a, b Binding) int {
		return cmp.Or(a.Expires.Compare(b.Expires), a.Account.Compare(b.Account))
	})
	return b
}
