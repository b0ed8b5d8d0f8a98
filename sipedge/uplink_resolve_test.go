package sipedge

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// nameServer answers from a zone file on a loopback socket.
func nameServer(t *testing.T, zone ...string) *net.Resolver {
	t.Helper()
	var records []dns.RR
	for _, line := range zone {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rr)
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, rr := range records {
			if rr.Header().Name == q.Question[0].Name && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

func TestResolve(t *testing.T) {
	r := nameServer(t,
		"a.example.com. 60 IN A 192.0.2.1",
		"b.example.com. 60 IN A 192.0.2.2",
		"b.example.com. 60 IN AAAA 2001:db8::2",
	)
	tests := []struct {
		name, address string
		want          []string
		bad           bool
	}{
		{"address and port", "192.0.2.7:443", []string{"192.0.2.7:443"}, false},
		{"address", "192.0.2.7", []string{"192.0.2.7:5061"}, false},
		{"both families", "b.example.com:5062", []string{"192.0.2.2:5062", "[2001:db8::2]:5062"}, false},
		{"a name without a port", "a.example.com", []string{"192.0.2.1:5061"}, false},
		{"no such name", "none.example.com", nil, true},
		{"nonsense", ":", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resolve(t.Context(), r, tt.address)
			if (err != nil) != tt.bad {
				t.Fatal(err)
			}
			var want []netip.AddrPort
			for _, w := range tt.want {
				want = append(want, netip.MustParseAddrPort(w))
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}
