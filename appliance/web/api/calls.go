package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"patchbay/dhcp/mac"
)

// Calls reads the calls that have ended.
type Calls interface {
	// EndedCalls returns up to limit calls that began before a time (zero:
	// now), of one phone or of all if m is zero, newest first. Those that
	// are not on disk yet are in it.
	EndedCalls(ctx context.Context, q CallQuery) ([]EndedCall, error)
}

// CallQuery selects calls.
type CallQuery struct {
	MAC    mac.Addr  // zero: of all phones
	Before time.Time // zero: from the newest
	Limit  int       // 1 to MaxLimit, and one more to see whether there is another page
}

// EndedCall is one call as it was recorded at its end.
type EndedCall struct {
	ID        string    `json:"id"` // as in the stories
	From      Party     `json:"from"`
	To        Party     `json:"to"`
	Dialled   string    `json:"dialled,omitempty"`
	Via       string    `json:"via"` // local, gateway
	Start     time.Time `json:"start"`
	Answered  time.Time `json:"answered,omitzero"`
	End       time.Time `json:"end"`
	Status    int       `json:"status"`           // SIP status, 200 for an answered call
	Reason    string    `json:"reason,omitempty"` // in words, of an end that was not normal
	Emergency bool      `json:"emergency"`
	// A is the leg towards the caller, B that towards the called party.
	A LegQuality `json:"a"`
	B LegQuality `json:"b"`
}

// LegQuality is what was measured on the audio that came in on one leg of a
// call, and what its other side says of the audio that it got. A value of 0
// that is not a count is unknown.
type LegQuality struct {
	Side      string  `json:"side"` // phone, gateway
	Codec     string  `json:"codec,omitempty"`
	Received  uint64  `json:"received"`             // packets
	Lost      uint64  `json:"lost"`                 // packets
	JitterMS  float64 `json:"jitter_ms,omitempty"`  // RFC 3550 §A.8
	RoundTrip float64 `json:"round_trip_ms"`        // between the box and that side, and back
	Bursts    uint64  `json:"bursts,omitempty"`     // losses that came together
	MOS       float64 `json:"mos,omitempty"`        // 1 to 4.5 (E-model)
	HeardBy   string  `json:"heard_by,omitempty"`   // rtcp, rtcp-xr, vq-rtcpxr: who says the following
	HeardLoss float64 `json:"heard_loss,omitempty"` // share of packets, 0 to 1
	HeardMOS  float64 `json:"heard_mos,omitempty"`
}

// Loss is the share of packets that did not arrive, 0 to 1.
func (l LegQuality) Loss() float64 {
	if l.Received+l.Lost == 0 {
		return 0
	}
	return float64(l.Lost) / float64(l.Received+l.Lost)
}

// The bounds of a leg that people complain about: loss by ITU-T G.113 for
// G.711 without much concealment, jitter by what an ordinary jitter buffer takes.
const (
	badLoss     = 0.02
	badJitterMS = 40
	badMOS      = 3.6
)

// Poor says whether the audio of the leg was bad in either direction.
func (l LegQuality) Poor() bool {
	return l.Received > 0 && (l.Loss() > badLoss || l.JitterMS > badJitterMS || l.MOS > 0 && l.MOS < badMOS) ||
		l.HeardBy != "" && (l.HeardLoss > badLoss || l.HeardMOS > 0 && l.HeardMOS < badMOS)
}

// Silent says that nothing came in on the leg of a call that was answered.
func (c EndedCall) Silent(l LegQuality) bool {
	return !c.Answered.IsZero() && c.End.Sub(c.Answered) > 3*time.Second && l.Received == 0
}

// Fault names the side whose way to the box was bad: caller, called, both, or
// none if it is empty. It tells a fault of the LAN from one of the WAN.
func (c EndedCall) Fault() string {
	a, b := c.A.Poor() || c.Silent(c.A), c.B.Poor() || c.Silent(c.B)
	switch {
	case a && b:
		return "both"
	case a:
		return "caller"
	case b:
		return "called"
	}
	return ""
}

// CallList is one page of the calls that have ended.
type CallList struct {
	Calls []EndedCall `json:"calls"`
	// Before is what to ask for next; absent if these were the oldest.
	Before time.Time `json:"before,omitzero"`
}

func (h *handler) calls(r *http.Request) (int, any, error) {
	q, err := ParseCallQuery(r)
	if err != nil {
		return 0, nil, err
	}
	page, err := CallPage(r.Context(), h.b, q)
	return http.StatusOK, page, err
}

// CallPage reads one page of calls, and where the next one begins.
func CallPage(ctx context.Context, b Calls, q CallQuery) (CallList, error) {
	more := q
	more.Limit++ // to see whether there is another page
	list, err := b.EndedCalls(ctx, more)
	page := CallList{Calls: orEmpty(list)}
	if len(list) > q.Limit {
		page.Calls = list[:q.Limit]
		page.Before = page.Calls[q.Limit-1].Start
	}
	return page, err
}

// ParseCallQuery reads mac, until and limit of a request; errors are
// [*Invalid].
func ParseCallQuery(r *http.Request) (CallQuery, error) {
	var q CallQuery
	v := r.URL.Query()
	var err error
	if text := v.Get("mac"); text != "" {
		if q.MAC, err = mac.Parse(text); err != nil {
			return q, &Invalid{Field: "mac", Text: "mac is a MAC address, such as 00:15:65:4a:a9:37"}
		}
	}
	if text := v.Get("until"); text != "" {
		if q.Before, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, &Invalid{Field: "until", Text: "until is a time, such as 2026-01-31T09:30:00Z"}
		}
	}
	limit, err := number(r, "limit", DefaultLimit, 1, MaxLimit)
	q.Limit = int(limit)
	return q, err
}

// Query is the query as that of an address.
func (q CallQuery) Query() string {
	v := url.Values{}
	if !q.MAC.IsZero() {
		v.Set("mac", q.MAC.String())
	}
	if !q.Before.IsZero() {
		v.Set("until", q.Before.UTC().Format(time.RFC3339Nano))
	}
	if q.Limit != 0 && q.Limit != DefaultLimit {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v.Encode()
}

// EndedCalls implements [Calls] over the API.
func (c *Client) EndedCalls(ctx context.Context, q CallQuery) (CallList, error) {
	path := "/calls"
	if text := q.Query(); text != "" {
		path += "?" + text
	}
	var out CallList
	err := c.call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// PrintCalls writes the newest calls, of one phone or of all if m is zero.
func PrintCalls(ctx context.Context, w io.Writer, socket string, m mac.Addr) error {
	c := NewClient(socket)
	defer c.Close()
	list, err := c.EndedCalls(ctx, CallQuery{MAC: m, Limit: MaxLimit})
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("WHEN", "FROM", "TO", "VIA", "LASTED", "CALLER SENT", "CALLED SENT", "END")
	for _, e := range list.Calls {
		lasted, end := "-", strconv.Itoa(e.Status)
		if !e.Answered.IsZero() {
			lasted = e.End.Sub(e.Answered).Round(time.Second).String()
		}
		if e.Reason != "" {
			end = e.Reason
		}
		t.row(e.Start.Local().Format("2006-01-02 15:04:05"), endWords(e.From), endWords(e.To), e.Via, lasted, legWords(e.A), legWords(e.B), end)
	}
	return t.flush()
}

func endWords(p Party) string {
	switch {
	case p.Number != "":
		return p.Number
	case !p.MAC.IsZero():
		return p.MAC.String()
	}
	return "-"
}

func legWords(l LegQuality) string {
	if l.Received == 0 {
		return "-"
	}
	s := fmt.Sprintf("%.1f %% lost, jitter %.0f ms", 100*l.Loss(), l.JitterMS)
	if l.RoundTrip > 0 {
		s += fmt.Sprintf(", round trip %.0f ms", l.RoundTrip)
	}
	if l.MOS > 0 {
		s += fmt.Sprintf(", MOS %.1f", l.MOS)
	}
	return s
}
