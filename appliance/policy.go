package appliance

import (
	"cmp"
	"strings"

	"patchbay/provision/enrol"
	"patchbay/sipedge"
)

// policyOf is what the phones of a line may dial, by its policy.
func (a *Appliance) policyOf(l sipedge.Line) sipedge.LinePolicy {
	p := a.directory.PolicyOf(a.lineOf(l.ID))
	return sipedge.LinePolicy{Codes: strings.Fields(p.Codes), Voicemail: p.Voicemail, Emergency: strings.Fields(p.Emergency)}
}

// lineOf is a line of the inventory; zero if there is none.
func (a *Appliance) lineOf(id int64) enrol.Line {
	l, _ := a.directory.Line(id)
	return l
}

// forwarding is what happens to calls: what the user of the line set, and
// where nothing is set, what the policy says.
type forwarding struct{ a *Appliance }

// Forward implements sipedge.Forwarding.
func (f forwarding) Forward(line int64) sipedge.Forward {
	out := f.a.settings.Forward(line)
	p := f.a.directory.PolicyOf(f.a.lineOf(line))
	out.Always = cmp.Or(out.Always, p.ForwardAlways)
	out.Busy = cmp.Or(out.Busy, p.ForwardBusy)
	out.NoAnswer = cmp.Or(out.NoAnswer, p.ForwardNoAnswer)
	return out
}
