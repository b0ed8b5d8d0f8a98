package story

import (
	"fmt"
	"strings"
	"time"
)

// words maps each code to the function that says it in English.
// It is built from the tables that stand beside the codes of each protocol.
var words = merge(dhcpWords, provisionWords, sipWords, adminWords)

// reasons maps each reason to its words, in the same way.
var reasons = merge(dhcpReasons, provisionReasons, sipReasons, adminReasons)

func merge[K comparable, V any](tables ...map[K]V) map[K]V {
	all := make(map[K]V)
	for _, t := range tables {
		for k, v := range t {
			all[k] = v
		}
	}
	return all
}

// Words says the event in one plain English sentence for a technician.
// A code of a newer version, found in the database after a downgrade, is
// shown as it is.
func (e Event) Words() string {
	say, ok := words[e.Code]
	if !ok {
		return string(e.Code)
	}
	s := say(e.Args)
	if e.Args.Reason != "" && !strings.Contains(s, e.Args.Reason.Words()) {
		s += ": " + e.Args.Reason.Words()
	}
	return s
}

// Words says the reason in plain English, without a capital or a full stop.
func (r Reason) Words() string {
	if s, ok := reasons[r]; ok {
		return s
	}
	return string(r)
}

// plain is the say function of a code whose sentence needs no argument.
func plain(s string) func(Args) string { return func(Args) string { return s } }

// with is the say function of a code whose sentence is a format of arguments.
func with(format string, args ...func(Args) any) func(Args) string {
	return func(a Args) string {
		v := make([]any, len(args))
		for i, f := range args {
			v[i] = f(a)
		}
		return fmt.Sprintf(format, v...)
	}
}

// span says a time in the unit that people would choose, rounded: "5 minutes",
// "12 hours", "3 s" below two minutes.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d s", d.Round(time.Second)/time.Second)
}

func ip(a Args) any       { return a.IP }
func file(a Args) any     { return a.File }
func number(a Args) any   { return a.Number }
func status(a Args) any   { return a.Status }
func size(a Args) any     { return a.Bytes }
func slot(a Args) any     { return a.Account.Slot }
func name(a Args) any     { return a.Name }
func via(a Args) any      { return strings.ToUpper(a.Via) }
func evidence(a Args) any { return a.Evidence }
func firmware(a Args) any { return a.Firmware }
func model(a Args) any    { return strings.TrimSpace(a.Vendor + " " + a.Model) }
