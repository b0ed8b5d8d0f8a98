package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"patchbay/dhcp/mac"
)

// Line is what an administrator says about a user of the gateway.
type Line struct {
	AOR          string
	DisplayName  string
	Number       string // E.164 with +
	Extension    string
	AuthUser     string
	AuthPassword string
}

// Admin is what the demonstration asks of whoever looks after the box.
type Admin interface {
	// AddLine stores a line and returns its id.
	AddLine(ctx context.Context, l Line) (int64, error)
	// AddPhone takes a phone into the inventory; one that is there already is
	// no error.
	AddPhone(ctx context.Context, m mac.Addr) error
	// Assign pairs an account of a phone with a line.
	Assign(ctx context.Context, a mac.Account, line int64) error
}

// Options are the surroundings of the demonstration.
type Options struct {
	DHCPServer netip.AddrPort
	Gateway    *Gateway
	Admin      Admin
	Out        io.Writer
	Once       bool          // return after the calls instead of staying until ctx ends
	Talk       time.Duration // audio of each call, per direction; 3 s if zero
	Log        *slog.Logger
}

// The people of the demonstration. Their numbers belong to the ranges that
// the Bundesnetzagentur keeps free for films and books.
var people = []struct {
	phone func() Personality
	user  string
	line  Line
}{
	{YealinkT46U, "anna", Line{DisplayName: "Anna Albers", Number: "+493023125011", Extension: "11"}},
	{PolyEdgeE450, "boris", Line{DisplayName: "Boris Brandt", Number: "+493023125012", Extension: "12"}},
	{CiscoCP8841, "clara", Line{DisplayName: "Clara Conrad", Number: "+493023125013", Extension: "13"}},
}

// outside is a subscriber of the public telephone network.
const outside = "+494066969123"

// demo is the state of one run.
type demo struct {
	opt     Options
	began   time.Time
	mu      sync.Mutex // guards Out
	phones  []*Phone
	results Results
}

// Run plays the demonstration: three phones of different vendors come up at
// the same time and register; each gets a line; then the first calls the
// second by its extension, the third calls a number through the gateway, and
// the gateway calls the first by its number. What each end said is compared
// with what the other heard. Everything that happens is told to Out, a line
// for a step, and a table at the end.
//
// Results are worth reading whatever the error: that is for what kept the
// demonstration from going on, while a call that failed is in the table.
func Run(ctx context.Context, opt Options) (Results, error) {
	opt.Talk = cmp.Or(opt.Talk, 3*time.Second)
	d := &demo{opt: opt, began: time.Now(), results: Results{Talk: opt.Talk}}
	defer func() {
		for _, p := range d.phones {
			p.Close()
		}
	}()
	if opt.Gateway == nil || opt.Admin == nil {
		return d.results, errors.New("demonstration: a gateway and an administrator are needed")
	}
	opt.Gateway.Observe(d.tell)
	defer opt.Gateway.Observe(nil)
	err := d.play(ctx)
	d.results.Elapsed = time.Since(d.began)
	if ctx.Err() != nil {
		return d.results, fmt.Errorf("demonstration: %w", ctx.Err())
	}
	d.print("\n" + d.results.String())
	if err != nil {
		return d.results, fmt.Errorf("demonstration: %w", err)
	}
	if !opt.Once {
		d.print("\nThe phones stay registered until you press Ctrl-C.\n")
		<-ctx.Done()
	}
	return d.results, nil
}

func (d *demo) play(ctx context.Context) error {
	if err := d.boot(ctx); err != nil {
		return err
	}
	if err := d.assign(ctx); err != nil {
		return err
	}
	gw, first, second, third := d.opt.Gateway, d.phones[0], d.phones[1], d.phones[2]
	d.call(ctx, fmt.Sprintf("%v calls %v by extension %s", first, second, people[1].line.Extension), second.NextCall,
		func(ctx context.Context, talk time.Duration) (*Call, error) {
			return first.Dial(ctx, 1, people[1].line.Extension, talk)
		})
	d.call(ctx, fmt.Sprintf("%v calls %s through the gateway", third, outside), gw.NextCall,
		func(ctx context.Context, talk time.Duration) (*Call, error) { return third.Dial(ctx, 1, outside, talk) })
	d.call(ctx, fmt.Sprintf("the gateway calls %v by number", first), first.NextCall,
		func(ctx context.Context, talk time.Duration) (*Call, error) {
			return gw.Dial(ctx, outside, people[0].line.Number, talk)
		})
	return nil
}

// boot switches all phones on at once.
func (d *demo) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, person := range people {
		d.phones = append(d.phones, NewPhone(person.phone(), PhoneConfig{DHCP: d.opt.DHCPServer, OnStep: d.tell, Log: d.opt.Log}))
	}
	rows := make([]Row, len(d.phones))
	var group errgroup.Group
	for i, p := range d.phones {
		group.Go(func() error {
			began := time.Now()
			err := p.Boot(ctx)
			rows[i] = Row{What: fmt.Sprintf("%v comes up and registers", p), OK: err == nil}
			if err != nil {
				rows[i].Figures = err.Error()
				return err
			}
			rows[i].Figures = fmt.Sprintf("%v in %.2f s", p.IP(), time.Since(began).Seconds())
			return nil
		})
	}
	err := group.Wait()
	d.results.Rows = append(d.results.Rows, rows...)
	return err
}

// assign makes a line for each phone, here and at the gateway.
func (d *demo) assign(ctx context.Context) error {
	for i, person := range people {
		l := person.line
		l.AOR = "sip:" + person.user + "@" + d.opt.Gateway.Domain()
		l.AuthUser, l.AuthPassword = person.user, rand.Text()
		d.opt.Gateway.AddLine(GatewayLine{User: person.user, Name: l.DisplayName, Number: l.Number, AuthUser: l.AuthUser, Password: l.AuthPassword})
		id, err := d.opt.Admin.AddLine(ctx, l)
		if err != nil {
			return fmt.Errorf("add the line of %s: %w", l.DisplayName, err)
		}
		p := d.phones[i]
		if err := d.opt.Admin.AddPhone(ctx, p.MAC()); err != nil {
			return fmt.Errorf("add %v: %w", p, err)
		}
		if err := d.opt.Admin.Assign(ctx, mac.Account{MAC: p.MAC(), Slot: 1}, id); err != nil {
			return fmt.Errorf("give %v its line: %w", p, err)
		}
		d.tell(Step{Time: time.Now(), Who: "Administrator", Proto: "page", Text: fmt.Sprintf("gives %v the line of %s (%s, extension %s)", p, l.DisplayName, l.Number, l.Extension)})
	}
	d.settle(ctx)
	return nil
}

// settle waits until the gateway and the phones know their lines. What does
// not come is in the table, and the calls are tried all the same.
func (d *demo) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var known, shown errgroup.Group
	for i, person := range people {
		known.Go(func() error { return d.opt.Gateway.WaitRegistered(ctx, person.line.Number) })
		// A phone that is told to fetch its new label may start anew for it,
		// so the calls wait until all have settled.
		shown.Go(func() error { return d.phones[i].waitSettled(ctx, person.line) })
	}
	for _, w := range []struct {
		what string
		wait func() error
	}{{"the gateway knows the three lines", known.Wait}, {"the phones show their lines", shown.Wait}} {
		err := w.wait()
		d.results.Rows = append(d.results.Rows, Row{What: w.what, OK: err == nil, Figures: errText(err)})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// waitSettled waits until the first account shows something of its line.
func (p *Phone) waitSettled(ctx context.Context, l Line) error {
	err := p.await(ctx, func() bool {
		reg := p.registration(1)
		if reg == nil || !reg.reachable() {
			return false
		}
		label := reg.snapshot().Label
		return strings.Contains(label, l.DisplayName) || strings.Contains(label, l.Extension) || strings.Contains(label, l.Number)
	})
	if err != nil {
		shown := ""
		if reg := p.registration(1); reg != nil {
			shown = reg.snapshot().Label
		}
		return fmt.Errorf("%v shows %q, and not %s: %w", p, shown, l.DisplayName, err)
	}
	return nil
}

// call makes one call, waits for its end and compares both directions.
func (d *demo) call(ctx context.Context, what string, callee func(context.Context) (*Call, error),
	dial func(context.Context, time.Duration) (*Call, error),
) {
	row := Row{What: what}
	defer func() { d.results.Rows = append(d.results.Rows, row) }()
	ctx, cancel := context.WithTimeout(ctx, d.opt.Talk+20*time.Second)
	defer cancel()
	// A little more than what has to be heard, because the ends do not start
	// and stop at the same instant.
	there, err := dial(ctx, d.opt.Talk+300*time.Millisecond)
	if err != nil {
		row.Figures = errText(err)
		return
	}
	here, err := callee(ctx)
	if err != nil {
		there.Hangup()
		row.Figures = "answered by somebody else: " + errText(err)
		return
	}
	if err := errors.Join(there.Wait(ctx), here.Wait(ctx)); err != nil {
		row.Figures = errText(err)
		return
	}
	forth, err := Measure(there, here)
	if err != nil {
		row.Figures = errText(err)
		return
	}
	back, err := Measure(here, there)
	if err != nil {
		row.Figures = errText(err)
		return
	}
	row.Forth, row.Back, row.Setup = &forth, &back, there.Setup
	row.OK = forth.OK(d.opt.Talk) && back.OK(d.opt.Talk)
	row.Figures = fmt.Sprintf("compare: there %v; back %v", forth, back)
	d.tell(Step{Time: time.Now(), Who: "Both ends", Proto: "rtp", Text: row.Figures})
}

// tell writes a step as one line.
func (d *demo) tell(s Step) {
	d.print(fmt.Sprintf("%8.3f  %-19s %-4s  %s\n", s.Time.Sub(d.began).Seconds(), s.Who, s.Proto, s.Text))
}

func (d *demo) print(text string) {
	if d.opt.Out == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = io.WriteString(d.opt.Out, text) // a closed terminal is no fault of the calls
}
