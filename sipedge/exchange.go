package sipedge

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"patchbay/media"
)

// exchange is one offer and its answer, carried through both legs (RFC 3264):
// asker sent an INVITE or UPDATE, and we sent one to other because of it.
// Negotiation belongs to us: each side sees only our addresses, keys and numbers.
type exchange struct {
	asker, other *leg
	offer        *media.SDP // the asker's; nil if its INVITE had none
	offered      *media.SDP // what we sent to other
	fax          bool       // the offer is one of T.38 in place of audio
	// For an INVITE without an offer the roles turn round: other's answer is
	// the offer, and the asker's ACK brings the answer.
	late     *media.SDP // other's offer
	lateSent *media.SDP // what we made of it for the asker
}

// begin makes the body of our request to other; nil if the asker made no offer.
func (x *exchange) begin() ([]byte, error) {
	if x.offer == nil {
		return nil, nil
	}
	if x.offer.Fax() && x.asker.sent != nil {
		return x.beginFax()
	}
	if a, ok := x.offer.Audio(); !ok || a.Port == 0 {
		return nil, errNoCodec.because(fmt.Errorf("the offer of %s has no audio", x.asker.who()))
	}
	if _, err := x.asker.answerKey(x.offer); err != nil {
		return nil, err
	}
	var err error
	x.other.at.Events = x.asker.takesInfo
	x.offered, err = x.other.offer(x.offer)
	if err != nil {
		return nil, err
	}
	return x.offered.Bytes(), nil
}

// answered takes other's description out of its answer and makes the body for
// the asker. After it the media of both legs is set, unless the asker still
// has to answer. provisional is for early media: nothing is final then.
func (x *exchange) answered(theirs *media.SDP) ([]byte, error) {
	if theirs == nil {
		return nil, errNoCodec.because(fmt.Errorf("%s answered without a description", x.other.who()))
	}
	x.asker.at.Events = x.other.takesInfo
	if x.offer == nil {
		out, err := x.asker.offer(theirs)
		if err != nil {
			return nil, err
		}
		x.late, x.lateSent = theirs, out
		return out.Bytes(), nil
	}
	if x.fax {
		return x.answeredFax(theirs)
	}
	mine, err := x.asker.answer(x.offer, theirs)
	if err != nil {
		return nil, err
	}
	if err := x.other.stream.Apply(x.offered, theirs); err != nil {
		return nil, err
	}
	if err := x.asker.stream.Apply(mine, x.offer); err != nil {
		return nil, err
	}
	x.other.sent, x.asker.sent = x.offered, mine
	x.other.theirs, x.asker.theirs = theirs, x.offer
	return mine.Bytes(), nil
}

// settle takes other's answer where the asker gets an offer of its own later:
// it waits in a dialog that is up already (a transfer).
func (x *exchange) settle(theirs *media.SDP) error {
	if theirs == nil {
		return errNoCodec.because(fmt.Errorf("%s answered without a description", x.other.who()))
	}
	if err := x.other.stream.Apply(x.offered, theirs); err != nil {
		return err
	}
	x.other.sent, x.other.theirs = x.offered, theirs
	return nil
}

// acknowledged takes the asker's answer out of its ACK and makes the body of
// our ACK to other. Both are nil where the INVITE had an offer.
func (x *exchange) acknowledged(theirs *media.SDP) ([]byte, error) {
	if x.late == nil {
		return nil, nil
	}
	if theirs == nil {
		return nil, errNoCodec.because(fmt.Errorf("%s acknowledged without a description", x.asker.who()))
	}
	mine, err := x.other.answer(x.late, theirs)
	if err != nil {
		return nil, err
	}
	if err := x.asker.stream.Apply(x.lateSent, theirs); err != nil {
		return nil, err
	}
	if err := x.other.stream.Apply(mine, x.late); err != nil {
		return nil, err
	}
	x.other.sent, x.asker.sent = mine, x.lateSent
	x.other.theirs, x.asker.theirs = x.late, theirs
	return mine.Bytes(), nil
}

// asBefore offers a side once more what held before it said yes to a change
// that comes to nothing (RFC 3261 §14.1): it has changed already, to a fax that
// it took none of, or to audio that we can't use.
func (c *call) asBefore(l *leg) {
	if l.ended || l.sent == nil {
		return
	}
	l.at.Version++
	c.tellAgain(l, readdressed(l.sent.Bytes(), l.at.Addr.String(), l.at.Version, nil))
}

// offer makes what we offer to this leg out of what the other one wants.
func (l *leg) offer(from *media.SDP) (*media.SDP, error) {
	at := l.at
	at.Crypto = nil
	if l.wantsSRTP() {
		if l.key == nil {
			key, err := media.NewCrypto(1, media.SuiteSHA1_80)
			if err != nil {
				return nil, err
			}
			l.key = &key
		}
		at.Crypto = l.key
	}
	return l.versioned(func(a media.Anchor) (*media.SDP, error) { return media.Offer(from, a), nil }, at)
}

// answer makes what we answer to this leg's offer out of the other one's answer.
func (l *leg) answer(offer, peer *media.SDP) (*media.SDP, error) {
	at := l.at
	key, err := l.answerKey(offer)
	if err != nil {
		return nil, err
	}
	if at.Crypto = key; key != nil {
		l.key = key
	}
	return l.versioned(func(a media.Anchor) (*media.SDP, error) { return media.Answer(offer, peer, a) }, at)
}

// answerKey is our key for an answer to this offer: that of before under the
// offer's tag, so that a re-INVITE does not begin a new context, else a new
// one. Nil is plain RTP, which the gateway never gets. The leg keeps its key
// until there is an answer: an offer that is refused changes nothing (RFC 3261
// §14.1).
func (l *leg) answerKey(offer *media.SDP) (*media.Crypto, error) {
	a, ok := offer.Audio()
	if !ok {
		return nil, errNoCodec
	}
	if a.Port == 0 || l.mayBePlain() && !a.Secure() {
		return nil, nil
	}
	pick, ok := a.Pick()
	if !ok || !a.Secure() {
		return nil, fmt.Errorf("offer of the %s: %w", l.who(), media.ErrNoCommonCrypto)
	}
	if l.key != nil && l.key.Suite == pick.Suite {
		key := *l.key
		key.Tag = pick.Tag
		return &key, nil
	}
	key, err := media.NewCrypto(pick.Tag, pick.Suite)
	if err != nil {
		return nil, err
	}
	return &key, nil
}

// secure says whether this leg agreed to SRTP before.
func (l *leg) secure() bool {
	if l.sent == nil {
		return false
	}
	a, ok := l.sent.Audio()
	return ok && a.Secure()
}

// versioned counts the version of o= up if the description differs from the
// last one that this leg got (RFC 3264 §8).
func (l *leg) versioned(build func(media.Anchor) (*media.SDP, error), at media.Anchor) (*media.SDP, error) {
	d, err := build(at)
	if err != nil || l.lastSent == nil || bytes.Equal(l.lastSent, d.Bytes()) {
		if err == nil {
			l.lastSent = d.Bytes()
		}
		return d, err
	}
	l.at.Version++
	at.Version = l.at.Version
	if d, err = build(at); err == nil {
		l.lastSent = d.Bytes()
	}
	return d, err
}

// onHold says whether the leg was told not to expect or send audio.
func (l *leg) onHold() bool {
	if l.sent == nil {
		return false
	}
	a, ok := l.sent.Audio()
	return ok && a.Direction != media.SendRecv && a.Direction != media.Unspecified
}

// repeats says whether an offer is the description that holds already, which
// our last answer fits.
func (l *leg) repeats(offer *media.SDP) bool {
	if l.sent == nil || l.theirs == nil || !bytes.Equal(l.theirs.Bytes(), offer.Bytes()) {
		return false
	}
	ours, ok := l.sent.Audio()
	theirs, ok2 := offer.Audio()
	if ok && l.gateway && ours.Addr != l.at.Addr { // we were elsewhere then
		return false
	}
	if !ok || !ok2 || len(ours.Cryptos) == 0 {
		return ok && ok2
	}
	_, ok = theirs.Chosen(ours.Cryptos[0])
	return ok
}

// resumed is a description as its author would write it without a hold: what
// is offered to a new other side in its name.
func resumed(d *media.SDP) (*media.SDP, error) {
	if d == nil {
		return nil, nil
	}
	var out bytes.Buffer
	for line := range bytes.Lines(d.Bytes()) {
		switch text := string(bytes.TrimSpace(line)); text {
		case "a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv":
			continue
		case "c=IN IP4 0.0.0.0":
			out.WriteString("c=IN IP4 192.0.2.1\r\n") // is not passed on
		default:
			out.WriteString(text + "\r\n")
		}
	}
	return media.ParseSDP(out.Bytes())
}

func randomSession() uint64 { return rand.Uint64() >> 2 }
