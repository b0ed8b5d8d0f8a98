package sipedge

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
)

// Forward is what the user of a line wants to happen to calls. Numbers are as
// they would be dialled at a phone of the line; empty ones mean no.
type Forward struct {
	Always   string
	Busy     string
	NoAnswer string        // also where no phone of the line is registered
	After    time.Duration // how long it rings before NoAnswer; 0: 20 s
	Also     []string      // ring together with the phones of the line
	// DoNotDisturb lets no phone ring: callers go to Busy or are told that
	// the line is busy.
	DoNotDisturb bool
}

// Forwarding tells what the users of lines want. It is asked when a call
// comes, and must neither block nor touch the disk.
type Forwarding interface {
	Forward(lineID int64) Forward
}

// The causes of a diversion (RFC 4458 §2, with the words of RFC 5806).
const (
	forwardAlways   = 302
	forwardBusy     = 486
	forwardNoAnswer = 408
	deflected       = 480 // by the phone, with a 3xx answer
)

var diversionWords = map[int]string{
	forwardAlways: "unconditional", forwardBusy: "user-busy", forwardNoAnswer: "no-answer", deflected: "deflection",
}

// maxDiversions is how often one call may be forwarded.
const maxDiversions = 5

// usualAfter is how long a phone rings before a call is forwarded: three
// times to five times in most countries.
const usualAfter = 20 * time.Second

// diversion is one step of a call that was forwarded.
type diversion struct {
	line  Line // that it was for
	cause int
}

// forwarded is why ringing at a line ends: the call goes elsewhere.
type forwarded struct {
	to    string
	cause int
	best  error // what the caller is told if that is no way
}

// Error implements error.
func (f *forwarded) Error() string { return fmt.Sprintf("forwarded to %s (%d)", f.to, f.cause) }

// forwardOf is what holds for the line that is called. A call-back of the
// emergency services goes to the phone itself.
func (c *call) forwardOf(r Route) Forward {
	if c.s.cfg.Forward == nil || r.Line.ID == 0 || r.CallBack {
		return Forward{}
	}
	return c.s.cfg.Forward.Forward(r.Line.ID)
}

// ringLine rings at the phones of the called line, or says where to go instead.
func (c *call) ringLine() error {
	f := c.forwardOf(c.route)
	switch {
	case f.Always != "":
		return &forwarded{f.Always, forwardAlways, errNobodyThere}
	case f.DoNotDisturb && f.Busy != "":
		return &forwarded{f.Busy, forwardBusy, errDoNotDisturb}
	case f.DoNotDisturb:
		return errDoNotDisturb
	}
	limit := c.s.cfg.Ring
	if f.NoAnswer != "" {
		if f.After <= 0 {
			f.After = usualAfter
		}
		limit = min(limit, f.After)
	}
	t := c.newTry(c.a, c.offer, c.route)
	t.phones()
	t.also(f.Also)
	err := c.ring(t, limit)
	e := statusOf(err)
	var to *forwarded
	switch {
	case err == nil || errors.As(err, &to):
		return err
	case e.Reason == story.Busy && f.Busy != "":
		return &forwarded{f.Busy, forwardBusy, err}
	case (e.Reason == story.NoAnswer || e.Reason == story.NobodyThere) && f.NoAnswer != "":
		return &forwarded{f.NoAnswer, forwardNoAnswer, err}
	}
	return err
}

// also lets other numbers ring together with the phones of the line.
func (t *try) also(numbers []string) {
	c := t.c
	for _, n := range numbers[:min(len(numbers), 8)] {
		route, err := c.s.router.FromPhone(Identity{LineID: c.route.Line.ID}, n)
		if err != nil || route.Emergency || route.Feature != "" {
			c.log.Info("does not ring too", "number", n, "err", err)
			continue
		}
		own := t.route
		t.route = route
		t.add(own.Line)
		t.route = own
	}
}

// add makes the branches for the route of the try, under the line that pays.
func (t *try) add(as Line) {
	switch {
	case t.route.Trunk:
		t.branches = append(t.branches, t.overTrunk(as))
	case t.route.Outward():
		t.branches = append(t.branches, t.outward(t.route.As[0]))
	default:
		t.phones()
	}
}

// follow routes a forwarded call anew, under the line that forwards it.
func (c *call) follow(to *forwarded) error {
	line := c.route.Line
	known := slices.ContainsFunc(c.diverted, func(d diversion) bool { return d.line.ID == line.ID })
	if known || len(c.diverted)+c.divertedBefore() >= maxDiversions {
		return errForwardLoop
	}
	route, err := c.s.router.FromPhone(Identity{LineID: line.ID}, to.to)
	if err != nil && !errors.Is(err, errNobodyThere) || route.Emergency || route.Feature != "" {
		c.log.Info("forwarded to where no call can go", "number", to.to, "err", err)
		return to.best
	}
	c.diverted = append(c.diverted, diversion{line, to.cause})
	c.route = route
	c.mu.Lock()
	c.record.To = called(route)
	if route.Outward() {
		c.record.Via = "gateway"
	}
	c.mu.Unlock()
	for _, a := range c.s.accounts.OnLine(line.ID) {
		c.tell(a, story.Local, story.CallForwarded, story.Args{Number: to.to})
	}
	c.sendProvisional(c.response(181, "Call Is Being Forwarded"))
	return nil
}

// divertedBefore counts the diversions that a call brings along.
func (c *call) divertedBefore() int {
	n := 0
	for _, h := range c.r.GetHeaders("Diversion") {
		n += 1 + strings.Count(h.Value(), ",")
	}
	return n
}

// redirection takes the new number out of a 3xx answer of a phone that
// forwards its calls by itself.
func redirection(res *sip.Response, l *leg) *forwarded {
	if res.StatusCode < 300 || res.StatusCode > 302 || l.gateway || l.trunk {
		return nil
	}
	c := res.Contact()
	if c == nil {
		return nil
	}
	number := dialledUser(c.Address)
	if number == "" {
		return nil
	}
	return &forwarded{number, deflected, passStatus(res, false)}
}

// history says how the call got to where it rings (RFC 7044), also in the
// older way (RFC 5806) that most phones and gateways read. Each side is told
// in its own words: the gateway by the lines' addresses there, phones by extension.
func (t *try) history(b *branch) []sip.Header {
	var out []sip.Header
	n := len(t.c.diverted)
	if n == 0 {
		return t.divertedBefore(b)
	}
	index, entries := "1", make([]string, 0, n+1)
	for i, d := range t.c.diverted {
		uri := t.uriOf(d.line, b)
		entry := uri.String()
		if i > 0 {
			entry += ";cause=" + strconv.Itoa(t.c.diverted[i-1].cause)
		}
		if d.cause == forwardBusy || d.cause == forwardNoAnswer {
			entry += "?Reason=SIP%3Bcause%3D" + strconv.Itoa(d.cause)
		}
		entries = append(entries, "<"+entry+">;index="+index)
		index += ".1"
	}
	last := b.leg.remote.uri.String() + ";cause=" + strconv.Itoa(t.c.diverted[n-1].cause)
	entries = append(entries, "<"+last+">;index="+index+";mp="+strings.TrimSuffix(index, ".1"))
	out = append(out, sip.NewHeader("History-Info", strings.Join(entries, ", ")))
	for i := n - 1; i >= 0; i-- { // the latest first (RFC 5806 §4)
		d := t.c.diverted[i]
		p := party{d.line.DisplayName, t.uriOf(d.line, b)}
		out = append(out, sip.NewHeader("Diversion", p.from("").Value()+
			";reason="+diversionWords[d.cause]+";counter=1;privacy=off;screen=no"))
	}
	return out
}

// divertedBefore passes on to a phone what the gateway says about a call that
// was forwarded to the line: the number, not where it is.
func (t *try) divertedBefore(b *branch) []sip.Header {
	var out []sip.Header
	if b.leg.gateway || !t.c.a.gateway {
		return nil
	}
	for _, h := range t.c.r.GetHeaders("Diversion") {
		var uri sip.Uri
		var params sip.HeaderParams
		name, err := sip.ParseAddressValue(h.Value(), &uri, &params)
		if err != nil || len(out) == maxDiversions {
			break
		}
		reason, _ := params.Get("reason")
		if !isToken(reason) {
			reason = "unknown"
		}
		p := party{unquoteName(name), sip.Uri{Scheme: "sip", User: printable(dialledUser(uri)), Host: b.leg.peer.Local.Addr().String()}}
		out = append(out, sip.NewHeader("Diversion", p.from("").Value()+";reason="+reason))
	}
	return out
}

// uriOf is the address of a line as the side of a branch knows it.
func (t *try) uriOf(l Line, b *branch) sip.Uri {
	if !b.leg.gateway {
		number := l.Extension
		if number == "" {
			number = called(Route{Line: l}).Number
		}
		return sip.Uri{Scheme: "sip", User: number, Host: b.leg.peer.Local.Addr().String()}
	}
	uri := aorURI(l.AOR, t.c.s.uplink.Domain())
	if l.Number != "" {
		uri.User, uri.Host = l.Number, t.c.s.uplink.Domain()
	}
	return uri
}
