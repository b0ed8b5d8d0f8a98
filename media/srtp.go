package media

import (
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// replayWindow is the size that RFC 3711 §3.3.2 asks for at least, doubled.
const replayWindow = 128

// newContext makes a context for one direction. It is not safe for concurrent
// use.
func newContext(c *Crypto) (*srtp.Context, error) {
	su, err := c.suite()
	if err != nil {
		return nil, err
	}
	opt := []srtp.ContextOption{srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow)}
	if len(c.MKI) > 0 {
		opt = append(opt, srtp.MasterKeyIndicator(c.MKI))
	}
	return srtp.CreateContext(c.Key[:su.key], c.Key[su.key:], su.profile, opt...)
}

// opener authenticates and decrypts what one side sends. contexts holds, best
// first, what a packet may be protected with: more than one only from a change
// of keys to the first packet under the new one. Empty means plain.
type opener struct {
	key      *Crypto
	contexts []*srtp.Context
	ssrc     uint32 // of the last packet that was opened
	header   rtp.Header
	rtcp     rtcp.Header
}

func (o *opener) set(key *Crypto) error {
	if key == nil {
		o.key, o.contexts = nil, nil
		return nil
	}
	if o.key != nil && o.key.Equal(*key) {
		return nil
	}
	fresh, err := newContext(key)
	if err != nil {
		return err
	}
	next := make([]*srtp.Context, 0, 3)
	if len(o.contexts) > 0 {
		old := o.contexts[0]
		// RFC 3711 leaves the roll-over counter alone when the key changes,
		// some gateways and phones reset it: the first packet decides.
		if roc, ok := old.ROC(o.ssrc); ok && roc > 0 {
			kept, err := newContext(key)
			if err != nil {
				return err
			}
			kept.SetROC(o.ssrc, roc)
			next = append(next, kept)
		}
		// Packets under the old key are still on their way.
		next = append(next, fresh, old)
	} else {
		next = append(next, fresh)
	}
	copied := *key
	o.key, o.contexts = &copied, next
	return nil
}

// rtpPacket opens a packet in place; ok is false if nothing authenticates it.
func (o *opener) rtpPacket(b []byte) ([]byte, bool) {
	for i, c := range o.contexts {
		out, err := c.DecryptRTP(b[:0], b, &o.header)
		if err == nil {
			o.ssrc = o.header.SSRC
			o.settle(i)
			return out, true
		}
	}
	return nil, false
}

// rtcpPacket is the same for SRTCP.
func (o *opener) rtcpPacket(b []byte) ([]byte, bool) {
	// It settles nothing: RTCP has no roll-over counter to choose by.
	for _, c := range o.contexts {
		if out, err := c.DecryptRTCP(b[:0], b, &o.rtcp); err == nil {
			return out, true
		}
	}
	return nil, false
}

// settle forgets the other contexts once one of the new key has proved itself.
func (o *opener) settle(i int) {
	if last := len(o.contexts) - 1; last > 0 && i < last {
		o.contexts = append(o.contexts[:0], o.contexts[i])
	}
}

// sealer encrypts what we send to one side. A nil context means plain.
type sealer struct {
	key     *Crypto
	context *srtp.Context
	header  rtp.Header
	rtcp    rtcp.Header
}

// set takes our key. A new one begins with all counters at zero: so does
// whoever reads it out of the SDP.
func (s *sealer) set(key *Crypto) error {
	if key == nil {
		s.key, s.context = nil, nil
		return nil
	}
	if s.key != nil && s.key.Equal(*key) {
		return nil
	}
	c, err := newContext(key)
	if err != nil {
		return err
	}
	copied := *key
	s.key, s.context = &copied, c
	return nil
}

// rtpPacket seals in place; b needs room for the tag.
func (s *sealer) rtpPacket(b []byte) ([]byte, error) {
	if s.context == nil {
		return b, nil
	}
	return s.context.EncryptRTP(b[:0], b, &s.header)
}

// rtcpPacket is the same for SRTCP, with room for the index too.
func (s *sealer) rtcpPacket(b []byte) ([]byte, error) {
	if s.context == nil {
		return b, nil
	}
	return s.context.EncryptRTCP(b[:0], b, &s.rtcp)
}
