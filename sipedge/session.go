package sipedge

import (
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// sessionTimer watches over the dialog with one peer (RFC 4028). It belongs
// to the call's goroutine. Zero: none was agreed.
type sessionTimer struct {
	interval time.Duration
	ours     bool      // we refresh
	at       time.Time // when we refresh, or when the session is over
	least    time.Duration
	update   bool // the peer knows UPDATE
	asking   bool // a refresh is under way

	// wanted is what the peer's last request asked for, until it is answered.
	wanted  time.Duration
	refresh string // "uac", "uas", or empty: who the peer wants to refresh
	knows   bool   // the peer knows timers
}

// sessionExpires reads Session-Expires, also in its short form.
func sessionExpires(m interface{ GetHeader(string) sip.Header }) (d time.Duration, refresher string, ok bool) {
	h := m.GetHeader("Session-Expires")
	if h == nil {
		h = m.GetHeader("x")
	}
	if h == nil {
		return 0, "", false
	}
	value, params, _ := strings.Cut(h.Value(), ";")
	n, ok := parseNumber(strings.TrimSpace(value), 1<<31-1)
	if !ok {
		return 0, "", false
	}
	for p := range strings.SplitSeq(params, ";") {
		if k, v, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(k), "refresher") {
			refresher = strings.ToLower(strings.TrimSpace(v))
		}
	}
	return time.Duration(n) * time.Second, refresher, true
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// asked notes what a request of the peer says about the timer. The error is
// a 422 where the peer wants to be asked too often (RFC 4028 §9).
func (t *sessionTimer) asked(r *sip.Request, least time.Duration) error {
	t.noteAllow(r)
	t.knows = hasOption(r, "Supported", "timer") || hasOption(r, "Require", "timer")
	d, refresher, ok := sessionExpires(r)
	if t.wanted, t.refresh = 0, ""; !ok {
		return nil
	}
	if d < least {
		return &StatusError{
			Status: 422, Phrase: "Session Interval Too Small",
			Headers: []sip.Header{sip.NewHeader("Min-SE", seconds(least))},
		}
	}
	t.wanted, t.refresh = d, refresher
	return nil
}

func (t *sessionTimer) noteAllow(m interface{ GetHeaders(string) []sip.Header }) {
	if len(m.GetHeaders("Allow")) > 0 {
		t.update = hasOption(m, "Allow", "UPDATE")
	}
}

// grant puts the timer into our 2xx to a request that was asked about. The
// peer refreshes if it can, so that we learn that it lives; for one that does
// not know timers, but a proxy before it wants them, we do (RFC 4028 §9).
func (t *sessionTimer) grant(out *sip.Response) {
	if t.wanted == 0 {
		return
	}
	who := "uas"
	if t.knows && t.refresh != "uas" {
		who = "uac"
	}
	out.AppendHeader(sip.NewHeader("Session-Expires", seconds(t.wanted)+";refresher="+who))
	if t.knows {
		out.AppendHeader(sip.NewHeader("Require", "timer"))
	}
	t.start(t.wanted, who == "uas")
}

// ask offers a timer in an INVITE or UPDATE of ours, and says which
// extensions we know. Reliable answers are only asked for with an offer:
// otherwise the PRACK would have to bring the answer.
func (t *sessionTimer) ask(req *sip.Request, times callTimes, offer bool) {
	options := "timer, replaces"
	if offer && req.Method == sip.INVITE {
		options = "100rel, " + options
	}
	req.AppendHeader(sip.NewHeader("Supported", options))
	if times.expires == 0 {
		return
	}
	d := max(times.expires, t.least)
	value := seconds(d)
	if t.interval > 0 { // the roles stay as they are (RFC 4028 §7.4)
		value = seconds(max(t.interval, t.least)) + ";refresher="
		if t.ours {
			value += "uac"
		} else {
			value += "uas"
		}
	}
	req.AppendHeader(sip.NewHeader("Session-Expires", value))
	req.AppendHeader(sip.NewHeader("Min-SE", seconds(max(times.minExpires, t.least))))
}

// tooSmall takes the least interval out of a 422 answer.
func (t *sessionTimer) tooSmall(res *sip.Response) bool {
	h := res.GetHeader("Min-SE")
	if res.StatusCode != 422 || h == nil {
		return false
	}
	value, _, _ := strings.Cut(h.Value(), ";")
	n, ok := parseNumber(strings.TrimSpace(value), 7*86400)
	if d := time.Duration(n) * time.Second; ok && d > t.least {
		t.least = d
		return true
	}
	return false
}

// granted takes the timer out of the peer's 2xx.
func (t *sessionTimer) granted(res *sip.Response) {
	t.noteAllow(res)
	d, refresher, ok := sessionExpires(res)
	if !ok || d < time.Second {
		t.interval = 0
		return
	}
	t.start(d, refresher != "uas")
}

func (t *sessionTimer) start(d time.Duration, ours bool) {
	t.interval, t.ours, t.asking = d, ours, false
	if now := time.Now(); ours {
		t.at = now.Add(d / 2) // RFC 4028 §7.2
	} else {
		// §10: the BYE goes out a bit earlier than the session ends.
		t.at = now.Add(d - min(32*time.Second, d/3))
	}
}

// askLess sends an INVITE again that was refused because its timer was too
// small (RFC 4028 §7.3).
func (b *branch) askLess(res *sip.Response) bool {
	if !b.leg.timer.tooSmall(res) {
		return false
	}
	req := b.invite.Clone()
	req.SetDestination("")
	for _, name := range []string{"Via", "Session-Expires", "Min-SE"} {
		for req.RemoveHeader(name) {
		}
	}
	least := seconds(b.leg.timer.least)
	req.AppendHeader(sip.NewHeader("Session-Expires", least))
	req.AppendHeader(sip.NewHeader("Min-SE", least))
	req.CSeq().SeqNo = b.leg.nextCSeq()
	return b.send(req) == nil
}

// keep refreshes the session with a peer when it is time, or ends the call
// if the peer has not (RFC 4028 §10).
func (c *call) keep(l *leg, now time.Time) {
	t := &l.timer
	switch {
	case t.interval == 0 || now.Before(t.at) || t.asking:
		return
	case !t.ours:
		c.log.Info("session not refreshed", "leg", l.who())
		c.end(&StatusError{Status: 408, Phrase: "Session Expired", Reason: story.SessionExpired})
		return
	case c.busy || c.pending():
		return // a re-INVITE is a refresh too; if it fails, the next tick is soon
	}
	t.asking = true
	method := sip.INVITE
	if t.update {
		method = sip.UPDATE
	}
	req := l.request(method)
	t.ask(req, c.s.times, method == sip.INVITE)
	if method == sip.INVITE {
		setSDP(req, l.sent.Bytes())
		c.busy = true
	}
	c.transact(l, req, func(res *sip.Response, sent *sip.Request, err error) {
		t.asking = false
		if method == sip.INVITE {
			c.busy = false
		}
		c.refreshed(l, res, sent, err)
	})
}

// refreshed takes the answer to a refresh of ours.
func (c *call) refreshed(l *leg, res *sip.Response, sent *sip.Request, err error) {
	gone := err != nil || res.StatusCode == 408 || res.StatusCode == 481
	switch {
	case gone && l.ended:
	case gone:
		if err == nil {
			l.ended = res.StatusCode == 481
		}
		c.end(&StatusError{Status: 408, Phrase: "Session Expired", Reason: story.SessionExpired})
	case res.IsSuccess():
		l.retarget(res.Contact(), l.target)
		l.timer.granted(res)
		if sent.Method == sip.INVITE {
			if ackErr := l.acknowledge(sent.CSeq().SeqNo, nil); ackErr != nil {
				c.log.Debug("acknowledge", "leg", l.who(), "err", ackErr)
			}
			if !l.direct() && !l.sent.Fax() {
				c.remoteMoved(l, sent.Body(), res)
			}
		}
	case l.timer.tooSmall(res):
		l.timer.interval = l.timer.least
	default: // 491, 500: again before the session is over
		l.timer.at = time.Now().Add(l.timer.interval / 8)
	}
}
