package sipedge

import (
	"bytes"
	"net/netip"
	"time"
)

// Tap sees every SIP message that comes in or goes out, with its secrets. It
// must not block, change what it is given, or keep it.
type Tap interface {
	// Message is a whole message. transport is udp, tcp or tls.
	Message(at time.Time, from, to netip.AddrPort, transport string, raw []byte)
}

// arrived shows a tap what a peer sent over a flow.
func (f Flow) arrived(t Tap, raw []byte) {
	if t != nil {
		t.Message(time.Now(), f.Remote, f.Local, f.Transport, raw)
	}
}

// left shows a tap what goes to the peer of a flow. A keep-alive is no message.
func (f Flow) left(t Tap, raw []byte) {
	if t != nil && len(bytes.Trim(raw, "\r\n\x00")) > 0 {
		t.Message(time.Now(), f.Local, f.Remote, f.Transport, raw)
	}
}
