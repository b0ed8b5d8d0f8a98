package media

import (
	"net/netip"
	"testing"
	"time"
)

// A row is a conversation: each step is a source, whether SRTP would
// authenticate it, the time since the step before, and what must happen.
func TestLatch(t *testing.T) {
	const (
		phone  = "192.0.2.10:4000" // what the SDP says
		moved  = "192.0.2.10:5000"
		moved2 = "192.0.2.10:6000"
		evil   = "198.51.100.66:4000"
		nat    = "203.0.113.5:61000"
		nat2   = "203.0.113.5:61001"
	)
	type step struct {
		src   string
		valid bool
		after time.Duration
		taken bool
	}
	for _, tt := range []struct {
		name   string
		learn  Learn
		secure bool
		host   string
		steps  []step
	}{
		{"LAN takes the SDP's address only", Never, false, "", []step{
			{src: evil},
			{src: moved},
			{src: moved},
			{src: moved},
			{src: moved},
			{src: moved},
			{src: phone, taken: true},
			{src: evil},
			{src: phone, taken: true},
			{src: moved, after: time.Hour},
		}},
		{"LAN with SRTP proves as well", Never, true, "", []step{
			{src: phone}, {src: evil, valid: true}, {src: phone, valid: true, taken: true},
		}},
		{"same host learns after four in a row, then locks", SameHost, false, "", []step{
			{src: moved},
			{src: moved},
			{src: moved},
			{src: moved, taken: true},
			{src: moved, taken: true},
			{src: phone},
			{src: moved2, after: time.Hour},
		}},
		{"same host starts again for another port", SameHost, false, "", []step{
			{src: moved}, {src: moved}, {src: moved}, {src: moved2}, {src: moved}, {src: moved}, {src: moved}, {src: moved, taken: true},
		}},
		{"same host: the SDP's port is right at once", SameHost, false, "", []step{
			{src: moved}, {src: phone, taken: true}, {src: moved}, {src: moved}, {src: moved}, {src: moved},
		}},
		{"same host: never from another host", SameHost, false, "", []step{
			{src: evil}, {src: evil}, {src: evil}, {src: evil}, {src: evil}, {src: phone, taken: true},
		}},
		{"same host: the signalling address stands in for a wrong SDP", SameHost, false, "203.0.113.5", []step{
			{src: evil}, {src: nat}, {src: nat}, {src: nat}, {src: nat, taken: true}, {src: nat2},
		}},
		{"WAN learns from the first proven packet", Natted, true, "", []step{
			{src: evil}, {src: evil}, {src: nat, valid: true, taken: true}, {src: evil}, {src: nat, valid: true, taken: true},
		}},
		{"WAN: the lock holds against proven packets of another source", Natted, true, "", []step{
			{src: nat, valid: true, taken: true},
			{src: nat2, valid: true, after: 20 * time.Millisecond},
			{src: nat, valid: true, taken: true},
		}},
		{"WAN: after silence a proven packet may move it, an unproven not", Natted, true, "", []step{
			{src: nat, valid: true, taken: true},
			{src: evil, after: 3 * time.Second},
			{src: nat2, valid: true, taken: true},
			{src: nat, valid: true},
		}},
		{"WAN: junk from the locked source does not keep it locked", Natted, true, "", []step{
			{src: nat, valid: true, taken: true},
			{src: nat, after: 1500 * time.Millisecond},
			{src: nat, after: 1500 * time.Millisecond},
			{src: nat2, valid: true, taken: true},
		}},
		{"WAN without a key is as careful as the same host", Natted, false, "", []step{
			{src: nat}, {src: nat}, {src: nat}, {src: nat}, {src: nat}, {src: phone, taken: true}, {src: nat, after: time.Hour},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := latch{learn: tt.learn, secure: tt.secure}
			if tt.host != "" {
				l.host = netip.MustParseAddr(tt.host)
			}
			now := time.Unix(1000, 0)
			if l.admits(netip.MustParseAddrPort(evil), now) && !(tt.learn == Natted && tt.secure) {
				t.Error("took a packet before there was an address")
			}
			l.setRemote(netip.MustParseAddrPort(phone))
			for i, s := range tt.steps {
				now = now.Add(s.after)
				src := netip.MustParseAddrPort(s.src)
				taken := l.admits(src, now) && (s.valid || !tt.secure)
				if taken {
					l.accept(src, now)
				}
				if taken != s.taken {
					t.Fatalf("step %d from %s: taken = %v, want %v", i, s.src, taken, s.taken)
				}
			}
		})
	}
}

func TestLatchSetRemote(t *testing.T) {
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddrPort("192.0.2.10:4000"), netip.MustParseAddrPort("192.0.2.10:4002")
	l := latch{learn: Never}
	l.setRemote(a)
	l.accept(a, now)
	l.setRemote(a)
	l.setRemote(netip.AddrPort{})
	if !l.admits(a, now) {
		t.Error("the same address again, or hold, forgot what was learnt")
	}
	l.setRemote(b)
	if l.admits(a, now) || !l.admits(b, now) {
		t.Error("a new address did not replace the old one")
	}
}
