package sipedge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/media"
)

// StatusError is an error that knows its answer: the SIP status with the
// phrase that a phone may show, and the reason for the story.
type StatusError struct {
	Status int          // SIP status, 400 to 699
	Phrase string       // reason phrase of the status line, for the caller's display
	Reason story.Reason // empty if the story has no word for it
	Err    error        // what was tried, may be nil
	// Headers are what else the answer has to say, such as Min-SE; may be nil.
	Headers []sip.Header
}

// Error implements error.
func (e *StatusError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%d %s: %v", e.Status, e.Phrase, e.Err)
	}
	return fmt.Sprintf("%d %s", e.Status, e.Phrase)
}

// Unwrap returns the cause.
func (e *StatusError) Unwrap() error { return e.Err }

// The refusals of the router and of the calls.
var (
	errNotSignedIn     = &StatusError{Status: 403, Phrase: "Nobody Is Signed In At This Phone", Reason: story.NotSignedIn}
	errNotAllowed      = &StatusError{Status: 403, Phrase: "Not Allowed From This Phone", Reason: story.CodeNotAllowed}
	errNumberUnknown   = &StatusError{Status: 404, Phrase: "Nobody Has This Number", Reason: story.NumberUnknown}
	errNumberMissing   = &StatusError{Status: 484, Phrase: "Number Incomplete", Reason: story.NumberUnknown}
	errNobodyThere     = &StatusError{Status: 480, Phrase: "No Phone Of This Line Is Registered", Reason: story.NobodyThere}
	errOwnNumber       = &StatusError{Status: 486, Phrase: "This Is Your Own Number", Reason: story.Busy}
	errGatewayDown     = &StatusError{Status: 503, Phrase: "The Gateway Can't Be Reached", Reason: story.GatewayDown}
	errNoEmergencyPath = &StatusError{Status: 503, Phrase: "Emergency Services NOT Reached", Reason: story.NoEmergencyPath}
	errTooManyHops     = &StatusError{Status: sip.StatusTooManyHops, Phrase: "Too Many Hops"}
	errNoDialog        = &StatusError{Status: 481, Phrase: "Call/Transaction Does Not Exist"}
	errGlare           = &StatusError{Status: 491, Phrase: "Request Pending"}
	errNoCodec         = &StatusError{Status: 488, Phrase: "No Codec In Common", Reason: story.NoCommonCodec}
	errNoFax           = &StatusError{Status: 488, Phrase: "No T.38 Where Audio Is Encrypted"}
	errNoCrypto        = &StatusError{Status: 488, Phrase: "No Common Way To Encrypt", Reason: story.NoCommonCrypto}
	errNoPorts         = &StatusError{Status: 503, Phrase: "No Free Media Port", Reason: story.NoMediaPorts}
	errStopping        = &StatusError{Status: 503, Phrase: "The Box Is Stopping", Reason: story.Stopping}
	errCancelled       = &StatusError{Status: sip.StatusRequestTerminated, Phrase: "Request Terminated", Reason: story.Cancelled}
	errNoAnswer        = &StatusError{Status: 480, Phrase: "Nobody Answered", Reason: story.NoAnswer}
	errBadBody         = &StatusError{Status: 400, Phrase: "Bad Session Description"}
	errBadType         = &StatusError{Status: 415, Phrase: "Only application/sdp Is Understood"}
	errReplaced        = &StatusError{Status: sip.StatusRequestTerminated, Phrase: "Replaced"}
	errNotYours        = &StatusError{Status: 403, Phrase: "This Call Is Not Yours"}
	errNothingRings    = &StatusError{Status: 404, Phrase: "No Phone Rings There"}
	errNothingParked   = &StatusError{Status: 404, Phrase: "No Call Is Parked There"}
	errSlotTaken       = &StatusError{Status: 486, Phrase: "A Call Is Parked There Already", Reason: story.Busy}
	errDoNotDisturb    = &StatusError{Status: 486, Phrase: "Do Not Disturb", Reason: story.Busy}
	errForwardLoop     = &StatusError{Status: 480, Phrase: "Forwarded In A Circle", Reason: story.NobodyThere}
	errSetup           = &StatusError{Status: 500, Phrase: "Server Internal Error"}
)

// because returns a copy of e that carries the cause.
func (e *StatusError) because(err error) *StatusError {
	c := *e
	c.Err = err
	return &c
}

// statusOf maps any error of this package to the answer that a peer gets.
// It is the one place where an error becomes a SIP status.
func statusOf(err error) *StatusError {
	var se *StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &se):
		return se
	case errors.Is(err, media.ErrNoPorts):
		return errNoPorts.because(err)
	case errors.Is(err, media.ErrNoCommonCodec):
		return errNoCodec.because(err)
	case errors.Is(err, media.ErrNoCommonCrypto):
		return errNoCrypto.because(err)
	case errors.Is(err, errUplinkDown):
		return errGatewayDown.because(err)
	case errors.Is(err, sip.ErrTransactionTimeout), errors.Is(err, context.DeadlineExceeded):
		return &StatusError{Status: 480, Phrase: "The Other Side Does Not Answer", Reason: story.NobodyThere, Err: err}
	case errors.Is(err, sip.ErrTransactionTransport), errors.Is(err, sip.ErrTransactionTerminated):
		return &StatusError{Status: 480, Phrase: "The Other Side Can't Be Reached", Reason: story.NobodyThere, Err: err}
	}
	return errSetup.because(err)
}

// passStatus maps the final status of one leg to the answer for the other.
// What concerns only the hop between us and the peer must not leak: a
// challenge or a missing credential of ours is no business of the caller.
func passStatus(res *sip.Response, gateway bool) *StatusError {
	e := &StatusError{Status: res.StatusCode, Phrase: printable(res.Reason)}
	if gateway {
		e.Phrase = phraseOf(res.StatusCode)
	}
	switch res.StatusCode {
	case 401, 407, 403:
		e.Status = 403
		e.Phrase = "Forbidden"
		if gateway {
			e.Phrase, e.Reason = "The Gateway Refused", story.GatewayRefused
		}
	case 408, 480:
		e.Status, e.Reason = 480, story.NoAnswer
	case 404, 410, 484, 604:
		e.Reason = story.NumberUnknown
	case 486, 600, 603:
		e.Reason = story.Busy
	case 487:
		e.Status, e.Reason = 480, story.NoAnswer
	case 488, 606:
		e.Reason = story.NoCommonCodec
	case 300, 301, 302, 305, 380:
		// Where it is not followed it must not go further: it would let a
		// peer steer calls past the dial plan.
		e.Status, e.Phrase, e.Reason = 480, "Temporarily Unavailable", story.NoAnswer
	case 481, 482, 483, 500, 501, 502, 503, 504:
		if gateway {
			e.Reason = story.GatewayRefused
		}
	}
	if e.Phrase == "" {
		e.Phrase = "Failed"
	}
	if r := causes(res); r != nil {
		e.Headers = append(e.Headers, r)
	}
	return e
}

// phrases are the standard ones (RFC 3261 §21 and its extensions). They stand
// where the words of a peer must not pass between LAN and WAN.
var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 200: "OK",
	400: "Bad Request", 403: "Forbidden", 404: "Not Found", 406: "Not Acceptable", 408: "Request Timeout", 410: "Gone",
	415: "Unsupported Media Type", 422: "Session Interval Too Small", 433: "Anonymity Disallowed",
	480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
	484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
	491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway",
	503: "Service Unavailable", 504: "Server Time-out", 600: "Busy Everywhere", 603: "Decline",
	604: "Does Not Exist Anywhere", 606: "Not Acceptable", 607: "Unwanted", 608: "Rejected",
}

func phraseOf(status int) string {
	if p := phrases[status]; p != "" {
		return p
	}
	return map[bool]string{true: "Progress", false: "Failed"}[status < 200]
}

// causes is the Reason of a message as it may be passed on (RFC 3326): the
// numbers of SIP and Q.850, without the sender's words.
func causes(m interface{ GetHeaders(string) []sip.Header }) sip.Header {
	var out []string
	for _, h := range m.GetHeaders("Reason") {
		for v := range strings.SplitSeq(h.Value(), ",") {
			protocol, params, _ := strings.Cut(v, ";")
			if protocol = strings.TrimSpace(protocol); protocol != "SIP" && protocol != "Q.850" {
				continue
			}
			for p := range strings.SplitSeq(params, ";") {
				k, n, _ := strings.Cut(strings.TrimSpace(p), "=")
				if _, ok := parseNumber(n, 999); strings.EqualFold(k, "cause") && ok && len(out) < 4 {
					out = append(out, protocol+";cause="+n)
				}
			}
		}
	}
	if out == nil {
		return nil
	}
	return sip.NewHeader("Reason", strings.Join(out, ", "))
}

// printable cuts what a peer wrote down to what may stand in a status line
// and in the story.
func printable(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			continue
		}
		if out = append(out, r); len(out) == 120 {
			break
		}
	}
	return string(out)
}
