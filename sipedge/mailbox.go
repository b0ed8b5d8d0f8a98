package sipedge

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"

	"patchbay/dhcp/mac"
)

// mailboxes is the event package message-summary (RFC 3842): the lamp that
// says that somebody left a message. The mailbox is at the gateway; its word is
// kept per line and passed to the phones of the line.
type mailboxes struct {
	e *Endpoint

	mu    sync.Mutex
	lines map[int64]string       // Messages-Waiting and the counts, as lines of a body
	deaf  map[mac.Account]string // phones that refuse what they did not ask for, by the Call-ID of their registration
	told  map[mac.Account]string // what each phone was told unasked last
}

const noMessages = "Messages-Waiting: no\r\n"

func newMailboxes(e *Endpoint) *mailboxes {
	return &mailboxes{
		e: e, lines: make(map[int64]string), deaf: make(map[mac.Account]string), told: make(map[mac.Account]string),
	}
}

// resource implements [eventPackage]. A phone hears of the line that it is
// signed in to, whatever it calls its mailbox.
func (m *mailboxes) resource(id Identity, user string) (topic, *StatusError) {
	if l, ok := m.e.accounts.Dialled(user); ok && l.ID != id.LineID {
		return topic{}, &StatusError{Status: 403, Phrase: "This Is The Mailbox Of Another Line"}
	}
	return topic{account: id.Account}, nil
}

// state implements eventPackage. The line is looked up each time: who signs
// in at a phone changes under the subscription.
func (m *mailboxes) state(t topic, _ uint32, _ string) (string, []byte) {
	body := noMessages
	if id, ok := m.e.accounts.Account(t.account); ok {
		body = m.of(id.LineID)
	}
	return "application/simple-message-summary", []byte(body)
}

func (m *mailboxes) of(line int64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.lines[line]; s != "" && line != 0 {
		return s
	}
	return noMessages
}

// counts are the lines of a summary that are passed on (RFC 3842 §5.2), without
// what names the mailbox at the gateway.
var counts = regexp.MustCompile(`(?i)^(voice|fax|pager|multimedia|text|none)-message: *\d{1,6}/\d{1,6}( *\(\d{1,6}/\d{1,6}\))?$`)

// readSummary reads a summary of the gateway. It is false if it is none.
func readSummary(body []byte) (string, bool) {
	waiting, rest := "", ""
	for line := range strings.SplitSeq(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n") {
		name, value, ok := strings.Cut(line, ":")
		switch value = strings.ToLower(strings.TrimSpace(value)); {
		case ok && strings.EqualFold(strings.TrimSpace(name), "Messages-Waiting") && (value == "yes" || value == "no"):
			waiting = "Messages-Waiting: " + value + "\r\n"
		case len(rest) < 300 && counts.MatchString(strings.TrimSpace(line)):
			rest += strings.TrimSpace(line) + "\r\n"
		}
	}
	return waiting + rest, waiting != ""
}

// set takes the gateway's word about a line and tells its phones.
func (m *mailboxes) set(line int64, summary string) {
	m.mu.Lock()
	same := m.lines[line] == summary
	m.lines[line] = summary
	m.mu.Unlock()
	if same {
		return
	}
	for _, a := range m.e.accounts.OnLine(line) {
		m.e.events.changed("message-summary", topic{account: a})
		m.unasked(a)
	}
}

// unasked tells a phone that has no subscription (RFC 3842 §3.3 does not know
// this, but many phones are set up so), if there is something new.
func (m *mailboxes) unasked(a mac.Account) {
	b, ok := m.e.location.Binding(a)
	id, known := m.e.accounts.Account(a)
	if !ok || !known || b.FlowLost || m.e.events.subscribed(a, "message-summary") {
		return
	}
	body := m.of(id.LineID)
	m.mu.Lock()
	last := m.told[a]
	fresh := m.deaf[a] != b.CallID && last != body && (last != "" || body != noMessages)
	if fresh {
		m.told[a] = body
	}
	m.mu.Unlock()
	if !fresh || m.e.events.ctx.Err() != nil {
		return
	}
	m.e.events.sending.Go(func() {
		ctx, stop := context.WithTimeout(m.e.events.ctx, answerTime)
		defer stop()
		status, err := m.e.notify(ctx, b, id, news{"message-summary", "application/simple-message-summary", body})
		m.mu.Lock()
		defer m.mu.Unlock()
		switch {
		case err != nil:
			delete(m.told, a) // again when it registers next
		case status >= 400:
			m.deaf[a] = b.CallID
		}
	})
}

// forget is called when an account has a new registration: a phone that was
// restarted knows nothing.
func (m *mailboxes) forget(a mac.Account) {
	m.mu.Lock()
	delete(m.told, a)
	m.mu.Unlock()
	m.unasked(a)
}

// gatewayNotify serves NOTIFY of the gateway: about the mailbox of a line,
// within a subscription of ours or unasked. An event that we know nothing of
// is refused.
func (s *Server) gatewayNotify(r *Request) {
	defer r.Tx.Terminate()
	event, _ := headerValue(r, "event")
	kind, _, _ := strings.Cut(event, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "message-summary") {
		s.refuse(r, &StatusError{Status: 489, Phrase: "Bad Event"})
		return
	}
	line, ok := s.lineOf(r)
	if !ok {
		s.refuse(r, &StatusError{Status: 404, Phrase: "Not Found"})
		return
	}
	if summary, ok := readSummary(r.Body()); ok {
		s.ep.mail.set(line.ID, summary)
	}
	if err := r.Respond(sip.StatusOK, "OK"); err != nil {
		s.log.Debug("answer", "err", err)
	}
}

// lineOf finds the line that a request of the gateway is about.
func (s *Server) lineOf(r *Request) (Line, bool) {
	for _, user := range []string{r.Recipient.User, r.To().Address.User} {
		for _, l := range s.accounts.Lines() {
			if user != "" && strings.EqualFold(aorUser(l.AOR), user) {
				return l, true
			}
		}
		if l, ok := s.accounts.Dialled(user); ok {
			return l, true
		}
	}
	return Line{}, false
}
