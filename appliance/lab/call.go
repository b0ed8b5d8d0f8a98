package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// Call is a call as one of its ends saw it. Its fields are set when it is
// handed out; the audio is complete when Done is closed.
type Call struct {
	Number   string // the one that was dialled, or the caller's
	Name     string // of the caller, as shown
	Slot     int    // the account; 0 at the gateway
	Incoming bool
	Setup    time.Duration // from the INVITE to the answer; 0 for one that came in

	m    *media
	d    *dialog
	book *callBook
	done chan struct{}
	hang chan struct{}
	once sync.Once

	// Set before done is closed.
	said, heard []int16
	lost        int
	codec       string
	err         error
}

func newCall(number, name string, slot int, book *callBook) *Call {
	return &Call{Number: number, Name: name, Slot: slot, book: book, done: make(chan struct{}), hang: make(chan struct{})}
}

// callBook holds the calls of a phone or a gateway that are not over.
type callBook struct {
	mu    sync.Mutex
	calls map[*Call]bool
}

func (b *callBook) set(c *Call, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls == nil {
		b.calls = make(map[*Call]bool)
	}
	if on {
		b.calls[c] = true
	} else {
		delete(b.calls, c)
	}
}

func (b *callBook) any() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls) > 0
}

// hangup ends all calls and waits.
func (b *callBook) hangup() {
	b.mu.Lock()
	calls := slices.Collect(maps.Keys(b.calls))
	b.mu.Unlock()
	for _, c := range calls {
		c.Hangup()
	}
	for _, c := range calls {
		<-c.done
	}
}

// inbox holds calls that came in until somebody asks for them; what nobody
// asks for is forgotten.
type inbox chan *Call

func newInbox() inbox { return make(inbox, 64) }

func (b inbox) put(c *Call) {
	select {
	case b <- c:
	default:
	}
}

func (b inbox) next(ctx context.Context) (*Call, error) {
	select {
	case c := <-b:
		return c, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a call: %w", ctx.Err())
	}
}

// Done is closed when the call is over, whoever ended it.
func (c *Call) Done() <-chan struct{} { return c.done }

// Wait waits for the end and returns what went wrong with it.
func (c *Call) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Hangup ends the call from this end; it does not wait.
func (c *Call) Hangup() { c.once.Do(func() { close(c.hang) }) }

// HeardFor returns for how long audio has come in so far.
func (c *Call) HeardFor() time.Duration { return c.m.s.heardFor() }

// run lasts as long as the call. With talk > 0 this end hangs up when both
// directions have lasted so long, and some seconds later if they have not.
// The end of ctx is that of the power: the peer is not told.
func (c *Call) run(ctx context.Context, talk time.Duration) {
	defer close(c.done)
	defer c.book.set(c, false)
	c.m.begin()
	const patience = 3 * time.Second
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	polite := false
wait:
	for {
		select {
		case <-c.d.ended:
			break wait
		case <-c.hang:
			polite = true
			break wait
		case <-ctx.Done():
			c.err = ctx.Err()
			break wait
		case <-ticker.C:
			said, heard := c.m.s.saidFor(), c.m.s.heardFor()
			if talk > 0 && said >= talk && (heard >= talk || said >= talk+patience) {
				polite = true
				break wait
			}
		}
	}
	c.m.s.stop()
	c.said, c.heard, c.lost, c.codec = c.m.s.result()
	if polite {
		c.err = c.d.bye(context.WithoutCancel(ctx))
	}
}

// Measure says how well listener heard speaker, who is the other end of the
// same call. Both must be over.
func Measure(speaker, listener *Call) (Quality, error) {
	for _, c := range []*Call{speaker, listener} {
		select {
		case <-c.done:
		default:
			return Quality{SNR: math.Inf(-1)}, fmt.Errorf("measure the call with %s: it is not over", c.Number)
		}
	}
	return Quality{
		SNR:   compare(speaker.said, listener.heard),
		Heard: time.Duration(len(listener.heard)) * time.Second / sampleRate,
		Lost:  listener.lost,
		Codec: listener.codec,
	}, nil
}

// place makes a call: it returns once the call is answered and then lives in
// its own goroutine. life bounds the call, ctx only its set-up.
func (a *agent) place(ctx, life context.Context, t talker, o outgoing, talk time.Duration, c *Call) (*Call, error) {
	m, err := t.open()
	if err != nil {
		return nil, err
	}
	c.m = m
	if o.offer, err = m.offer(); err != nil {
		m.s.stop()
		return nil, err
	}
	began := time.Now()
	d, answer, err := a.invite(ctx, o)
	if err != nil {
		m.s.stop()
		return nil, err
	}
	c.d, c.Setup = d, time.Since(began)
	d.reoffer = m.reanswer
	if err := m.answered(answer); err != nil {
		m.s.stop()
		return nil, errors.Join(err, d.bye(context.WithoutCancel(ctx)))
	}
	if !a.enter() {
		m.s.stop()
		return nil, errClosed
	}
	c.book.set(c, true)
	go func() {
		defer a.wg.Done()
		c.run(life, talk)
	}()
	return c, nil
}

// take answers an invitation and lasts as long as the call. answered is told
// when the caller's ACK is awaited and the audio runs.
func (inv *invitation) take(life context.Context, t talker, ring time.Duration, c *Call, answered func()) error {
	m, err := t.open()
	if err != nil {
		inv.refuse(500, "Server Internal Error")
		return err
	}
	answer, err := m.answer(inv.req.Body())
	if err != nil {
		m.s.stop()
		inv.refuse(488, "Not Acceptable Here")
		return err
	}
	if err := inv.ring(life, ring); err != nil {
		m.s.stop()
		return err
	}
	d, err := inv.accept(answer, m.reanswer)
	if err != nil {
		m.s.stop()
		return err
	}
	c.m, c.d = m, d
	c.book.set(c, true)
	answered()
	c.run(life, 0)
	return c.err
}
