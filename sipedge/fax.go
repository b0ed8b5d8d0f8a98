package sipedge

import (
	"fmt"

	"patchbay/media"
)

// beginFax offers to other what the asker wants: T.38 in place of the audio,
// in a call that is up. UDPTL has no encryption, so that where SRTP is agreed
// to, or has to be, the answer is 488: the call goes on as it was (RFC 3261
// §14.1), and the machines send their fax as audio.
func (x *exchange) beginFax() ([]byte, error) {
	for _, l := range []*leg{x.asker, x.other} {
		if l.secure() || !l.mayBePlain() {
			return nil, errNoFax.because(fmt.Errorf("the audio of the %s is encrypted", l.who()))
		}
	}
	x.fax = true
	var err error
	x.offered, err = x.other.versioned(func(at media.Anchor) (*media.SDP, error) { return media.OfferFax(x.offer, at), nil }, x.other.at)
	if err != nil {
		return nil, err
	}
	return x.offered.Bytes(), nil
}

// answeredFax takes other's answer to it.
func (x *exchange) answeredFax(theirs *media.SDP) ([]byte, error) {
	mine, err := x.asker.versioned(func(at media.Anchor) (*media.SDP, error) { return media.AnswerFax(x.offer, theirs, at) }, x.asker.at)
	if err != nil {
		return nil, err
	}
	if err := x.other.stream.ApplyFax(theirs); err != nil {
		return nil, err
	}
	if err := x.asker.stream.ApplyFax(x.offer); err != nil {
		return nil, err
	}
	x.other.sent, x.asker.sent = x.offered, mine
	x.other.theirs, x.asker.theirs = theirs, x.offer
	return mine.Bytes(), nil
}
