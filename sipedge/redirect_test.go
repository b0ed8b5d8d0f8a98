package sipedge

import (
	"testing"

	"github.com/emiago/sipgo/sip"
)

// redirects answers an INVITE with 302 and these Contacts.
func (d *dialog) redirects(contacts ...string) {
	d.a.t.Helper()
	res := sip.NewResponseFromRequest(d.taken, 302, "Moved Temporarily", nil)
	res.To().Params.Add("tag", d.tag())
	for _, c := range contacts {
		res.AppendHeader(sip.NewHeader("Contact", c))
	}
	d.a.send(res)
	d.a.request(sip.ACK)
}

// The gateway says that the called is elsewhere, and elsewhere again.
func TestGatewayRedirects(t *testing.T) {
	rig := upRig(t)
	audio := newSecureAudio(t, rig.gw)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	in.redirects("<sip:late@b.example.com>;q=0.1", "<sip:+4940999@b.example.com;user=phone?Subject=x>;q=0.9")
	second := rig.gw.take()
	if got := second.taken.Recipient.String(); got != "sip:+4940999@b.example.com;user=phone" {
		t.Errorf("then called %s", got)
	}
	if second.callID != in.callID || second.taken.CSeq().SeqNo <= in.taken.CSeq().SeqNo {
		t.Errorf("not the same call: %s", second.taken.CSeq())
	}
	secret(t, second.taken)
	second.redirects("<sip:+49301112223@example.com;user=phone>", "<sip:third@example.com>") // back, or on
	third := rig.gw.take()
	if got := third.taken.Recipient.User; got != "third" {
		t.Errorf("then called %s", got)
	}
	audio.meet(t, audio.sdp(1), third.taken.Body())
	third.answer(audio.sdp(1))
	hears(t, one.rtp, audioOf(t, out.connected().Body()).RTP(), rig.gw.rtp, "arrived")
	out.hangUp()
	rig.gw.leaves()
	rig.ended(1)
}

// Round and round: the caller is told that nobody is there.
func TestGatewayRedirectsInACircle(t *testing.T) {
	rig := upRig(t)
	one := newPhoneAgent(t, rig, "udp", 1)
	out := one.dial("0301112223", one.sdp(""))
	in := rig.gw.take()
	in.redirects("<sip:x@example.com>")
	in = rig.gw.take()
	in.redirects("<sip:x@example.com>", "<tel:+4930>", "*")
	one.ackRefusal(out.invite, one.response(480, sip.INVITE))
	rig.ended(1)
}
