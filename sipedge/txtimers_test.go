package sipedge

import (
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/emiago/sipgo/sip"
)

// deafConn takes whatever is sent.
type deafConn struct{}

func (deafConn) LocalAddr() net.Addr        { return tcpAddr("127.0.0.1:5060") }
func (deafConn) WriteMsg(sip.Message) error { return nil }
func (deafConn) Ref(int) int                { return 1 }
func (deafConn) TryClose() (int, error)     { return 1, nil }
func (deafConn) Close() error               { return nil }

// TestTerminatedIsForgotten: a transaction that is over is not kept in memory,
// as it is by its timer where sipgo alone ends it.
func TestTerminatedIsForgotten(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	invite := func() *sip.Request {
		msg, err := sip.ParseMessage([]byte("INVITE sip:102@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK1\r\n" +
			"From: <sip:101@127.0.0.1>;tag=a\r\nTo: <sip:102@127.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		return msg.(*sip.Request)
	}
	server := func(end func(sip.Transaction)) (gone func() bool) {
		tx := sip.NewServerTx("k", invite(), deafConn{}, log)
		if err := tx.Init(); err != nil {
			t.Fatal(err)
		}
		if err := tx.Respond(sip.NewResponseFromRequest(tx.Origin(), 200, "OK", nil)); err != nil {
			t.Fatal(err)
		}
		end(tx)
		kept := weak.Make(tx)
		return func() bool { return kept.Value() == nil }
	}
	client := func(end func(sip.Transaction)) (gone func() bool) {
		tx := sip.NewClientTx("k", invite(), deafConn{}, log)
		if err := tx.Init(); err != nil {
			t.Fatal(err)
		}
		go tx.Receive(sip.NewResponseFromRequest(tx.Origin(), 200, "OK", nil))
		<-tx.Responses()
		end(tx)
		kept := weak.Make(tx)
		return func() bool { return kept.Value() == nil }
	}
	for name, make := range map[string]func(func(sip.Transaction)) func() bool{"server": server, "client": client} {
		for _, tt := range []struct {
			name string
			end  func(sip.Transaction)
			gone bool
		}{{"by us", terminate, true}, {"by sipgo alone", func(tx sip.Transaction) { tx.Terminate(); _ = tx.Err() }, false}} {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				gone := make(tt.end)
				tries := 5
				if tt.gone {
					tries = 200 // it is soon, but what held it has to run
				}
				for range tries {
					if runtime.GC(); gone() {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				if gone() != tt.gone {
					t.Errorf("gone: %v, want %v", gone(), tt.gone)
				}
			})
		}
	}
}
