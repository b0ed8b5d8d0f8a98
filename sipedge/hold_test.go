package sipedge

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Somebody outside whom a phone holds hears music, as long as the phone plays none.
func TestMusicOnHold(t *testing.T) {
	t.Parallel()
	trunk, addr := newTrunkAgent(t)
	rig, _ := helpRig(t, false, func(c *ServerConfig) { c.Trunk = TrunkConfig{Address: addr} })
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := trunk.take()
	in.answer(trunk.sdp(""))
	out.connected()
	box := audioOf(t, out.res.Body()).RTP()
	hears(t, one.rtp, box, trunk.rtp, "hello")

	hold := func(direction string) {
		out.request(sip.INVITE, one.sdp(direction))
		re := trunk.request(sip.INVITE)
		answer := map[string]string{"sendonly": "recvonly", "sendrecv": "sendrecv"}[direction]
		trunk.send(trunk.reply(re, 200, "OK", "", trunk.sdp(answer)))
		out.lastInviteCSeq = one.response(200, sip.INVITE).CSeq().SeqNo
		out.ack("")
		trunk.request(sip.ACK)
	}
	hold("sendonly")
	trunk.listens(20) // the phone sends nothing

	// Resumed: what comes is the phone's again, and nothing else.
	hold("sendrecv")
	buf := make([]byte, 2048)
	for { // what was on its way
		_ = trunk.rtp.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := trunk.rtp.Read(buf); err != nil {
			break
		}
	}
	hears(t, one.rtp, box, trunk.rtp, "back")
	out.hangUp()
	trunk.send(trunk.reply(trunk.request(sip.BYE), 200, "OK", "", ""))
	rig.ended(1)
}
