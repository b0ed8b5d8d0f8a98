package sipedge

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// BenchmarkRegister is one REGISTER with its challenge: four messages over
// UDP on loopback, the peer's work included.
func BenchmarkRegister(b *testing.B) {
	s := newSite()
	e := s.start(b, func(e *Endpoint) { e.limits.phoneRate, e.limits.phoneBurst = 1e9, 1e9 })
	p := dialPeer(b, "udp", e)
	if msg := p.register(1, 1, "first"); !strings.HasPrefix(msg, "SIP/2.0 200") {
		b.Fatal(msg)
	}
	user := phoneMAC.Hex() + "-1"
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		id := fmt.Sprintf("bench-%d", i)
		p.send(p.request("REGISTER", registrarURI, user, id, 1, p.contact(1)))
		auth := authorize(p.want(401), "REGISTER", registrarURI, user, "secret-1")
		p.send(p.request("REGISTER", registrarURI, user, id, 2, p.contact(1), auth))
		p.want(200)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
}

// BenchmarkRegisterParallel is the same from eight peers at once, so that the
// endpoint is never idle.
func BenchmarkRegisterParallel(b *testing.B) {
	s := newSite()
	e := s.start(b, func(e *Endpoint) { e.limits.phoneRate, e.limits.phoneBurst = 1e9, 1e9 })
	first := dialPeer(b, "udp", e)
	first.register(1, 1, "first")
	user := phoneMAC.Hex() + "-1"
	b.ReportAllocs()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		p := dialPeer(b, "udp", e)
		for i := 0; pb.Next(); i++ {
			id := fmt.Sprintf("%v-%d", p.addr(), i)
			p.send(p.request("REGISTER", registrarURI, user, id, 1, p.contact(1)))
			msg := p.receive(patience)
			if !strings.HasPrefix(msg, "SIP/2.0 401") {
				b.Errorf("got %q", msg)
				return
			}
			auth := authorize(msg, "REGISTER", registrarURI, user, "secret-1")
			p.send(p.request("REGISTER", registrarURI, user, id, 2, p.contact(1), auth))
			if msg := p.receive(patience); !strings.HasPrefix(msg, "SIP/2.0 200") {
				b.Errorf("got %q", msg)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
}

// BenchmarkJudge is what the validation of a usual REGISTER costs.
func BenchmarkJudge(b *testing.B) {
	p := &peer{t: b, conn: fakeConn{}}
	data := []byte(strings.ReplaceAll(p.request("REGISTER", registrarURI, "00005e005301-1", "judge", 1,
		"Contact: <sip:00005e005301-1@192.0.2.10:5060>", "Expires: 3600", "User-Agent: Yealink SIP-T46U 108.86.0.20",
		"Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE"), "\n", "\r\n"))
	b.ReportAllocs()
	for b.Loop() {
		head := headEnd(data)
		m, f := scan(data[:head], data[head:])
		if f = f.or(judge(&m, Flow{})); f != nil {
			b.Fatal(f.detail)
		}
	}
}

// fakeConn has an address and nothing else.
type fakeConn struct{ net.Conn }

func (fakeConn) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 5060} }
