package sipedge

import (
	"context"
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
	if at := c.s.mediaAddress(l); at != "" {
		body = readdressed(body, at, &l.at)
	}
	c.log.Info("call moves to the new connection", "leg", l.who())
	c.tellAgain(l, body)
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
	case res.StatusCode >= 400 && res.StatusCode != 488 && res.StatusCode != 491 && c.takeOver(l, body):
	case res.StatusCode == 481 || res.StatusCode == 408:
		// The server knows nothing of the call (RFC 3261 §12.2.1.2).
		l.ended = true
		c.end(&StatusError{Status: 408, Phrase: "The Gateway Lost The Call", Reason: story.GatewayDown})
	}
}

// remoteMoved follows the gateway's media, which may have moved too.
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
	l.sent = mine
	l.lastSent = body
}

// mediaAddress is the address that the gateway is told for a leg's media, if
// it is another one than before.
func (s *Server) mediaAddress(l *leg) string {
	now := s.uplink.MediaAddress()
	if !now.IsValid() || now == l.at.Addr {
		return ""
	}
	return now.String()
}

// readdressed puts another address into a description of ours, and counts its
// version up (RFC 3264 §8).
func readdressed(body []byte, address string, at *media.Anchor) []byte {
	old := at.Addr.String()
	at.Version++
	var out strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(string(body), "\r\n"), "\r\n") {
		fields := strings.Split(line, " ")
		last := len(fields) - 1
		switch {
		case strings.HasPrefix(line, "o=") && last == 5:
			fields[2] = strconv.FormatUint(at.Version, 10)
			fallthrough
		case strings.HasPrefix(line, "c=") && fields[last] == old, strings.HasPrefix(line, "a=rtcp:") && fields[last] == old:
			fields[last] = address
		}
		out.WriteString(strings.Join(fields, " ") + "\r\n")
	}
	return []byte(out.String())
}
