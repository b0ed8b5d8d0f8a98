package provision

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
)

func guestIP(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 1, byte(n >> 8), byte(n)}) }

// TestPool: whoever has fewest gets in, at the cost of whoever has most, and
// the counts never come apart.
func TestPool(t *testing.T) {
	p := newPool(100)
	live := map[*limitedConn]netip.Addr{}
	add := func(from netip.Addr) bool {
		c := new(limitedConn)
		out, ok := p.enter(from, c)
		delete(live, out)
		if ok {
			live[c] = from
		}
		return ok
	}
	for n := range 10 {
		for range 20 {
			add(guestIP(n))
		}
	}
	if p.total != 100 || len(p.hosts[guestIP(9)]) != 10 {
		t.Errorf("%d places taken, %d by the last", p.total, len(p.hosts[guestIP(9)]))
	}
	if !add(guestIP(99)) || len(p.hosts[guestIP(99)]) != 1 || p.total != 100 {
		t.Error("who has none is kept out by who has ten")
	}
	for range 20000 {
		if from := guestIP(rand.IntN(300)); rand.IntN(3) > 0 {
			add(from)
			continue
		}
		for c, from := range live {
			p.leave(from, c)
			p.leave(from, c)
			delete(live, c)
			break
		}
	}
	ranked := 0
	for n, hosts := range p.ranks {
		ranked += n * len(hosts)
	}
	if p.total != len(live) || ranked != len(live) || p.total > 100 {
		t.Errorf("%d places, %d by rank, and %d connections", p.total, ranked, len(live))
	}
	for range 200 {
		add(guestIP(5))
	}
	if n := len(p.hosts[guestIP(5)]); n > connsPerHost {
		t.Errorf("%d connections of one source", n)
	}
}

// TestStrangersKeepNobodyOut: however many connections and handshakes
// strangers make from however many addresses, a phone is answered.
func TestStrangersKeepNobodyOut(t *testing.T) {
	r, https := tlsRig(t, TLS{MinVersion: tls.VersionTLS12})
	for n := range connsStrangers + 200 {
		for _, at := range []netip.AddrPort{r.http, https} {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(guestIP(n/2), 0))}
			c, err := d.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
	if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 {
		t.Errorf("the phone by HTTP: %d", got.Status)
	}
	shake := func(from netip.Addr) error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 5 * time.Second}
		c, err := tls.DialWithDialer(&d, "tcp", https.String(), &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	refused := 0
	for n := range int(strangerBurst) + 100 {
		if shake(guestIP(1000+n)) != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("strangers have as many handshakes as they like")
	}
	if err := shake(home(yealink)); err != nil {
		t.Errorf("the phone by HTTPS: %v", err)
	}
}
