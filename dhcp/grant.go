package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"patchbay/appliance/story"
)

// repeatWithin is how long a REQUEST counts as the repetition of one that
// was granted: its ACK got lost, and the record on disk still covers it.
const repeatWithin = 10 * time.Second

func (l *Lease) bound(now time.Time) bool { return l.State == Bound && now.Before(l.Expires) }

// grant commits a lease and then sends the ACK. The receive loop goes on
// meanwhile; the client's repetitions are ignored until it is done.
func (s *Server) grant(r *request, ip netip.Addr) {
	before, ok := r.table.begin(ip, r.client)
	if !ok {
		s.stats.repeated.Add(1)
		return
	}
	b := s.bootOptions(r)
	r.phone, r.kept = b.Phone, s.enrolled(r.mac)
	same := before.MAC == r.mac && bytes.Equal(before.ClientID, r.id)
	left := before.Expires.Sub(r.at).Truncate(time.Second)
	if same && before.bound(r.at) && r.at.Sub(before.Granted) < repeatWithin && left >= minimumLease {
		r.table.abort(ip)
		s.sendAck(r, b, before, left)
		return
	}
	term := s.term(r)
	after := Lease{
		IP: ip, MAC: r.mac, ClientID: bytes.Clone(r.id), Hostname: r.hostname, Vendor: r.ask.VendorClass,
		State: Bound, Granted: r.at, Expires: r.at.Add(term),
	}
	s.save(r, after, func(err error) {
		switch {
		case err == nil:
			s.sendAck(r, b, after, term)
		case same && before.bound(r.at) && left >= minimumLease:
			// The disk fails, but it holds the former term: the client may
			// have what is left of that.
			s.sendAck(r, b, before, left)
		}
	})
}

// sendAck sends the ACK of a lease that is on disk.
func (s *Server) sendAck(r *request, b Boot, l Lease, term time.Duration) {
	s.acked(l)
	args := s.vlanArgs(r, b, r.toldArgs(b))
	args.IP, args.Seconds = l.IP, int64(term/time.Second)
	s.tell(r.mac, story.Out, story.Ack, args)
	s.send(r, s.ack(r, b, l.IP, term), destination(r, l.IP, false))
}

// save writes a record in a goroutine of its own and then calls done. The
// caller holds the address by [table.begin]; it is unlocked before done.
func (s *Server) save(r *request, l Lease, done func(error)) {
	select {
	case s.slots <- struct{}{}:
	default:
		// Too many at once: the client repeats itself in some seconds.
		r.table.abort(l.IP)
		s.stats.busy.Add(1)
		return
	}
	s.commits.Go(func() {
		defer func() { <-s.slots }()
		defer func() {
			if p := recover(); p != nil {
				r.table.abort(l.IP)
				s.log.Error("commit broke", "ip", l.IP, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
		}()
		ctx := s.deadlines.within(s.commit)
		if err := s.store.Put(ctx, l); err != nil {
			r.table.abort(l.IP)
			s.log.Error("write lease", "ip", l.IP, "mac", l.MAC, "err", err)
			s.noOffer(r, story.StoreFailed)
			done(err)
			return
		}
		stale := r.table.commit(l, r.client)
		s.acks.turn()
		done(nil)
		if stale.IsValid() {
			s.erase(ctx, r.table, stale)
		}
	})
}

// erase deletes the record of an address that its client has left. The
// address is locked until that is on disk, else the record of its next
// client could be deleted instead.
func (s *Server) erase(ctx context.Context, t *table, ip netip.Addr) {
	if err := s.store.Delete(ctx, ip); err != nil {
		t.abort(ip)
		s.log.Error("delete lease", "ip", ip, "err", err)
		return
	}
	t.erased(ip)
}
