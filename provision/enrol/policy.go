package enrol

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotAllowed: the policy of the line or the site does not let SIP devices
// be used for its calls.
var ErrNotAllowed = errors.New("SIP devices can't be used for calls by this line")

// Permission answers a yes-or-no question of a policy; the empty one leaves
// the answer to the site.
type Permission string

// The permissions.
const (
	AsSite  Permission = ""
	Allowed Permission = "allowed"
	Denied  Permission = "denied"
)

// Policy is what a line may do and how its phones behave. It is comparable:
// lists are texts with spaces between their items. An empty field leaves the
// matter to the site, and there to the box.
type Policy struct {
	SIPDevices      Permission `json:"sip_devices,omitempty"`       // may desk phones be used for its calls
	ForwardAlways   string     `json:"forward_always,omitempty"`    // number
	ForwardBusy     string     `json:"forward_busy,omitempty"`      // number
	ForwardNoAnswer string     `json:"forward_no_answer,omitempty"` // number
	Voicemail       string     `json:"voicemail,omitempty"`         // number
	Language        string     `json:"language,omitempty"`          // ISO 639-1
	Emergency       string     `json:"emergency,omitempty"`         // more numbers that go out as emergency calls
	Location        string     `json:"location,omitempty"`          // where emergency services are sent to
	Codes           string     `json:"codes,omitempty"`             // feature codes that may be dialled, such as "*55 *56"; empty: all
}

// Validate reports every value that can't work, joined; each wraps ErrInvalid.
func (p Policy) Validate() error {
	var f faults
	f.check(slices.Contains([]Permission{AsSite, Allowed, Denied}, p.SIPDevices), "SIP devices %q: write allowed or denied", p.SIPDevices)
	for _, v := range []struct{ what, number string }{
		{"forwarding", p.ForwardAlways}, {"forwarding when busy", p.ForwardBusy}, {"forwarding when nobody answers", p.ForwardNoAnswer}, {"voicemail", p.Voicemail},
	} {
		f.check(v.number == "" || isDigits(strings.TrimPrefix(strings.TrimPrefix(v.number, "+"), "*"), 2, 15), "%s to %q: write a number, such as +4930123456", v.what, v.number)
	}
	f.check(p.Language == "" || isLanguage(p.Language), "language %q: write two small letters, such as de", p.Language)
	for n := range strings.FieldsSeq(p.Emergency) {
		f.check(isDigits(n, 2, 8), "emergency number %q: write digits", n)
	}
	f.check(printable(p.Location), "location %q: use up to %d printable characters", p.Location, maxText)
	for code := range strings.FieldsSeq(p.Codes) {
		f.check(strings.HasPrefix(code, "*") && isDigits(code[1:], 1, 4), "feature code %q: write a star and digits, such as *55", code)
	}
	f.check(len(p.Emergency)+len(p.Codes) <= 4*maxText, "the lists of numbers and codes are too long")
	return errors.Join(f...)
}

func isLanguage(s string) bool {
	return len(s) == 2 && s[0] >= 'a' && s[0] <= 'z' && s[1] >= 'a' && s[1] <= 'z'
}

// over fills what a policy leaves open from another one.
func (p Policy) over(site Policy) Policy {
	return Policy{
		SIPDevices:    cmp.Or(p.SIPDevices, site.SIPDevices),
		ForwardAlways: cmp.Or(p.ForwardAlways, site.ForwardAlways), ForwardBusy: cmp.Or(p.ForwardBusy, site.ForwardBusy),
		ForwardNoAnswer: cmp.Or(p.ForwardNoAnswer, site.ForwardNoAnswer), Voicemail: cmp.Or(p.Voicemail, site.Voicemail),
		Language: cmp.Or(p.Language, site.Language), Emergency: cmp.Or(p.Emergency, site.Emergency),
		Location: cmp.Or(p.Location, site.Location), Codes: cmp.Or(p.Codes, site.Codes),
	}
}

// PolicyOf is what holds for a line: its own policy over that of the site.
func (d *Directory) PolicyOf(l Line) Policy {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return l.Policy.over(d.site)
}

// SitePolicy is the policy of the site alone.
func (d *Directory) SitePolicy() Policy {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.site
}

// Allowed reports whether desk phones may be used for the calls of a line.
func (d *Directory) Allowed(l Line) bool { return d.PolicyOf(l).SIPDevices != Denied }

// MayDial reports whether the policy lets an account dial a feature code.
// Those by which it is enrolled, signed in and signed out are always allowed.
func (d *Directory) MayDial(l Line, code string) bool {
	codes := d.PolicyOf(l).Codes
	return codes == "" || slices.Contains([]string{"*55", "*56", "*57"}, code) || slices.Contains(strings.Fields(codes), code)
}

// SetSitePolicy writes the policy of the site. Lines that may not use SIP
// devices any more are signed out.
func (d *Desk) SetSitePolicy(ctx context.Context, p Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	done, err := d.turns.take(ctx, lineTurn)
	if err != nil {
		return err
	}
	var was Policy
	err = d.store.PutSitePolicy(ctx, p)
	if err == nil {
		done := d.edit()
		was, d.site = d.site, p
		done()
	}
	done()
	if err != nil {
		return fmt.Errorf("write the policy of the site: %w", err)
	}
	if was.Language != p.Language {
		for _, l := range d.Lines() {
			if l.Policy.Language == "" {
				d.resync(d.OnLine(l.ID)...)
			}
		}
	}
	return d.enforce(ctx)
}
