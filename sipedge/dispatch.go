package sipedge

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Waiting times of the dispatcher. All bound how long one message can wait
// for another one of the same Call-ID.
const (
	// A message that sipgo took for itself (a retransmission, the ACK of a
	// refusal) never reaches a handler; the next one waits no longer than this.
	// Less than T1, and more than a busy machine takes to start a goroutine:
	// with 50 ms a message overtook another one beside a build.
	unclaimedWait = 250 * time.Millisecond
	// A handler that neither answers nor returns holds up the others for this long.
	runningWait = 2 * time.Second
	// A CANCEL waits for the INVITE that it overtook, and an INVITE is
	// remembered as cancelled before it came.
	overtakenWait = 500 * time.Millisecond
	cancelMemory  = 5 * time.Second
	// Branches of INVITEs are remembered as long as their transactions live (64*T1 and some).
	inviteMemory = 40 * time.Second
	// One whose 2xx was acknowledged has no transaction any more, but copies of it
	// may be in the network for T4 (RFC 3261 §17.1.2.2).
	confirmedMemory = 5 * time.Second
)

// ticket stands for one message from its arrival to the start of its handler.
type ticket struct {
	key     string
	arrived time.Time
	claimed bool
	done    chan struct{} // closed when the next one may start
	once    sync.Once
}

func (t *ticket) finish() { t.once.Do(func() { close(t.done) }) }

// lane is what is under way for one Call-ID.
type lane struct {
	queue   []*ticket
	invites map[string]*inviteState // by branch
}

// inviteState is what is known of an INVITE from its arrival, or from that of
// a CANCEL that came first, until its transaction is over.
type inviteState struct {
	seen      time.Time
	merge     string    // what a copy of it that came on another way has in common
	request   *Request  // set while its handler runs
	begun     bool      // its handler runs, has run, or was not needed
	cancelled time.Time // when a CANCEL was seen
	confirmed bool      // the ACK of its 2xx came: its transaction is over
}

// arrival is what becomes of a request that arrived.
type arrival uint8

const (
	expected arrival = iota // it goes on to sipgo
	looped                  // a copy of one that is under way, on another path (RFC 3261 §8.2.2.2)
	repeated                // an INVITE whose answer was acknowledged: nothing is to be done
)

// dispatcher orders the handlers of each Call-ID. sipgo starts a goroutine
// per message without any order (a CANCEL overtook its INVITE in 309 of 500
// tries), so the order is taken where the bytes are read, by arrive, and
// restored where the handlers start, by serve.
type dispatcher struct {
	log  *slog.Logger
	now  func() time.Time
	tags *keyed // makes tags that are the same for a retransmission

	handlers map[sip.RequestMethod]Handler // complete before the first message
	other    Handler

	mu    sync.Mutex
	lanes map[string]*lane
	over  bool // no handler starts any more

	running sync.WaitGroup
}

func newDispatcher(secret []byte, now func() time.Time, log *slog.Logger) *dispatcher {
	return &dispatcher{
		log: log, now: now, tags: newKeyed(secret),
		handlers: make(map[sip.RequestMethod]Handler),
		lanes:    make(map[string]*lane),
	}
}

func ticketKey(method, branch, cseq string) string { return method + " " + branch + " " + cseq }

// arrive notes a request in the order of arrival. It is called by the reader
// of the socket and does not block. merge names an INVITE outside of a dialog
// beside its branch.
func (d *dispatcher) arrive(method, callID, branch, cseq, merge string) arrival {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	l := d.lanes[callID]
	if l == nil {
		l = &lane{}
		d.lanes[callID] = l
	}
	if inv := l.invites[branch]; inv != nil {
		if inv.confirmed && method == "INVITE" {
			return repeated
		}
		// A retransmission, a CANCEL or the ACK of a refusal: sipgo's
		// transaction takes it. A CANCEL that it takes before the handler has
		// begun is told to nobody, so note it.
		if method == "CANCEL" && inv.cancelled.IsZero() {
			inv.cancelled = now
		}
		return expected
	}
	if method == "INVITE" {
		for _, inv := range l.invites {
			if merge != "" && inv.merge == merge && (inv.request != nil || !inv.begun) {
				return looped
			}
		}
		if l.invites == nil {
			l.invites = make(map[string]*inviteState)
		}
		l.invites[branch] = &inviteState{seen: now, merge: merge}
	}
	key := ticketKey(method, branch, cseq)
	for _, t := range l.queue {
		if t.key == key {
			return expected // a retransmission of what is still waiting
		}
	}
	l.queue = append(l.queue, &ticket{key: key, arrived: now, done: make(chan struct{})})
	return expected
}

// claim finds the ticket of a request and waits for its turn.
func (d *dispatcher) claim(callID, key string) *ticket {
	d.mu.Lock()
	l := d.lanes[callID]
	var mine *ticket
	if l != nil {
		for _, t := range l.queue {
			if t.key == key && !t.claimed {
				mine = t
				t.claimed = true
				break
			}
		}
	}
	if mine == nil {
		// Not seen by the reader, or a second copy: there is nothing to order.
		d.mu.Unlock()
		return &ticket{done: make(chan struct{})}
	}
	for l.queue[0] != mine {
		first := l.queue[0]
		wait := runningWait
		if !first.claimed {
			wait = unclaimedWait
		}
		d.mu.Unlock()
		first.waitDone(wait)
		d.mu.Lock()
		if len(l.queue) > 0 && l.queue[0] == first && (wait == runningWait || !first.claimed) {
			l.queue = l.queue[1:]
		}
	}
	d.mu.Unlock()
	return mine
}

// waitDone waits in slices, so that a machine that stood still for a while has
// not used the time up when the goroutine of t has not had its turn.
func (t *ticket) waitDone(limit time.Duration) {
	const slices = 10
	timer := time.NewTimer(limit / slices)
	defer timer.Stop()
	for range slices {
		select {
		case <-t.done:
			return
		case <-timer.C:
			timer.Reset(limit / slices)
		}
	}
}

// finish lets the next ticket of the lane start.
func (d *dispatcher) finish(callID string, t *ticket) {
	t.finish()
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[callID]
	if l == nil {
		return
	}
	for i, q := range l.queue {
		if q == t {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			break
		}
	}
	if len(l.queue) == 0 && len(l.invites) == 0 {
		delete(d.lanes, callID)
	}
}

// sweep forgets what nobody claimed and INVITEs whose transactions are over.
func (d *dispatcher) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	walk := paced(&d.mu)
	for id, l := range d.lanes {
		for len(l.queue) > 0 && !l.queue[0].claimed && now.Sub(l.queue[0].arrived) > time.Second {
			l.queue[0].finish()
			l.queue = l.queue[1:]
		}
		for branch, inv := range l.invites {
			memory := inviteMemory
			if inv.confirmed {
				memory = confirmedMemory
			}
			if inv.request == nil && now.Sub(inv.seen) > memory {
				delete(l.invites, branch)
			}
		}
		if len(l.queue) == 0 && len(l.invites) == 0 {
			delete(d.lanes, id)
		}
		walk.next()
	}
}

// unclaimed says whether the handler of something that arrived has not begun.
func (d *dispatcher) unclaimed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		for _, t := range l.queue {
			if !t.claimed {
				return true
			}
		}
	}
	return false
}

// enter counts a handler that starts. It is false when wait was called.
func (d *dispatcher) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	d.running.Add(1)
	return true
}

// wait lets no handler start any more and waits for those that run.
func (d *dispatcher) wait() {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	d.running.Wait()
}

// serve runs the handler of a request; sipgo calls it in a goroutine.
func (d *dispatcher) serve(req *sip.Request, tx sip.ServerTransaction) {
	if !d.enter() {
		return
	}
	defer d.running.Done()
	if req.Method == sip.INVITE {
		deepen()
	}
	r := d.wrap(req, tx)
	defer r.cancel(context.Canceled)
	callID, branch, cseq := requestIDs(req)
	t := d.claim(callID, ticketKey(string(req.Method), branch, cseq))
	r.free = func() { d.finish(callID, t) }
	defer r.free()
	defer d.recover(r)

	if req.Method == sip.CANCEL {
		d.cancelOvertaken(r, callID, branch)
		return
	}
	handle, ok := d.handlers[req.Method]
	if !ok {
		handle = d.other
	}
	if req.Method != sip.INVITE {
		handle(r)
		return
	}
	if !d.enterInvite(r, callID, branch) {
		return
	}
	defer d.leaveInvite(callID, branch)
	over := make(chan struct{})
	r.acked = sync.OnceFunc(func() { close(over) })
	defer r.acked()
	r.accepted = func() { d.passAcks(tx, over) }
	r.confirmed = func() {
		r.acked()
		d.confirm(callID, branch)
		terminate(tx)
	}
	if r.ctx.Err() == nil {
		handle(r)
	}
}

// deepen makes the stack of a goroutine as deep as a call will need it. It would
// get there by being doubled three times, each with a walk through all frames.
//
//go:noinline
func deepen() {
	var room [12 << 10]byte
	deepened(&room)
}

//go:noinline
func deepened(*[12 << 10]byte) {}

// confirm notes that the 2xx to an INVITE was acknowledged.
func (d *dispatcher) confirm(callID, branch string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[callID]; l != nil && l.invites[branch] != nil {
		l.invites[branch].confirmed = true
	}
}

// passAcks serves the ACK of a 2xx answer that carries the branch of its
// INVITE. It has to have its own (RFC 3261 §13.2.2.4), but where it does not,
// sipgo takes it for the transaction's. It ends with over: the transaction
// lives for 32 s, which is long after the ACK, or a short call.
func (d *dispatcher) passAcks(tx sip.ServerTransaction, over <-chan struct{}) {
	if !d.enter() {
		return
	}
	go func() {
		defer d.running.Done()
		for {
			select {
			case ack := <-tx.Acks():
				d.serve(ack, tx)
			case <-over:
				return
			case <-tx.Done():
				return
			}
		}
	}()
}

// enterInvite notes that the handler of an INVITE runs. It is false if a
// CANCEL came first, and then the INVITE is answered already.
func (d *dispatcher) enterInvite(r *Request, callID, branch string) bool {
	d.mu.Lock()
	l := d.lanes[callID]
	if l == nil {
		l = &lane{}
		d.lanes[callID] = l
	}
	if l.invites == nil {
		l.invites = make(map[string]*inviteState)
	}
	inv := l.invites[branch]
	if inv == nil {
		inv = &inviteState{seen: d.now()}
		l.invites[branch] = inv
	}
	inv.begun = true
	cancelled := !inv.cancelled.IsZero() && d.now().Sub(inv.cancelled) < cancelMemory
	if !cancelled {
		inv.request = r
	}
	d.mu.Unlock()
	if cancelled {
		// Does nothing if sipgo has sent it already.
		d.respond(r, sip.StatusRequestTerminated, "Request Terminated")
	}
	return !cancelled
}

func (d *dispatcher) leaveInvite(callID, branch string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[callID]; l != nil && l.invites[branch] != nil {
		l.invites[branch].request = nil
		l.invites[branch].seen = d.now()
	}
}

// cancelOvertaken serves a CANCEL that found no transaction: it overtook its
// INVITE inside sipgo or on the network, or there is none (RFC 3261 §9.2).
func (d *dispatcher) cancelOvertaken(r *Request, callID, branch string) {
	deadline := time.NewTimer(overtakenWait)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		running, begun, known := d.invite(callID, branch)
		switch {
		case !known:
			d.respond(r, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
			return
		case begun:
			d.respond(r, sip.StatusOK, "OK")
			if running != nil {
				d.respond(running, sip.StatusRequestTerminated, "Request Terminated")
				running.cancel(ErrCancelled)
			}
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			d.respond(r, sip.StatusOK, "OK")
			return
		}
	}
}

// invite looks an INVITE up for its CANCEL. If it did not come yet, it is
// remembered as cancelled.
func (d *dispatcher) invite(callID, branch string) (running *Request, begun, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[callID]
	if l == nil {
		l = &lane{}
		d.lanes[callID] = l
	}
	inv := l.invites[branch]
	if inv == nil {
		if l.invites == nil {
			l.invites = make(map[string]*inviteState)
		}
		now := d.now()
		l.invites[branch] = &inviteState{seen: now.Add(cancelMemory - inviteMemory), cancelled: now}
		return nil, false, false
	}
	return inv.request, inv.begun, true
}

func (d *dispatcher) respond(r *Request, status int, reason string) {
	if err := r.Tx.Respond(r.Response(status, reason, nil)); err != nil {
		d.log.Debug("answer", "status", status, "err", err)
	}
}

// recover answers 500 for a handler that panicked, so that one message can't
// end the process.
func (d *dispatcher) recover(r *Request) {
	v := recover()
	if v == nil {
		return
	}
	d.log.Error("handler panicked", "method", string(r.Method), "err", fmt.Sprint(v), "stack", string(debug.Stack()))
	if r.Method != sip.ACK {
		d.respond(r, sip.StatusInternalServerError, "Server Internal Error")
	}
}
