package sipedge

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

// survival is the task that carries the calls through the gateway over to a
// new connection: what the gateway knows of the old one, it can't reach.
type survival struct{ s *Server }

// String names the task.
func (t *survival) String() string { return "sip survival of calls" }

// Run waits for new connections until ctx ends.
func (t *survival) Run(ctx context.Context) error {
	_, last, _ := t.s.uplink.State()
	for {
		up, flow, changed := t.s.uplink.State()
		if up && flow != last {
			last = flow
			t.s.moveCalls()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// moveCalls has every call look whether its way to the gateway is still there.
func (s *Server) moveCalls() {
	s.mu.Lock()
	all := make([]*call, 0, len(s.calls))
	for _, c := range s.calls {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		s.loose.Go(func() { c.post(func() { c.move(0) }) })
	}
}

// Times of moving a call.
const (
	moveAgain = time.Second
	moveTries = 20
)

// move tells the gateway where the call is reached now. It is called by the
// call's goroutine.
func (c *call) move(try int) {
	for _, l := range []*leg{c.a, c.b} {
		if l == nil || !l.gateway || !l.confirmed || l.ended || l.sent == nil {
			continue
		}
		next := l.way.Contact(l.contact.Address.User)
		if next.Address.String() == l.contact.Address.String() {
			continue // it lives on a connection that was not lost
		}
		if c.busy || c.pending() || !c.talking {
			c.moveLater(try)
			continue
		}
		l.contact = next
		c.tellMoved(l)
	}
}

// moveLater tries again when what is under way is over.
func (c *call) moveLater(try int) {
	if try < moveTries {
		c.after(moveAgain, func() { c.move(try + 1) })
	}
}

// tellMoved sends the description that holds again, with the new address.
func (c *call) tellMoved(l *leg) {
	body := l.sent.Bytes()
	now := c.s.uplink.MediaAddress()
	if told, ok := l.sent.Audio(); ok && now.IsValid() && now != told.Addr {
		var err error
		if body, err = l.afresh(now); err != nil {
			c.log.Warn("call not moved", "leg", l.who(), "err", err)
			return
		}
	}
	c.log.Info("call moves to the new connection", "leg", l.who())
	c.tellAgain(l, body)
}

// afresh makes the description that holds one for media at an address, with a
// key of its own: who is told of another address, or never heard of the call,
// can't know the roll-over counters of the old key and begins at zero (RFC 4568
// §7.1.4). Offers and answers after it name that address and key too, even
// where this one is refused.
func (l *leg) afresh(at netip.Addr) ([]byte, error) {
	l.at.Addr = at
	l.at.Version++ // RFC 3264 §8
	if told, ok := l.sent.Audio(); ok && len(told.Cryptos) > 0 {
		key, err := media.NewCrypto(told.Cryptos[0].Tag, told.Cryptos[0].Suite)
		if err != nil {
			return nil, err
		}
		l.key = &key
	}
	return readdressed(l.sent.Bytes(), at.String(), l.at.Version, l.key), nil
}

// tellAgain sends a description that holds already.
func (c *call) tellAgain(l *leg, body []byte) {
	c.busy = true
	c.reinvite(l, body, 0, func(res *sip.Response, sent *sip.Request, err error) {
		c.busy = false
		c.isMoved(l, body, res, sent, err)
	})
}

// isMoved takes the gateway's answer.
func (c *call) isMoved(l *leg, body []byte, res *sip.Response, sent *sip.Request, err error) {
	switch {
	case l.ended:
	case err != nil:
		// The new connection may be gone too; the next one calls again.
		c.log.Info("call not moved", "leg", l.who(), "err", err)
	case res.IsSuccess():
		if ackErr := l.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
			c.log.Debug("acknowledge", "leg", l.who(), "err", ackErr)
		}
		l.retarget(res.Contact(), l.target)
		l.timer.granted(res)
		c.remoteMoved(l, body, res)
	case res.StatusCode >= 400 && res.StatusCode != 488 && res.StatusCode != 491 && c.takeOver(l):
	case res.StatusCode == 481 || res.StatusCode == 408:
		// The server knows nothing of the call (RFC 3261 §12.2.1.2).
		l.ended = true
		c.end(&StatusError{Status: 408, Phrase: "The Gateway Lost The Call", Reason: story.GatewayDown})
	}
}

// remoteMoved follows the peer's media, whose address and key its answer to a
// description that we sent again may change too.
func (c *call) remoteMoved(l *leg, body []byte, res *sip.Response) {
	theirs, err := sdpOf(res)
	if err != nil || theirs == nil {
		return
	}
	mine, err := media.ParseSDP(body)
	if err != nil {
		return
	}
	if err := l.stream.Apply(mine, theirs); err != nil {
		c.log.Info("media of the moved call", "err", err)
		return
	}
	l.sent, l.theirs = mine, theirs
	l.lastSent = body
}

// readdressed puts an address, a version (RFC 3264 §8) and a key into a
// description of ours. Nil leaves the key that is there.
func readdressed(body []byte, address string, version uint64, key *media.Crypto) []byte {
	var out strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(string(body), "\r\n"), "\r\n") {
		fields := strings.Split(line, " ")
		last := len(fields) - 1
		switch {
		case strings.HasPrefix(line, "o=") && last == 5:
			fields[2] = strconv.FormatUint(version, 10)
			fields[last] = address
		case strings.HasPrefix(line, "c="):
			fields[last] = address
		case strings.HasPrefix(line, "a=crypto:") && key != nil:
			fields = []string{"a=crypto:" + key.String()}
		}
		out.WriteString(strings.Join(fields, " ") + "\r\n")
	}
	return []byte(out.String())
}
