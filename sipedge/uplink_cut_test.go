package sipedge

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// wan is the way between a box and a gateway, which can be held up.
type wan struct {
	listener net.Listener
	mu       sync.Mutex
	held     chan struct{} // closed when it goes on; nil: it goes
}

func newWAN(t *testing.T, to string) *wan {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wan{listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp4", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			all.Go(func() { w.carry(near, far) })
			all.Go(func() { w.carry(far, near) })
		}
	})
	t.Cleanup(func() {
		w.hold(false)
		_ = l.Close()
		all.Wait()
	})
	return w
}

func (w *wan) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		held := w.held
		w.mu.Unlock()
		if held != nil {
			<-held
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (w *wan) hold(v bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil {
		close(w.held)
		w.held = nil
	}
	if v {
		w.held = make(chan struct{})
	}
}

// TestShortCut: a way that carries nothing for 2 s is no loss of the gateway;
// one that carries nothing for longer is, though the connection is still there.
func TestShortCut(t *testing.T) {
	t.Parallel()
	gw := newGateway(t)
	w := newWAN(t, gw.addr.String())
	u, err := NewGateways(UplinkConfig{Address: w.listener.Addr().String(), ServerName: "gw.example.com", CA: gw.ca}, discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- u.Run(ctx) }()
	defer func() {
		w.hold(false)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until(t, "the gateway is connected", u.Up)
	_, before, _ := u.State()
	w.hold(true)
	time.Sleep(2 * time.Second) // the cut itself
	w.hold(false)
	if up, now, _ := u.State(); !up || now != before {
		t.Errorf("after a cut of 2 s: up %v, connection %d, was %d", up, now, before)
	}
	over := time.Now().UnixNano()
	until(t, "the gateway is heard again", func() bool {
		u := u.present()
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.conn != nil && u.conn.heard.Load() > over
	})
	w.hold(true)
	cut := time.Now()
	until(t, "the loss is noticed", func() bool { return !u.Up() })
	t.Logf("noticed after %v", time.Since(cut).Round(time.Millisecond)) // 5 s at most, on a machine with time
	w.hold(false)
	until(t, "the gateway is back", u.Up)
}
