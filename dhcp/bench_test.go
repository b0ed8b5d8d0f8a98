package dhcp

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// benchServer runs a server whose replies go to conn.replies.
func benchServer(b *testing.B, leases int) (*memConn, func()) {
	cfg := Config{
		Interface: "bench0", Mode: Serve, Server: ip4("10.0.0.1"), Subnet: netip.MustParsePrefix("10.0.0.0/12"),
		Pools: []Pool{pool("10.1.0.0-10.8.255.255")}, Quiet: -1, Lease: 24 * time.Hour,
	}
	now := time.Now()
	store := newMemStore()
	for i := range leases {
		ip := netip.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)})
		store.rows[ip] = Lease{IP: ip, MAC: benchMAC(1<<24 + i), State: Bound, Granted: now, Expires: now.Add(time.Hour)}
	}
	conn := newMemConn()
	conn.replies = make(chan []byte, 1)
	s, err := New(context.Background(), conn, nobody{}, cfg, store, bootFunc(func(Ask) Boot {
		return Boot{Options: map[uint8][]byte{66: []byte("http://10.0.0.1/")}, Phone: true}
	}), nil, func(mac.Addr, story.Event) {}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return conn, func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

func benchMAC(i int) (m mac.Addr) {
	m[0] = 2 // locally administered
	binary.BigEndian.PutUint32(m[2:], uint32(i))
	return m
}

// BenchmarkDORA is a whole exchange of a new client: DISCOVER, OFFER,
// REQUEST, commit, ACK, through the receive loop. The store commits at once,
// so the figure is what the server itself costs.
func BenchmarkDORA(b *testing.B) {
	for name, leases := range map[string]int{"empty": 0, "60000leases": 60000} {
		b.Run(name, func(b *testing.B) {
			conn, stop := benchServer(b, leases)
			defer stop()
			w := &world{}
			ask := opt(optRequested, 1, 3, 6, 15, 42, 66)
			discover := w.message(1, mac1, ask).ToBytes()
			request := w.message(3, mac1, ask, optIP(optRequestedIP, ip4("10.1.0.0")), optIP(optServerID, ip4("10.0.0.1"))).ToBytes()
			offset := len(request)
			for i := 240; i < len(request)-6; i++ {
				if request[i] == optRequestedIP && request[i+1] == 4 {
					offset = i + 2
					break
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m := benchMAC(i % (1 << 18))
				i++
				copy(discover[28:], m[:])
				copy(request[28:], m[:])
				conn.in <- inbound{b: discover, to: allOnes}
				offer := <-conn.replies
				copy(request[offset:offset+4], offer[16:20])
				conn.in <- inbound{b: request, to: allOnes}
				if ack := <-conn.replies; ack[242] != 5 {
					b.Fatalf("answer of type %d", ack[242])
				}
			}
		})
	}
}
