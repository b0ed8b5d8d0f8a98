package sipedge

import "github.com/emiago/sipgo/sip"

// SRTPPolicy says how the audio of phones on the LAN is protected. Towards the
// gateway it always is.
type SRTPPolicy uint8

// The policies. A phone that offers SRTP gets it under each of them.
const (
	// SRTPOff offers plain RTP to phones.
	SRTPOff SRTPPolicy = iota
	// SRTPOptional offers SRTP to phones that signal over TLS, and plain RTP
	// to one that refuses it. Without TLS the keys could be read on the way.
	SRTPOptional
	// SRTPRequired offers SRTP to every phone, and refuses plain RTP.
	SRTPRequired
)

// wantsSRTP says whether we offer SRTP to this leg.
func (l *leg) wantsSRTP() bool {
	if l.gateway || l.secure() {
		return true
	}
	switch l.s.cfg.SRTP {
	case SRTPRequired:
		return true
	case SRTPOptional:
		return l.peer.Transport == "tls" && !l.plainOnly
	}
	return false
}

// mayBePlain says whether this leg may offer or answer plain RTP.
func (l *leg) mayBePlain() bool {
	return !l.gateway && l.s.cfg.SRTP != SRTPRequired
}

// askPlain offers plain RTP to a phone that refused SRTP, where it may have
// it. It is false if there is no point in it.
func (b *branch) askPlain(res *sip.Response) bool {
	switch res.StatusCode {
	case sip.StatusNotAcceptableHere, sip.StatusUnsupportedMediaType, 606: // RFC 3261 §21.4.26, §21.4.13, §21.6.4
	default:
		return false
	}
	if b.x.offered == nil || b.leg.gateway || b.leg.plainOnly || !b.leg.mayBePlain() {
		return false
	}
	if a, ok := b.x.offered.Audio(); !ok || !a.Secure() {
		return false
	}
	b.leg.plainOnly, b.leg.key = true, nil
	body, err := b.x.begin()
	if err != nil || body == nil {
		return false
	}
	req := b.invite.Clone()
	req.SetDestination("")
	for _, name := range []string{"Via", "Content-Type", "Content-Length"} {
		for req.RemoveHeader(name) {
		}
	}
	setSDP(req, body)
	req.CSeq().SeqNo = b.leg.nextCSeq()
	b.c.log.Info("phone refuses SRTP, offering RTP", "leg", b.leg.who())
	return b.send(req) == nil
}
