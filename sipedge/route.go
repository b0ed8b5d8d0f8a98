package sipedge

import (
	"slices"

	"patchbay/dhcp/mac"
)

// Router decides where a call goes. It holds no state of its own and asks
// only what is in memory.
type Router struct {
	plan     DialPlan
	accounts Accounts
	binding  func(mac.Account) (Binding, bool) // where a phone is reached now
	codes    []FeatureCode
	// gateway says whether calls can go out at all; nil: there is no gateway.
	gateway func() bool
	trunk   bool // there is a fallback trunk
	policy  func(Line) LinePolicy
	test    []string // numbers that speak what an emergency call would send
}

// LinePolicy is what the phones of a line may dial.
type LinePolicy struct {
	Codes     []string // feature codes, without what follows them; empty: all
	Voicemail string   // number of the voicemail; empty: there is none
	Emergency []string // numbers that are emergency numbers besides those of the country
}

// allows says whether a code may be dialled. Those by which a phone is set up,
// signed in and signed out always may.
func (p LinePolicy) allows(code FeatureCode) bool {
	switch code.Feature {
	case FeatureEnrol, FeaturePair, FeatureSignOut:
		return true
	}
	return len(p.Codes) == 0 || slices.Contains(p.Codes, code.Code)
}

// Route is the way of one call. Either this box serves it itself (Feature), or phones of this site ring (Targets), or
// the call goes out through the gateway under one of the lines in As.
type Route struct {
	Dialled   Dialled
	Emergency bool
	Line      Line      // the called line; zero if the call goes out
	Targets   []Binding // phones of the line that can be rung now
	CallBack  bool      // by the emergency services: the target rings past all settings
	Trunk     bool      // the call goes out by the fallback trunk
	Feature   string    // what a feature code asks for: nobody is called
	Code      string    // the code itself
	Argument  string    // what was dialled behind the code
	// As are the lines under which the gateway is tried, in this order. More
	// than one only for an emergency call.
	As []Line
}

// Outward says whether the call goes to the gateway.
func (r Route) Outward() bool { return len(r.As) > 0 }

// FromPhone routes what an account dials. The error is a [StatusError].
func (r *Router) FromPhone(id Identity, dialled string) (Route, error) {
	out := Route{Dialled: r.plan.Read(dialled)}
	line, signedIn := r.line(id)
	policy := r.policy(line)
	if slices.Contains(policy.Emergency, out.Dialled.Raw) {
		out.Dialled.Emergency, out.Dialled.Number = true, out.Dialled.Raw
	}
	switch {
	case out.Dialled.Number == "":
		return out, errNumberMissing
	case out.Dialled.Emergency:
		out.Emergency = true
		out.As = r.emergencyLines(line, signedIn)
		return out, nil
	case slices.Contains(r.test, out.Dialled.Raw):
		out.Feature, out.Code = FeatureEmergencyTest, out.Dialled.Raw
		return out, nil
	case out.Dialled.Feature:
		code, argument, ok := matchCode(r.codes, out.Dialled.Raw)
		switch {
		case !ok:
			return out, errNumberUnknown
		case !policy.allows(code):
			return out, errNotAllowed
		case code.Feature == FeatureVoicemail && signedIn && policy.Voicemail != "" && !r.plan.Read(policy.Voicemail).Feature:
			return r.FromPhone(id, policy.Voicemail)
		}
		out.Feature, out.Code, out.Argument = code.Feature, code.Code, argument
		return out, nil
	case !signedIn:
		return out, errNotSignedIn
	}
	if called, ok := r.local(out.Dialled); ok {
		out.Line = called
		var err error
		out.Targets, err = r.targets(called, id.Account)
		return out, err
	}
	switch {
	case r.trunk && (r.gateway == nil || !r.gateway()):
		out.Trunk = true
		return out, nil
	case r.gateway == nil:
		return out, errNumberUnknown
	case !r.gateway():
		return out, errGatewayDown
	}
	out.As = []Line{line}
	return out, nil
}

// FromGateway routes a call that comes in: user is that of the Request-URI,
// to that of the To header, which counts where the Request-URI is only the
// contact of the site line (a trunk). A call from the gateway never goes back
// to it. The error is a [StatusError].
func (r *Router) FromGateway(user, to string) (Route, error) {
	out := Route{Dialled: r.plan.Read(user)}
	line, ok := r.local(out.Dialled)
	if !ok || line.Site {
		if d := r.plan.Read(to); d.Number != "" {
			if l, found := r.local(d); found {
				out.Dialled, line, ok = d, l, true
			}
		}
	}
	if !ok {
		return out, errNumberUnknown
	}
	out.Line = line
	var err error
	out.Targets, err = r.targets(line, mac.Account{})
	return out, err
}

// local finds the line of this site that a number means, as it was dialled
// first: an extension may look like a national number.
func (r *Router) local(d Dialled) (Line, bool) {
	if d.Number == "" {
		return Line{}, false
	}
	if l, ok := r.accounts.Dialled(d.Raw); ok {
		return l, true
	}
	if d.Number == d.Raw {
		return Line{}, false
	}
	return r.accounts.Dialled(d.Number)
}

// line returns the line that an account is signed in to.
func (r *Router) line(id Identity) (Line, bool) {
	if id.LineID == 0 {
		return Line{}, false
	}
	return r.accounts.Line(id.LineID)
}

// targets returns the phones of a line that can be reached, without the one
// that calls. A phone whose connection is lost is not one of them.
func (r *Router) targets(line Line, caller mac.Account) ([]Binding, error) {
	var out []Binding
	own := false
	for _, a := range r.accounts.OnLine(line.ID) {
		if a == caller {
			own = true
			continue
		}
		if b, ok := r.binding(a); ok && !b.FlowLost {
			out = append(out, b)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case own:
		return nil, errOwnNumber
	}
	return nil, errNobodyThere
}

// emergencyLines orders the lines for an emergency call: the caller's own, so
// that the call-back number is that of the person, then the site line.
func (r *Router) emergencyLines(own Line, signedIn bool) []Line {
	if r.gateway == nil {
		return nil
	}
	var out []Line
	if signedIn {
		out = append(out, own)
	}
	for _, l := range r.accounts.Lines() {
		if l.Site && (!signedIn || l.ID != own.ID) {
			out = append(out, l)
		}
	}
	return out
}
