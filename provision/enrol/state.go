package enrol

import (
	"errors"
	"fmt"

	"patchbay/dhcp/mac"
)

// Phase is how far an account has come in the organisation. Whether its phone
// is registered right now is another matter, which sipedge knows.
type Phase string

// The phases, in the order of the life of a phone.
const (
	Waiting   Phase = "waiting"    // in the inventory, accepted by nobody: feature codes and emergency calls only
	Accepted  Phase = "enrolled"   // accepted into the organisation, nobody was signed in so far
	SignedIn  Phase = "signed-in"  // calls as a line
	SignedOut Phase = "signed-out" // was signed in, and nobody is now
)

// Phases are all phases, in their order.
var Phases = []Phase{Waiting, Accepted, SignedIn, SignedOut}

// Step is what takes an account from one phase to another.
type Step string

// The steps.
const (
	Enrol      Step = "enrol"         // an administrator accepts the phone
	Redeem     Step = "redeem"        // its verification code is dialled on it
	AdminIn    Step = "admin-sign-in" // an administrator puts it on a line, which accepts it too
	UserIn     Step = "user-sign-in"  // a user pairs it with the own line
	SignOut    Step = "sign-out"      // at the phone or by an administrator
	Revoke     Step = "revoke"        // the source of the line took the line away
	Retire     Step = "retire"        // an administrator puts it back to the waiting ones
	IssueCode  Step = "issue-code"    // a verification code is made for it
	PairingAsk Step = "pairing"       // a user asks for a pairing code
)

// Steps are all steps.
var Steps = []Step{Enrol, Redeem, AdminIn, UserIn, SignOut, Revoke, Retire, IssueCode, PairingAsk}

// ErrTransition is wrapped by the refusal of a step that the phase does not
// allow.
var ErrTransition = errors.New("not possible in this state")

// transitions holds every step that is allowed. What is missing is refused in
// the words of refusals.
var transitions = map[Phase]map[Step]Phase{
	Waiting: {Enrol: Accepted, Redeem: Accepted, AdminIn: SignedIn, IssueCode: Waiting},
	Accepted: {
		Enrol:   Accepted, // once more changes nothing
		AdminIn: SignedIn, UserIn: SignedIn, PairingAsk: Accepted, Retire: Waiting,
	},
	SignedIn: {
		Enrol: SignedIn, AdminIn: SignedIn, // another line in the place of this one
		SignOut: SignedOut, Revoke: SignedOut,
	},
	SignedOut: {Enrol: SignedOut, AdminIn: SignedIn, UserIn: SignedIn, PairingAsk: SignedOut, Retire: Waiting},
}

// refusals say why a step is not allowed, to the person who asked for it.
var refusals = map[Phase]map[Step]string{
	Waiting: {
		UserIn: "the phone is not enrolled yet", PairingAsk: "the phone is not enrolled yet", SignOut: "nobody is signed in",
		Revoke: "nobody is signed in", Retire: "the phone is not enrolled",
	},
	Accepted: {
		Redeem: "the phone is enrolled already", IssueCode: "the phone is enrolled already, it needs no code",
		SignOut: "nobody is signed in", Revoke: "nobody is signed in",
	},
	SignedIn: {
		Redeem: "the phone is enrolled already", IssueCode: "the phone is enrolled already, it needs no code",
		UserIn: "somebody is signed in; sign out first", PairingAsk: "somebody is signed in; sign out first", Retire: "somebody is signed in; sign out first",
	},
	SignedOut: {
		Redeem: "the phone is enrolled already", IssueCode: "the phone is enrolled already, it needs no code",
		SignOut: "nobody is signed in", Revoke: "nobody is signed in",
	},
}

// After returns the phase that a step leads to, or an error that wraps
// [ErrTransition] and says why it leads nowhere.
func (p Phase) After(s Step) (Phase, error) {
	if next, ok := transitions[p][s]; ok {
		return next, nil
	}
	why := refusals[p][s]
	if why == "" {
		why = fmt.Sprintf("%s does not follow on %s", s, p)
	}
	return p, fmt.Errorf("%s: %w", why, ErrTransition)
}

// phase is that of an account. d.mu is held, or nobody else has the phone.
func (p *phone) phase(a AccountRecord) Phase {
	switch {
	case a.LineID != 0:
		return SignedIn
	case p.rec.Enrolled.IsZero():
		return Waiting
	case !a.SignedOut.IsZero():
		return SignedOut
	default:
		return Accepted
	}
}

// Phase returns the phase of an account; an unknown one is an error.
func (d *Directory) Phase(a mac.Account) (Phase, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, ok := d.phones[a.MAC]
	if !ok {
		return "", ErrUnknownPhone
	}
	rec := p.account(a.Slot)
	if rec == nil {
		return "", ErrUnknownAccount
	}
	return p.phase(*rec), nil
}

// may reports whether an account may take a step.
func (d *Directory) may(a mac.Account, s Step) error {
	phase, err := d.Phase(a)
	if err != nil {
		return err
	}
	_, err = phase.After(s)
	return err
}
