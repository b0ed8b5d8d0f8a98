package sipedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TestCancelNeverOvertakes sends INVITE and CANCEL back to back. Whatever
// overtakes inside, the caller gets 200 and 487, and the handler is told.
func TestCancelNeverOvertakes(t *testing.T) {
	t.Parallel()
	transports(t, func(t *testing.T, network string) {
		const calls = 200
		var mu sync.Mutex
		ended := 0
		e := newSite().start(t, func(e *Endpoint) {
			e.Handle(sip.INVITE, func(r *Request) {
				_ = r.Respond(180, "Ringing")
				select {
				case <-r.Context().Done():
				case <-time.After(patience):
				}
				if !errors.Is(context.Cause(r.Context()), ErrCancelled) {
					t.Errorf("cause %v", context.Cause(r.Context()))
				}
				mu.Lock()
				ended++
				mu.Unlock()
			})
		})
		p := dialPeer(t, network, e)
		p.register(1, 1, "not-a-stranger") // who may send more than a few
		started := 0
		for i := range calls {
			invite := p.request("INVITE", "sip:1@box", "a", fmt.Sprintf("call-%d", i), 1)
			cancel := strings.ReplaceAll(strings.Replace(invite, "INVITE sip", "CANCEL sip", 1), "1 INVITE", "1 CANCEL")
			if network != "udp" {
				p.send(invite + cancel)
			} else {
				p.send(invite)
				p.send(cancel)
			}
			final := make(map[string]bool)
			rang := false
			for len(final) < 2 {
				msg := p.receive(patience)
				if msg == "" {
					t.Fatalf("call %d: got only %v", i, final)
				}
				if header(msg, "Call-ID") != fmt.Sprintf("call-%d", i) {
					continue // a retransmission of the last call's
				}
				rang = rang || strings.HasPrefix(msg, "SIP/2.0 180")
				if status := msg[8:11]; status[0] != '1' {
					final[status+" "+header(msg, "CSeq")] = true
				}
			}
			if !final["200 1 CANCEL"] || !final["487 1 INVITE"] {
				t.Fatalf("call %d: %v", i, final)
			}
			p.send(strings.Replace(strings.Replace(invite, "INVITE", "ACK", 1), "1 INVITE", "1 ACK", 1))
			if rang {
				started++
			}
		}
		deadline := time.Now().Add(patience)
		for {
			mu.Lock()
			done := ended >= started
			mu.Unlock()
			if done {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d handlers were told", ended, started)
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// TestOrder sends many requests of one Call-ID back to back.
func TestOrder(t *testing.T) {
	const n = 500
	got := make(chan uint32, n)
	var running, overlapped int32
	var mu sync.Mutex
	e := newSite().start(t, func(e *Endpoint) {
		e.Handle(sip.MESSAGE, func(r *Request) {
			mu.Lock()
			running++
			if running > 1 {
				overlapped++
			}
			mu.Unlock()
			got <- r.CSeq().SeqNo
			mu.Lock()
			running--
			mu.Unlock()
			_ = r.Respond(200, "OK")
		})
	})
	p := dialPeer(t, "tcp", e)
	p.register(1, 1, "not-a-stranger") // who may send more than a few
	if err := p.conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for i := range n {
		all.WriteString(p.request("MESSAGE", "sip:1@box", "a", "same", i+1))
	}
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(io.Discard, p.r) })
	defer answers.Wait()
	defer p.conn.Close()
	p.send(all.String())
	for i := range n {
		select {
		case seq := <-got:
			if int(seq) != i+1 {
				t.Fatalf("message %d came as number %d", seq, i+1)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d of %d came", i, n)
		}
	}
	if overlapped != 0 {
		t.Errorf("%d handlers overlapped", overlapped)
	}
}

// TestRingingDoesNotBlock: while an INVITE rings, other requests of its
// Call-ID are served.
func TestRingingDoesNotBlock(t *testing.T) {
	served := make(chan struct{})
	e := newSite().start(t, func(e *Endpoint) {
		e.Handle(sip.INVITE, func(r *Request) {
			_ = r.Respond(180, "Ringing")
			select {
			case <-served:
				_ = r.Respond(486, "Busy Here")
			case <-time.After(patience):
				_ = r.Respond(408, "Request Timeout")
			}
		})
		e.Handle(sip.INFO, func(r *Request) {
			_ = r.Respond(200, "OK")
			close(served)
		})
	})
	p := dialPeer(t, "udp", e)
	p.send(p.request("INVITE", "sip:1@box", "a", "ring", 1))
	p.send(p.request("INFO", "sip:1@box", "a", "ring", 2))
	p.want(180)
	p.want(200)
	p.want(486)
}

// TestPanic: a handler that panics is answered 500, and its Call-ID goes on.
func TestPanic(t *testing.T) {
	e := newSite().start(t, func(e *Endpoint) {
		e.Handle(sip.MESSAGE, func(*Request) { panic("boom") })
	})
	p := dialPeer(t, "udp", e)
	for i := range 3 {
		p.send(p.request("MESSAGE", "sip:1@box", "a", "panic", i+1))
		p.want(500)
	}
	p.send(p.request("OPTIONS", "sip:1@box", "a", "panic", 9))
	p.want(200)
}

// TestCancelFirst: a CANCEL without an INVITE is 481; if the INVITE comes
// after it, it is ended all the same.
func TestCancelFirst(t *testing.T) {
	called := make(chan struct{}, 1)
	e := newSite().start(t, func(e *Endpoint) {
		e.Handle(sip.INVITE, func(r *Request) {
			called <- struct{}{}
			_ = r.Respond(200, "OK")
		})
	})
	p := dialPeer(t, "udp", e)
	invite := p.request("INVITE", "sip:1@box", "a", "late", 1)
	p.send(strings.ReplaceAll(strings.Replace(invite, "INVITE sip", "CANCEL sip", 1), "1 INVITE", "1 CANCEL"))
	p.want(481)
	p.send(invite)
	p.want(487)
	p.send(strings.Replace(strings.Replace(invite, "INVITE", "ACK", 1), "1 INVITE", "1 ACK", 1))
	select {
	case <-called:
		t.Error("the handler of a cancelled call was called")
	default:
	}
}

// TestAckWithOldBranch: the ACK of a 2xx answer reaches its handler also if it
// repeats the branch of the INVITE, and with that of its own.
func TestAckWithOldBranch(t *testing.T) {
	transports(t, func(t *testing.T, network string) {
		acked, over := make(chan uint32, 2), make(chan struct{})
		defer close(over)
		e := newSite().start(t, func(e *Endpoint) {
			// A call outlives its ACK: sipgo ends the transaction of a stream,
			// and drops an ACK that is in it, when the handler returns.
			e.Handle(sip.INVITE, func(r *Request) {
				_ = r.Respond(200, "OK")
				<-over
			})
			e.Handle(sip.ACK, func(r *Request) { acked <- r.CSeq().SeqNo })
		})
		p := dialPeer(t, network, e)
		for i, branch := range []string{"", newBranch()} {
			id := fmt.Sprintf("ack-%d", i)
			invite := p.request("INVITE", "sip:1@box", "a", id, i+1)
			p.send(invite)
			ack := ackOf(invite, p.want(200))
			if branch != "" {
				ack = strings.Replace(ack, "branch=z9hG4bK", "branch="+branch, 1)
			}
			p.send(ack)
			select {
			case seq := <-acked:
				if int(seq) != i+1 {
					t.Errorf("ACK %d, want %d", seq, i+1)
				}
			case <-time.After(patience):
				t.Fatalf("ACK %d did not come", i+1)
			}
		}
	})
}

// TestDispatcherForgets: nothing of a Call-ID stays behind when it is over.
func TestDispatcherForgets(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := newDispatcher([]byte("k"), func() time.Time { return now }, slog.New(slog.DiscardHandler))
	for i := range 100 {
		id := fmt.Sprint(i)
		d.arrive("INVITE", id, "b", "1", "")
		d.arrive("INVITE", id, "b", "1", "") // retransmission
		d.arrive("MESSAGE", id, "c", "2", "")
		d.finish(id, d.claim(id, ticketKey("INVITE", "b", "1")))
		d.finish(id, d.claim(id, ticketKey("MESSAGE", "c", "2")))
		d.arrive("INFO", id, "nobody claims this", "3", "")
	}
	now = now.Add(2 * time.Second)
	d.sweep()
	if n := len(d.lanes); n != 100 {
		t.Errorf("%d lanes while the transactions live", n)
	}
	now = now.Add(inviteMemory)
	d.sweep()
	if n := len(d.lanes); n != 0 {
		t.Errorf("%d lanes left", n)
	}
}

// TestDispatcherForgetsConfirmed: an INVITE whose 2xx was acknowledged is known
// while copies of it may be under way, and no longer.
func TestDispatcherForgetsConfirmed(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := newDispatcher([]byte("k"), func() time.Time { return now }, slog.New(slog.DiscardHandler))
	for _, id := range []string{"acknowledged", "not"} {
		d.arrive("INVITE", id, "b", "1", "")
		d.finish(id, d.claim(id, ticketKey("INVITE", "b", "1")))
	}
	d.confirm("acknowledged", "b")
	for _, tt := range []struct {
		after time.Duration
		lanes int
		again arrival
	}{{confirmedMemory, 2, repeated}, {time.Second, 1, expected}} {
		now = now.Add(tt.after)
		d.sweep()
		if n := len(d.lanes); n != tt.lanes {
			t.Errorf("%d lanes %v later, want %d", n, tt.after, tt.lanes)
		}
		if a := d.arrive("INVITE", "acknowledged", "b", "1", ""); a != tt.again {
			t.Errorf("a copy %v later is %d, want %d", tt.after, a, tt.again)
		}
	}
}
