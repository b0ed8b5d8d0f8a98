package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Wish asks what happens to the calls for a line.
func (c *Client) Wish(ctx context.Context, line int64) (w Wish, err error) {
	return w, c.call(ctx, http.MethodGet, fmt.Sprintf("/lines/%d/calls", line), nil, &w)
}

// PutWish replaces it.
func (c *Client) PutWish(ctx context.Context, line int64, w Wish) (out Wish, err error) {
	return out, c.call(ctx, http.MethodPut, fmt.Sprintf("/lines/%d/calls", line), w, &out)
}

// FindLine is the line with this extension, number, address or ID, in this
// order.
func (c *Client) FindLine(ctx context.Context, name string) (Line, error) {
	lines, err := c.Lines(ctx)
	if err != nil {
		return Line{}, err
	}
	for _, is := range []func(Line) bool{
		func(l Line) bool { return l.Extension == name },
		func(l Line) bool { return l.Number == name },
		func(l Line) bool { return strings.TrimPrefix(l.AOR, "sip:") == strings.TrimPrefix(name, "sip:") },
		func(l Line) bool { return strconv.FormatInt(l.ID, 10) == name },
	} {
		for _, l := range lines {
			if name != "" && is(l) {
				return l, nil
			}
		}
	}
	return Line{}, fmt.Errorf("no line has the extension, number, address or ID %q; `patchbay lines` lists them: %w", name, ErrNotFound)
}

// Set changes one thing, as it is written on a command line: dnd=on,
// forward=0301234567, always=on, no-answer=on, simultaneous=on, after=20. An
// empty number ends all forwarding.
func (w *Wish) Set(setting string) error {
	key, value, _ := strings.Cut(setting, "=")
	flags := map[string]*bool{"dnd": &w.DoNotDisturb, "always": &w.Always, "no-answer": &w.NoAnswer, "simultaneous": &w.Simultaneous}
	switch flag := flags[key]; {
	case flag != nil && (value == "on" || value == "off"):
		*flag = value == "on"
	case flag != nil:
		return fmt.Errorf("%s is on or off, not %q", key, value)
	case key == "forward":
		if w.Number = value; value == "" {
			w.Always, w.NoAnswer, w.Simultaneous = false, false, false
		}
	case key == "after":
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("after is a number of seconds, not %q", value)
		}
		w.After = n
	default:
		return fmt.Errorf("there is no setting %q: dnd, forward, always, no-answer, simultaneous and after are", key)
	}
	return nil
}

// PrintWish shows what happens to the calls for a line, after changing it as
// the settings say.
func PrintWish(ctx context.Context, out io.Writer, socket, line string, settings []string) error {
	c := NewClient(socket)
	defer c.Close()
	l, err := c.FindLine(ctx, line)
	if err != nil {
		return err
	}
	w, err := c.Wish(ctx, l.ID)
	if err != nil {
		return err
	}
	for _, s := range settings {
		if err := w.Set(s); err != nil {
			return err
		}
	}
	if len(settings) > 0 {
		if w, err = c.PutWish(ctx, l.ID, w); err != nil {
			return err
		}
	}
	onOff := map[bool]string{true: "on", false: "off"}
	t := newTable(out)
	t.row("LINE", l.Name)
	t.row("DO NOT DISTURB", onOff[w.DoNotDisturb])
	t.row("FORWARD TO", dash(w.Number))
	t.row("ALL CALLS", onOff[w.Always])
	t.row("NOBODY ANSWERS OR BUSY", onOff[w.NoAnswer])
	t.row("RINGS THERE TOO", onOff[w.Simultaneous])
	after := "20 s"
	if w.After > 0 {
		after = fmt.Sprintf("%d s", w.After)
	}
	t.row("NOBODY ANSWERS AFTER", after)
	return t.flush()
}
