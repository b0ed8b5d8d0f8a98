package sipedge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

// call is a back-to-back user agent (RFC 3261 §6): the dialog with the caller
// and the one with who answers. One goroutine owns it; all others talk to it
// through its channels.
type call struct {
	s        *Server
	id       string
	began    time.Time
	log      *slog.Logger
	r        *Request // the caller's INVITE
	identity Identity // of the calling phone
	line     Line     // of the calling phone; zero if nobody is signed in
	route    Route
	hops     uint32
	diverted []diversion // how the call got to where it rings now

	a, b     *leg       // b: who answered; a side that left while another is fetched stays, ended
	all      []*leg     // of all tries; closed at the end
	leaving  []*leg     // transferred away; their BYE is still to come
	offer    *media.SDP // the caller's; nil if it made none
	ours     *media.SDP // where we are the other side ourselves: what we say of us
	place    Place      // where the caller of an emergency call is
	bot      bool       // a drill calls
	outside  bool       // it came from the gateway or the trunk
	attended bool       // we answered the call ourselves; there is no other leg
	try      *try       // rings now; nil while nobody does
	talking  bool       // somebody has answered
	busy     bool       // an offer waits for its answer
	waits    *inbound   // an offer that waits for an ACK
	rung     []Party    // phones that were rung, for their stories
	rel      *reliable  // provisional answers to the caller (RFC 3262); nil if it can't
	relayed  relayed
	music    music

	transfer *transfer  // under way
	parked   string     // the slot where the call waits
	joining  *admission // who comes in from another call
	directs  int        // how often its phones were asked to talk to each other
	tries    int        // how often somebody had to come again, see soon
	moved    bool       // the caller's leg went on to another call
	ending   bool
	verdict  error
	cause    []sip.Header // Reason of the BYE that ended it

	answers chan branchAnswer
	inbox   chan *inbound
	results chan func()
	over    chan struct{} // closed at the end
	stopped chan struct{} // closed when the server drains
	once    sync.Once

	mu        sync.Mutex
	record    CallRecord
	preempted bool  // an emergency call takes its ports
	rings     int64 // the line whose phones ring now, 0 if none; for those who pick up
}

// relayed is the relay between the two sides.
type relayed struct {
	a, b *leg
	stop context.CancelFunc
	wait sync.WaitGroup
}

// inbound is a request within one of the dialogs. It is answered by the call.
type inbound struct {
	leg  *leg
	r    *Request
	done chan struct{}
	once sync.Once
}

// finish answers with an error, or not at all if e is nil because the answer
// is out. It may be called more than once; the first counts.
func (in *inbound) finish(e *StatusError) {
	in.once.Do(func() {
		if e != nil && in.r.Method != sip.ACK {
			in.leg.s.refuse(in.r, e)
		}
		if in.r.Method == sip.BYE {
			// The same again is answered again, by what remains of the leg; a
			// transaction kept for it would cost 5 KB for 32 s.
			in.r.Tx.Terminate()
		}
		close(in.done)
	})
}

// inDialog says whether the request came in the dialog of its leg. A REFER
// with Target-Dialog does not.
func (in *inbound) inDialog() bool { return in.r.To().Params.Has("tag") }

// tooLate answers a request that came when the call had ended. A BYE then
// crossed ours, and both sides are right (RFC 3261 §15.1.2).
func (in *inbound) tooLate() {
	if in.r.Method == sip.BYE {
		in.answer(sip.StatusOK, "OK")
		return
	}
	in.finish(errNoDialog)
}

func (c *call) stop() { c.once.Do(func() { close(c.stopped) }) }

// run carries the call from the INVITE to its record.
func (c *call) run() {
	defer func() {
		if v := recover(); v != nil {
			// A fault of ours ends this call as any other: ports, dialogs, row.
			c.finish(errSetup)
			panic(v) // is told by who started the handler
		}
	}()
	err := c.connect()
	if c.moved {
		c.s.ep.lamps.over(c.record.ID)
		c.s.leave(c)
		close(c.over)
		return
	}
	if c.attended {
		c.finish(statusOf(err))
		return
	}
	if err == nil {
		c.finish(statusOf(c.talk()))
		return
	}
	e := c.refusal(err)
	c.explain(e)
	c.s.refuse(c.r, e)
	c.finish(e)
}

// refusal is what the caller of a call that failed is told. One who dialled
// an emergency number is told plainly that nobody was reached.
func (c *call) refusal(err error) *StatusError {
	e := statusOf(err)
	if c.route.Emergency && e.Reason != story.Cancelled && e.Reason != story.Busy {
		n := *errNoEmergencyPath
		n.Err = e
		if e.Status != 480 && e.Status != 403 && e.Status != 404 {
			n.Status = e.Status
		}
		return &n
	}
	return e
}

// explain speaks to the caller before a refusal that the phone's own tones do
// not explain.
func (c *call) explain(e *StatusError) {
	if context.Cause(c.r.Context()) == ErrCancelled {
		return
	}
	if err := c.announceEarly(announcement(e.Reason)...); err != nil {
		c.log.Debug("announcement ended", "err", err)
	}
}

// announcement names the prompts for a refusal; none where the phone shows and
// plays by itself what is the matter.
func announcement(r story.Reason) []string {
	switch r {
	case story.NotSignedIn:
		return []string{"not-signed-in"}
	case story.CodeNotAllowed:
		return []string{"not-allowed"}
	case story.GatewayDown:
		return []string{"gateway-away", "tone:congestion"}
	case story.NoEmergencyPath:
		// Twice: one who calls for help may not listen at first.
		return []string{"emergency-not-reached", "emergency-not-reached"}
	}
	return nil
}

// connect routes the call and rings until somebody has answered.
func (c *call) connect() error {
	if taken, err := c.service(); taken {
		return err
	}
	var unreadable error
	c.offer, unreadable = sdpOf(c.r.Request)
	if err := c.find(); err != nil {
		return err
	}
	if unreadable != nil {
		return unreadable
	}
	if err := c.a.timer.asked(c.r.Request, c.s.times.minExpires); err != nil {
		return err
	}
	c.started()
	if c.route.Feature != "" {
		return c.serveFeature()
	}
	if err := c.openLeg(c.a); err != nil {
		return err
	}
	for {
		err := c.attempt()
		var to *forwarded
		if !errors.As(err, &to) {
			return err
		}
		if err := c.follow(to); err != nil {
			return err
		}
	}
}

// attempt tries the route that holds now.
func (c *call) attempt() error {
	switch {
	case c.route.Emergency:
		return c.callForHelp()
	case c.route.Trunk:
		return c.byTrunk()
	case !c.route.Outward():
		return c.ringLine()
	}
	err := c.byGateway()
	if err != nil && statusOf(err).Reason == story.GatewayDown && c.s.trunk != nil {
		return c.byTrunk() // it went away just now
	}
	return err
}

// byGateway tries the gateway, under each line of the route.
func (c *call) byGateway() error {
	err := c.reach()
	if err != nil {
		return err
	}
	for i, as := range c.route.As {
		t := c.newTry(c.a, c.offer, c.route)
		t.branches = append(t.branches, t.outward(as))
		err = c.ring(t, c.s.cfg.Ring)
		if err == nil || i+1 == len(c.route.As) || !retryable(err) {
			break
		}
		c.log.Warn("emergency call: trying the next line", "line", as.AOR, "err", err)
	}
	return err
}

// find asks the router.
func (c *call) find() error {
	if c.bot {
		c.route = Route{Feature: FeatureEcho, Code: FeatureEcho}
		return nil
	}
	c.breakDrill()
	var err error
	if c.outside {
		c.route, err = c.s.router.FromGateway(c.r.Recipient.User, c.r.To().Address.User)
		if c.calledBack() {
			err = nil
		}
	} else {
		c.route, err = c.s.router.FromPhone(c.identity, dialledUser(c.r.Recipient))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record.Emergency = c.route.Emergency
	switch {
	case c.route.Trunk:
		c.record.Via = WayTrunk
	case c.route.Outward():
		c.record.Via = WayGateway
	}
	c.record.To = called(c.route)
	if c.route.Feature != "" {
		// Without the argument: it may be a verification code.
		c.record.To = Party{Number: c.route.Code, Name: c.route.Feature}
		c.record.Dialled = c.route.Code
	}
	if f := c.forwardOf(c.route); errors.Is(err, errNobodyThere) && (f.Always != "" || f.NoAnswer != "" || len(f.Also) > 0 || f.DoNotDisturb) {
		return nil // it goes elsewhere
	}
	return err
}

// called is who the call goes to, as far as it is known before an answer.
func called(r Route) Party {
	l := r.Line
	if l.ID == 0 {
		return Party{Number: r.Dialled.Number}
	}
	p := Party{Number: l.Number, Name: l.DisplayName}
	if p.Number == "" {
		p.Number = l.Extension
	}
	return p
}

// reach gives an emergency call a last chance when the uplink is down: the
// next attempt to connect may be many seconds away.
func (c *call) reach() error {
	if !c.route.Emergency || c.s.uplink.Up() {
		return nil
	}
	ctx, stop := context.WithTimeout(c.r.Context(), 3*time.Second)
	defer stop()
	return c.s.uplink.Hurry(ctx)
}

// retryable says whether an emergency call may go out under another line
// after this: not if the caller gave up, or if somebody was reached.
func retryable(err error) bool {
	switch e := statusOf(err); {
	case e.Reason == story.Cancelled, e.Reason == story.Stopping, e.Reason == story.Busy, e.Reason == story.NoAnswer:
		return false
	default:
		return true
	}
}

// early answers a request that comes while it rings.
func (c *call) early(in *inbound) {
	switch {
	case in.r.Method == sip.PRACK && in.leg == c.a:
		c.onPrack(in)
	case in.r.Method == sip.BYE && in.leg == c.a:
		// RFC 3261 §15: a caller may end an early dialog by BYE.
		in.answer(sip.StatusOK, "OK")
		c.r.cancel(ErrCancelled)
		if err := c.r.Respond(sip.StatusRequestTerminated, "Request Terminated"); err != nil {
			c.log.Debug("answer", "err", err)
		}
	case in.r.Method == sip.UPDATE && len(in.r.Body()) == 0:
		in.answer(sip.StatusOK, "OK")
	case in.r.Method == sip.UPDATE, in.r.Method == sip.INVITE:
		in.finish(errGlare)
	default:
		in.finish(errNoDialog)
	}
}

// answer answers a request without a body.
func (in *inbound) answer(status int, phrase string) {
	in.finish(&StatusError{Status: status, Phrase: phrase})
}

// connectMedia starts the relay between two legs. The streams know their
// peers by then.
func (c *call) connectMedia(a, b *leg) {
	if c.relayed.stop != nil && (c.relayed.a == a && c.relayed.b == b || c.relayed.a == b && c.relayed.b == a) {
		return
	}
	c.disconnectMedia()
	ctx, cancel := context.WithCancel(context.Background())
	relay := media.NewRelay(a.stream, b.stream, media.RelayOptions{Log: c.log, Digit: func(from *media.Stream, d byte) { c.tellDigit(a, b, from, d) }})
	c.relayed.a, c.relayed.b, c.relayed.stop = a, b, cancel
	c.relayed.wait.Go(func() {
		if err := relay.Run(ctx); err != nil {
			c.log.Error("relay", "err", err)
		}
	})
}

func (c *call) disconnectMedia() {
	if c.relayed.stop != nil {
		c.relayed.stop()
		c.relayed.wait.Wait()
		c.relayed.a, c.relayed.b, c.relayed.stop = nil, nil, nil
	}
}

// post hands the owner of the call something to do. It blocks until it is
// taken, and is false if the call ended before.
func (c *call) post(f func()) bool {
	select {
	case c.results <- f:
		return true
	case <-c.over:
		return false
	}
}

// end lets the call end after the present event; the first reason counts.
func (c *call) end(err error) {
	if !c.ending {
		c.ending, c.verdict = true, err
	}
}

func phraseOr(s, other string) string {
	if s = printable(s); s != "" {
		return s
	}
	return other
}
