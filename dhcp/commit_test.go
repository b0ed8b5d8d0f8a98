package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

const slowDisk = 30 * time.Millisecond

// ledger notes in which order leases reach the disk and ACKs the wire.
type ledger struct {
	mu     sync.Mutex
	onDisk map[netip.Addr]time.Time // expiry on disk
	early  []string                 // ACKs that the disk did not cover when they were sent
	acks   int
}

func (l *ledger) watch(w *world) {
	l.onDisk = map[netip.Addr]time.Time{}
	w.store.after = func(row Lease) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.onDisk[row.IP] = row.Expires
	}
	w.conn.onSend = func(m *dhcpv4.DHCPv4) {
		if m.MessageType() != dhcpv4.MessageTypeAck {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.acks++
		ip := addrOf(m.YourIPAddr)
		// RFC 2131 §4.4.1: the client's term begins when it sends the REQUEST.
		promised := time.Now().Add(m.IPAddressLeaseTime(0) - slowDisk)
		if expires, ok := l.onDisk[ip]; !ok || expires.Before(promised) {
			l.early = append(l.early, fmt.Sprintf("%v until %v, on disk until %v", ip, promised, expires))
		}
	}
}

// boot10 lets ten phones get an address and renew it.
func boot10(w *world) {
	for i := range 10 {
		m := mac.Addr{0, 0, 0x5e, 0, 0x53, byte(i)}
		ip := addrOf(w.discover(m).YourIPAddr)
		w.selecting(m, ip)
		time.Sleep(time.Second)
		w.replies()
	}
	w.replies()
	time.Sleep(20 * time.Minute)
	for i := range 10 {
		m := mac.Addr{0, 0, 0x5e, 0, 0x53, byte(i)}
		l := w.s.Leases()[i]
		w.send(w.message(dhcpv4.MessageTypeRequest, m, ciaddr(l.IP)), serverIP)
		time.Sleep(time.Second)
	}
	w.replies()
}

func TestNoAckBeforeTheLeaseIsOnDisk(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		var l ledger
		l.watch(w)
		w.store.before = func(ctx context.Context, _ Lease) error {
			pause(ctx, slowDisk)
			return nil
		}
		boot10(w)
		if l.acks != 20 || len(l.early) > 0 {
			t.Errorf("%d ACKs, want 20; not covered by the disk: %v", l.acks, l.early)
		}
	})
}

// TestControlAckBeforeCommit is the control of the test above: a store whose
// Put returns before the row is on disk makes the server send ACKs too early,
// and the same check must see every one of them.
func TestControlAckBeforeCommit(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		var l ledger
		l.watch(w)
		lying := &lyingStore{memStore: w.store}
		w.s.store = lying
		boot10(w)
		lying.wg.Wait()
		if l.acks != 20 || len(l.early) != 20 {
			t.Errorf("%d ACKs, the check found %d of them early; want 20 of 20", l.acks, len(l.early))
		}
	})
}

// lyingStore answers before it writes.
type lyingStore struct {
	*memStore
	wg sync.WaitGroup
}

func (s *lyingStore) Put(_ context.Context, l Lease) error {
	s.wg.Go(func() {
		time.Sleep(slowDisk)
		_ = s.memStore.Put(context.Background(), l)
	})
	return nil
}

// TestBlockedCommit holds one client's Put for as long as it likes.
func TestBlockedCommit(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		release := make(chan struct{})
		w.store.before = func(ctx context.Context, l Lease) error {
			if l.MAC != mac1 {
				return nil
			}
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ip1 := addrOf(w.discover(mac1).YourIPAddr)
		w.silence(w.selecting(mac1, ip1))
		if m, ok := w.s.Whois(ip1); ok {
			t.Errorf("the address counts as leased to %v before it is on disk", m)
		}
		// The client repeats itself, the others come up meanwhile.
		time.Sleep(4 * time.Second)
		w.silence(w.selecting(mac1, ip1))
		if ip2 := w.dora(mac2); ip2 == ip1 {
			t.Errorf("%v was given to two clients", ip1)
		}
		w.dora(mac3)
		// An offer to the client that waits is answered with its address.
		if got := addrOf(w.discover(mac1).YourIPAddr); got != ip1 {
			t.Errorf("offered %v while %v is being committed", got, ip1)
		}
		close(release)
		ack := w.one(w.replies(), dhcpv4.MessageTypeAck)
		if got := addrOf(ack.YourIPAddr); got != ip1 {
			t.Errorf("ACK for %v, want %v", got, ip1)
		}
		if got := w.s.Stats().Repeated; got != 1 {
			t.Errorf("%d repetitions counted, want 1", got)
		}
		if m, ok := w.s.Whois(ip1); !ok || m != mac1 {
			t.Errorf("Whois(%v) = %v, %v after the ACK", ip1, m, ok)
		}
	})
}

func TestAckedIsCalledBeforeTheAckLeaves(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		var calls []int
		w.conn.onSend = func(m *dhcpv4.DHCPv4) {
			if m.MessageType() == dhcpv4.MessageTypeAck {
				w.mu.Lock()
				defer w.mu.Unlock()
				calls = append(calls, len(w.acked))
			}
		}
		ip := w.dora(mac1)
		if !slices.Equal(calls, []int{1}) {
			t.Fatalf("acked calls at the time of the ACK: %v, want [1]", calls)
		}
		if l := w.acked[0]; l.IP != ip || l.MAC != mac1 || l.State != Bound {
			t.Errorf("acked got %+v", l)
		}
	})
}

var errDisk = errors.New("no space left on device")

func TestStoreFails(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		ip := w.dora(mac1)
		w.store.before = func(context.Context, Lease) error { return errDisk }

		ip2 := addrOf(w.discover(mac2).YourIPAddr)
		w.silence(w.selecting(mac2, ip2))
		if got := w.lastReason(mac2); got != story.StoreFailed {
			t.Errorf("reason %q, want %q", got, story.StoreFailed)
		}

		// A renewal: what is left of the term on disk, and not a second more.
		time.Sleep(20 * time.Minute)
		ack := w.one(w.send(w.message(dhcpv4.MessageTypeRequest, mac1, ciaddr(ip)), serverIP), dhcpv4.MessageTypeAck)
		if got := ack.IPAddressLeaseTime(0); got != 40*time.Minute {
			t.Errorf("lease of %v, want the remaining 40m", got)
		}
		row, _ := w.store.row(ip)
		if left := time.Until(row.Expires); left < ack.IPAddressLeaseTime(0) {
			t.Errorf("the client was promised %v, the disk says %v", ack.IPAddressLeaseTime(0), left)
		}

		// The disk is well again.
		w.store.before = nil
		time.Sleep(5 * time.Second)
		w.one(w.selecting(mac2, ip2), dhcpv4.MessageTypeAck)
	})
}

// TestLostAck: the repetition of a REQUEST whose ACK got lost is answered from
// the record on disk, without writing it again.
func TestLostAck(t *testing.T) {
	run(t, testConfig(), func(w *world) {
		ip := w.dora(mac1)
		time.Sleep(4 * time.Second)
		ack := w.one(w.selecting(mac1, ip), dhcpv4.MessageTypeAck)
		if got, want := ack.IPAddressLeaseTime(0), time.Hour-4*time.Second; got != want {
			t.Errorf("lease of %v, want %v", got, want)
		}
		if w.store.puts != 1 {
			t.Errorf("%d writes, want 1", w.store.puts)
		}
	})
}

func TestCommitsAreBounded(t *testing.T) {
	cfg := testConfig()
	cfg.Server, cfg.Router = ip4("198.18.0.1"), netip.Addr{}
	cfg.Subnet, cfg.Pools = netip.MustParsePrefix("198.18.0.0/20"), []Pool{pool("198.18.1.0-198.18.9.255")}
	run(t, cfg, func(w *world) {
		w.store.before = func(ctx context.Context, _ Lease) error { <-ctx.Done(); return ctx.Err() }
		n := commitsAtOnce + 10
		for i := range n {
			m := mac.Addr{0, 0, 0x5e, 0x10, byte(i >> 8), byte(i)}
			got := w.send(w.message(dhcpv4.MessageTypeDiscover, m), allOnes)
			if len(got) != 1 {
				t.Fatalf("client %d: %v", i, got)
			}
			w.silence(w.send(w.message(dhcpv4.MessageTypeRequest, m, optIP(optRequestedIP, addrOf(got[0].YourIPAddr)), optIP(optServerID, cfg.Server)), allOnes))
		}
		if got := w.s.Stats().Busy; got != 10 {
			t.Errorf("%d requests dropped, want 10", got)
		}
		time.Sleep(commitTimeout + time.Second)
		w.store.before = nil
		m := mac.Addr{0, 0, 0x5e, 0x10, 0, 0}
		w.one(w.send(w.message(dhcpv4.MessageTypeDiscover, m), allOnes), dhcpv4.MessageTypeOffer)
	})
}

// TestRunWaitsForCommits: the store outlives the server, so a lease that is
// being written at the end is written and acknowledged.
func TestRunWaitsForCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Quiet = -1
		w := prepare(t, cfg).start(cfg)
		w.store.before = func(ctx context.Context, _ Lease) error {
			pause(ctx, time.Second)
			return ctx.Err()
		}
		ip := addrOf(w.discover(mac1).YourIPAddr)
		w.silence(w.selecting(mac1, ip))
		w.stop()
		w.one(w.replies(), dhcpv4.MessageTypeAck)
		if _, ok := w.store.row(ip); !ok {
			t.Error("the lease was not written")
		}
	})
}
