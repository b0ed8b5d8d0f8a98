package sipedge

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// PhoneReport is what a phone says, after a call or in it, of the audio that
// it heard (RFC 6035).
type PhoneReport struct {
	Call    string // our id of the call
	Account mac.Account
	At      time.Time
	Heard   Heard
}

// publish takes the quality reports that phones send by PUBLISH (RFC 6035
// §4.1). Every other event package is refused (RFC 3903 §6 step 2). Nothing
// can be subscribed to or refreshed, so the entity tag is only a name.
func (s *Server) publish(r *Request) {
	defer r.Tx.Terminate()
	event, _ := headerValue(r, "event")
	kind, _, _ := strings.Cut(event, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "vq-rtcpxr") {
		s.ep.answer(r, 489, "Bad Event", sip.NewHeader("Allow-Events", "vq-rtcpxr"))
		return
	}
	id, ok := s.ep.Authenticate(r)
	if !ok {
		return
	}
	if h := r.ContentType(); h == nil || !strings.EqualFold(strings.TrimSpace(firstPart(h.Value())), "application/vq-rtcpxr") {
		s.ep.answer(r, 415, "Unsupported Media Type", sip.NewHeader("Accept", "application/vq-rtcpxr"))
		return
	}
	rep, ok := parseVoiceReport(string(r.Body()))
	if !ok {
		s.ep.answer(r, sip.StatusBadRequest, "No Quality Report In The Body")
		return
	}
	s.reported(id.Account, rep) // before the answer: what we confirm is kept
	s.ep.answer(r, sip.StatusOK, "OK", sip.NewHeader("Expires", "0"), sip.NewHeader("SIP-ETag", r.Tag()))
}

func firstPart(v string) string {
	v, _, _ = strings.Cut(v, ";")
	return v
}

// reported stores a report with its call and tells the phone's story.
func (s *Server) reported(a mac.Account, rep voiceReport) {
	call := s.ids.find(rep.callID, a)
	s.record(a.MAC, story.Event{
		Time: s.now(), Proto: story.SIP, Dir: story.In, Code: story.QualityReport,
		Args: story.Args{Account: a, Call: call, Detail: rep.heard.inWords()},
	})
	if call != "" {
		s.store.Report(PhoneReport{Call: call, Account: a, At: s.now(), Heard: rep.heard})
	}
}

func (h Heard) inWords() string {
	s := fmt.Sprintf("%.1f %% of the packets lost or late", 100*h.Loss)
	if h.Jitter > 0 {
		s += fmt.Sprintf(", jitter %d ms", h.Jitter.Milliseconds())
	}
	if h.MOS > 0 {
		s += fmt.Sprintf(", MOS %.1f", h.MOS)
	}
	return s
}

// voiceReport is what we read out of an application/vq-rtcpxr body.
type voiceReport struct {
	callID string
	heard  Heard
}

// maxReportLines bounds what is read; real reports have under 50 lines.
const maxReportLines = 200

// parseVoiceReport reads the local metrics of a report (RFC 6035 §4.6): those
// of the remote side are its own business. Lines and parameters that are not
// known, or hold no number, are passed over; false if there is no Call-ID.
func parseVoiceReport(body string) (rep voiceReport, ok bool) {
	rep.heard.By = "vq-rtcpxr"
	lines := 0
	for line := range strings.SplitSeq(body, "\n") {
		if lines++; lines > maxReportLines {
			break
		}
		name, value, found := strings.Cut(strings.TrimSpace(line), ":")
		if !found {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "remotemetrics":
			return rep, rep.callID != ""
		case "callid":
			rep.callID = strings.TrimSpace(value)
		case "packetloss":
			p := parameters(value)
			rep.heard.Loss = min(1, (p["NLR"]+p["JDR"])/100)
		case "delay":
			rep.heard.Jitter = time.Duration(min(parameters(value)["IAJ"], 10_000) * float64(time.Millisecond))
		case "qualityest":
			if m := parameters(value)["MOSLQ"]; m >= 1 && m <= 5 {
				rep.heard.MOS = m
			}
		}
	}
	return rep, rep.callID != ""
}

// parameters reads "NLR=5.0 JDR=2.0". A number that is none, or below zero, is
// left out.
func parameters(value string) map[string]float64 {
	out := make(map[string]float64, 8)
	for _, f := range strings.Fields(value) {
		name, text, ok := strings.Cut(f, "=")
		if n, err := strconv.ParseFloat(text, 64); ok && err == nil && n >= 0 && n < 1e9 {
			out[strings.ToUpper(name)] = n
		}
	}
	return out
}

// recentCalls remembers for a while which of our calls a Call-ID of a phone
// belonged to: its report comes when the call is over.
type recentCalls struct {
	mu    sync.Mutex
	calls map[recentKey]string // our id
	order []recentEntry        // oldest first
}

type recentKey struct {
	callID  string
	account mac.Account
}

type recentEntry struct {
	key recentKey
	at  time.Time
}

// Bounds of recentCalls.
const (
	recentFor = 15 * time.Minute
	recentMax = 10_000
)

func (c *recentCalls) add(callID string, a mac.Account, id string, now time.Time) {
	if a.MAC.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = make(map[recentKey]string)
	}
	for len(c.order) > 0 && (len(c.order) >= recentMax || now.Sub(c.order[0].at) > recentFor) {
		delete(c.calls, c.order[0].key)
		c.order = c.order[1:]
	}
	k := recentKey{callID, a}
	if _, known := c.calls[k]; !known {
		c.order = append(c.order, recentEntry{k, now})
	}
	c.calls[k] = id
}

// find returns our id of the call; empty if it is not known, or was no call of
// that phone.
func (c *recentCalls) find(callID string, a mac.Account) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[recentKey{callID, a}]
}
