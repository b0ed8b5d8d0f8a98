package sipedge

import (
	"context"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// The features that a code may stand for. Those of the first group are served
// here; all others are asked of [FeatureCodes].
const (
	FeatureEcho          = "echo"           // what the caller says comes back
	FeatureEmergencyTest = "emergency-test" // speaks what an emergency call would send

	FeatureDNDOn        = "dnd-on"
	FeatureDNDOff       = "dnd-off"
	FeatureForwardReset = "forward-reset"
	FeatureForwardTo    = "forward-to" // the number that the others forward to; forwards all calls
	FeatureForwardNoAns = "forward-no-answer"
	FeatureSimultaneous = "simultaneous-ring"
	FeatureEnrol        = "enrol"    // with a verification code
	FeaturePair         = "pair"     // speaks where to sign in, and the code for it
	FeatureSignOut      = "sign-out" // ends the sign-in of this phone
	FeatureVoicemail    = "voicemail"

	// The next three get at calls of others. They are served before all others
	// and by themselves.
	FeaturePickUp   = "pickup"   // with an extension: answers what rings there
	FeaturePark     = "park"     // as the target of a transfer; with a slot, else one's own extension
	FeatureRetrieve = "retrieve" // with a slot, else one's own extension
)

// CallCodes are the features that get at calls of others. What follows their
// codes is an extension or a slot, so no other code may begin with one of them.
func CallCodes() []string { return []string{FeaturePickUp, FeaturePark, FeatureRetrieve} }

// FeatureCode is what people dial for a feature: the code itself, such as
// "*55", and behind it the argument, with or without a star between.
type FeatureCode struct {
	Code    string // begins with * or #
	Feature string // one of the Feature constants
}

// DefaultFeatureCodes are the codes that hold where the configuration says
// nothing else. The caller owns the slice.
func DefaultFeatureCodes() []FeatureCode {
	return []FeatureCode{
		{"*30", FeatureDNDOn},
		{"*31", FeatureDNDOff},
		{"*32", FeatureForwardReset},
		{"*33", FeatureForwardTo},
		{"*34", FeatureForwardNoAns},
		{"*35", FeatureSimultaneous},
		{"*43", FeatureEcho},
		{"*55", FeatureEnrol},
		{"*56", FeaturePair},
		{"*57", FeatureSignOut},
		{"*99", FeatureVoicemail},
		// Of the BroadWorks family: desk phones have them on their keys.
		{"**", FeaturePickUp},
		{"*68", FeaturePark},
		{"*88", FeatureRetrieve},
	}
}

// Outcome is what became of a feature code, as the caller is to hear and see it.
type Outcome struct {
	// Say names what is played, one after the other: prompts such as
	// "enrolled", "digits:4711" for digits one by one, "spell:ab-12" for
	// letters, digits and signs. See package media/prompt.
	Say []string
	// Display is shown by the phone in place of the other party's name; may
	// be empty.
	Display string
	// Language to speak, ISO 639-1; empty: that of the phone.
	Language string
	// OK says that what was asked for is done.
	OK bool
	// Ask is how many digits the caller is to press after Say, at most; the
	// feature is then asked again with them as its argument. A # ends them
	// early. 0: nothing more is wanted.
	Ask int
}

// FeatureCodes serves the features that are not the SIP server's own. It is
// asked while the phone hears ringing, so it may read and write the disk, and
// must come back when ctx ends. What it says was done is on disk.
type FeatureCodes interface {
	// Feature does what a code stands for, for the account that dialled it;
	// nobody need be signed in there. feature is one of the Feature
	// constants, argument what was dialled behind the code without
	// separators, may be empty. ok is false if this feature is not served
	// here or not allowed to this account: then the code is refused.
	Feature(ctx context.Context, from mac.Account, feature, argument string) (out Outcome, ok bool)
}

const (
	featureLimit = 10 * time.Second // for one question to FeatureCodes
	digitPause   = 6 * time.Second  // without a digit for so long the caller has finished
	echoLimit    = 10 * time.Minute
	askLimit     = 4 // questions in one call
)

// code is what is dialled for a feature; empty: nothing.
func (s *Server) code(feature string) string {
	for _, f := range s.cfg.Codes {
		if f.Feature == feature {
			return f.Code
		}
	}
	return ""
}

// cutCode takes the code of a feature off what was dialled.
func (s *Server) cutCode(dialled, feature string) (rest string, ok bool) {
	code := s.code(feature)
	if code == "" {
		return "", false
	}
	return strings.CutPrefix(dialled, code)
}

// matchCode finds the feature of a dialled string: the longest code counts. The
// argument is what follows without the star between and the # at the end:
// *55*123456, *55123456, *55*123456#.
func matchCode(codes []FeatureCode, dialled string) (code FeatureCode, argument string, ok bool) {
	for _, c := range codes {
		if rest, found := strings.CutPrefix(dialled, c.Code); found && len(c.Code) > len(code.Code) {
			code, argument, ok = c, rest, true
		}
	}
	return code, strings.TrimRight(strings.TrimPrefix(argument, "*"), "#*"), ok
}

// serveFeature is a call to a feature code. It returns when the call is over.
func (c *call) serveFeature() error {
	feature, argument := c.route.Feature, c.route.Argument
	if feature == FeatureEcho {
		return c.answerOurselves("", c.echoTest)
	}
	if err := c.prepare(); err != nil { // nothing is done for a caller who can't hear what
		return err
	}
	out, ok := c.askFeature(feature, argument, false)
	if !ok {
		return errNumberUnknown
	}
	return c.answerOurselves(out.Display, func(ctx context.Context, v *voice) error {
		for range askLimit {
			if out.Language != "" {
				v.language = out.Language
			}
			if out.Ask == 0 {
				return v.say(ctx, out.Say...)
			}
			digits, err := v.ask(ctx, out.Ask, out.Say...)
			if err != nil {
				return err
			}
			if out, ok = c.askFeature(feature, digits, true); !ok {
				return v.say(ctx, "code-unknown")
			}
		}
		return v.say(ctx, "goodbye") // asked often enough
	})
}

// askFeature does what a code asks for; again says that the caller was asked
// for the argument.
func (c *call) askFeature(feature, argument string, again bool) (out Outcome, ok bool) {
	ctx, stop := context.WithTimeout(c.r.Context(), featureLimit)
	defer stop()
	switch {
	case feature == FeatureVoicemail: // a line that has one does not come here
		out, ok = Outcome{Say: []string{"voicemail-none"}}, true
	case feature == FeatureEmergencyTest:
		out, ok = c.emergencyTest(), true
	case feature == FeatureDNDOn, feature == FeatureDNDOff, feature == FeatureForwardReset, forwards(feature):
		out, ok = c.changeSettings(ctx, feature, argument, again), true
	case c.s.cfg.Features != nil:
		out, ok = c.s.cfg.Features.Feature(ctx, c.identity.Account, feature, argument)
	}
	c.log.Info("feature code", "feature", feature, "account", c.identity.Account.String(), "served", ok, "ok", out.OK)
	return out, ok
}

// echoTest lets the caller hear how he is heard.
func (c *call) echoTest(ctx context.Context, v *voice) error {
	if err := v.say(ctx, "echo-test"); err != nil {
		return err
	}
	v.ear.Echo(v.player)
	defer v.ear.Echo(nil)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(echoLimit):
		return nil
	}
}
