package lab

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Results is what the demonstration found.
type Results struct {
	Rows    []Row
	Talk    time.Duration // how much audio each direction of a call had to carry
	Elapsed time.Duration
}

// Row is one thing that had to succeed.
type Row struct {
	What    string
	OK      bool
	Figures string        // measured, or what went wrong
	Forth   *Quality      // of a call: what the called heard; nil if it did not come about
	Back    *Quality      // and what the caller heard
	Setup   time.Duration // and how long it took to be answered
}

// wanted is the number of rows of a whole run: three phones, the lines at the
// gateway and on the phones, three calls.
const wanted = 8

// OK reports whether everything was tried and succeeded.
func (r Results) OK() bool {
	for _, row := range r.Rows {
		if !row.OK {
			return false
		}
	}
	return len(r.Rows) == wanted
}

// String returns the table.
func (r Results) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range r.Rows {
		word := "ok"
		if !row.OK {
			word = "FAILED"
		}
		switch {
		case row.Forth != nil && row.Back != nil:
			fmt.Fprintf(w, "%s\t%s\tthere %v\n\t\tback  %v\n\t\tanswered after %d ms\n", word, row.What, row.Forth, row.Back, row.Setup.Milliseconds())
		default:
			fmt.Fprintf(w, "%s\t%s\t%s\n", word, row.What, row.Figures)
		}
	}
	_ = w.Flush() // into memory
	verdict := "everything works"
	if !r.OK() {
		verdict = "NOT everything works"
	}
	fmt.Fprintf(&b, "\n%s, in %.1f s; a direction passes from %.0f dB over %v on\n", verdict, r.Elapsed.Seconds(), MinSNR, r.Talk)
	return b.String()
}
