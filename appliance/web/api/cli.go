package api

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"patchbay/dhcp/mac"
)

// The functions below are the subcommands that print what a running box says.
// Each writes plain text for a terminal and returns an error that can be
// printed as it is. What devices say of themselves is stripped of control
// characters: a terminal obeys them.

// PrintStatus writes the state of the box.
func PrintStatus(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	s, err := c.Snapshot(ctx)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("box", fmt.Sprintf("%s, version %s, running for %s", s.Name, s.Version, Span(s.Now.Sub(s.Started))))
	t.row("gateway", tunnelWords(s))
	for _, r := range s.Tunnel.Registrations {
		state := "registered at the gateway"
		if !r.OK {
			state = "NOT registered at the gateway: " + r.Detail
		}
		t.row("", r.Name+" ("+r.AOR+") "+state)
	}
	n := s.Phones
	t.row("phones", fmt.Sprintf("%d: %d signed in, %d onboarded, %d offline, %d never registered", n.Total, n.SignedIn, n.Onboarded, n.Offline, n.Seen))
	troubles, err := c.Troubles(ctx)
	if err != nil {
		return err
	}
	t.network(s, troubles)
	t.row("calls", fmt.Sprintf("%d now", len(s.Calls)))
	for _, call := range s.Calls {
		t.row("", callWords(call, s.Now))
	}
	if len(s.Problems) == 0 {
		t.row("problems", "none")
	}
	for _, p := range s.Problems {
		t.row("problem", fmt.Sprintf("%s: %s", strings.ToUpper(p.Severity.String()), p.Text))
		t.row("", p.Fix)
	}
	return t.flush()
}

func tunnelWords(s Snapshot) string {
	switch t := s.Tunnel; {
	case !t.Configured:
		return "none configured"
	case t.Up:
		return fmt.Sprintf("%s, up for %s", t.Gateway, Span(s.Now.Sub(t.Since)))
	case t.Since.IsZero():
		return fmt.Sprintf("%s, DOWN: %s", t.Gateway, t.Detail)
	default:
		return fmt.Sprintf("%s, DOWN for %s: %s", t.Gateway, Span(s.Now.Sub(t.Since)), t.Detail)
	}
}

func callWords(c Call, now time.Time) string {
	state := "ringing for " + Span(now.Sub(c.Start))
	if !c.Answered.IsZero() {
		state = "connected for " + Span(now.Sub(c.Answered))
	}
	if c.Emergency {
		state = "EMERGENCY, " + state
	}
	return fmt.Sprintf("%s to %s, %s", partyWords(c.From), partyWords(c.To), state)
}

func partyWords(p Party) string {
	if p.Name == "" {
		return p.Number
	}
	return p.Name + " (" + p.Number + ")"
}

// PrintPhones writes the inventory, or what of it matches the text.
func PrintPhones(ctx context.Context, w io.Writer, socket, text string) error {
	c := NewClient(socket)
	defer c.Close()
	t := newTable(w)
	t.row("MAC", "PHONE", "ADDRESS", "STATE", "LINE", "LAST SEEN")
	for offset := 0; ; {
		page, err := c.Phones(ctx, Query{Text: text, Offset: offset, Limit: MaxLimit})
		if err != nil {
			return err
		}
		for _, p := range page.Phones {
			t.row(p.MAC.String(), p.Vendor+" "+p.Model, addrWords(p), string(p.State), lineWords(p), When(p.LastSeen))
		}
		offset += len(page.Phones)
		if len(page.Phones) == 0 || offset >= page.Total {
			break
		}
	}
	return t.flush()
}

func addrWords(p Phone) string {
	if !p.IP.IsValid() {
		return "-"
	}
	return p.IP.String()
}

func lineWords(p Phone) string {
	var names []string
	for _, a := range p.Accounts {
		if a.Line != nil {
			names = append(names, a.Line.Name)
		}
	}
	if names == nil {
		return "-"
	}
	return strings.Join(names, ", ")
}

// PrintPhone writes one phone and its story, oldest first; with follow it goes
// on with what happens until ctx ends.
func PrintPhone(ctx context.Context, w io.Writer, socket string, m mac.Addr, follow bool) error {
	c := NewClient(socket)
	defer c.Close()
	p, err := c.Phone(ctx, m)
	if err != nil {
		return fmt.Errorf("phone %v: %w", m, err)
	}
	s, err := c.Story(ctx, m, 0, MaxLimit)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("phone", m.String()+" "+strings.TrimSpace(p.Vendor+" "+p.Model+" "+p.Firmware))
	if p.FirmwareGap != "" {
		t.row("firmware", p.FirmwareGap)
	}
	if p.IP.IsValid() {
		t.row("address", p.IP.String()+" ("+p.Evidence+")")
	}
	for _, a := range p.Accounts {
		t.row(fmt.Sprintf("account %d", a.Slot), accountWords(a))
	}
	if p.NoEmergency {
		t.row("emergency", "it never registered here, so it can't call emergency services through this box")
	}
	if p.Stale {
		t.row("stale", "not heard of for too long; look whether it is still there")
	}
	help, err := c.Help(ctx, m)
	if err != nil {
		return err
	}
	for _, v := range help {
		t.row("emergency", fmt.Sprintf("account %d: %s; number shown: %s; location: %s", v.Slot, v.Way(), cmp.Or(v.Shown, "none"), v.Location))
	}
	d := Diagnose(p, s.Entries)
	t.row("diagnosis", d.Text)
	if d.Fix != "" {
		t.row("next", d.Fix)
	}
	t.row("", "")
	if err := t.flush(); err != nil {
		return err
	}
	var last int64
	for i := len(s.Entries) - 1; i >= 0; i-- {
		if err := printEntry(w, s.Entries[i]); err != nil {
			return err
		}
		last = s.Entries[i].Seq
	}
	if !follow {
		return nil
	}
	return c.Follow(ctx, m, last, func(e Entry) error { return printEntry(w, e) })
}

func accountWords(a Account) string {
	words := "nobody is signed in"
	if a.Line != nil {
		words = a.Line.Name + " " + strings.TrimSpace(a.Line.Number+" "+a.Line.Extension)
	}
	words += ", " + string(a.State)
	if a.Transport != "" {
		words += " by " + strings.ToUpper(a.Transport)
	}
	if a.FlowLost {
		words += ", connection lost"
	}
	return words
}

func printEntry(w io.Writer, e Entry) error {
	_, err := fmt.Fprintf(w, "%s  %-5s  %-8s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Proto, e.Direction, Printable(e.Words))
	return err
}

// PrintLines writes all lines.
func PrintLines(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	lines, err := c.Lines(ctx)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("ID", "NAME", "NUMBER", "EXTENSION", "AT THE GATEWAY", "PHONES")
	for _, l := range lines {
		var on []string
		for _, a := range l.Accounts {
			on = append(on, a.String())
		}
		name := l.Name
		if l.Site {
			name += " (site line)"
		}
		t.row(fmt.Sprint(l.ID), name, dash(l.Number), dash(l.Extension), dash(l.AOR), dash(strings.Join(on, ", ")))
	}
	return t.flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// table lines up columns; a failed write is reported by flush.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t table) row(cells ...string) {
	for i := range cells {
		cells[i] = Printable(cells[i])
	}
	_, _ = fmt.Fprintln(t.w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

func (t table) flush() error { return t.w.Flush() }

// Printable replaces what would steer a terminal or turn the direction of a
// text: control and format characters.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return '\ufffd'
		}
		return r
	}, s)
}

// When says a time of the past in the local zone: the day only if it is not
// today.
func When(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	t = t.Local()
	if time.Since(t) < 24*time.Hour && t.Day() == time.Now().Day() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// Span says a duration in its two largest units.
func Span(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	days, hours, minutes, seconds := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case days > 0:
		return units(days, "d", hours, "h")
	case hours > 0:
		return units(hours, "h", minutes, "min")
	case minutes > 0:
		return units(minutes, "min", seconds, "s")
	default:
		return fmt.Sprintf("%d s", seconds)
	}
}

func units(n int, unit string, rest int, small string) string {
	if rest == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, rest, small)
}
