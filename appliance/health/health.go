// Package health holds the word for what is wrong with the box: a [Problem].
//
// It is a leaf: it imports nothing of ours and starts no goroutine. The
// packages report their state; appliance turns states into problems.
package health

import "time"

// Severity orders problems by what they cost the people on site.
type Severity uint8

// The severities, mildest first.
const (
	Notice   Severity = iota // worth knowing, nothing is lost
	Warning                  // something does not work as it should
	Critical                 // calls, addresses or emergency calls are lost now
)

var severityText = [...]string{"notice", "warning", "critical"}

// String returns a lower-case word.
func (s Severity) String() string {
	if int(s) < len(severityText) {
		return severityText[s]
	}
	return "unknown"
}

// MarshalText implements [encoding.TextMarshaler].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Problem is one thing that is wrong now, said to the person who can act.
type Problem struct {
	Code     string    `json:"code"` // constant, such as "gateway-down"
	Severity Severity  `json:"severity"`
	Since    time.Time `json:"since,omitzero"`
	Text     string    `json:"text"` // what is wrong, one sentence
	Fix      string    `json:"fix"`  // the next thing to do, one sentence
}
