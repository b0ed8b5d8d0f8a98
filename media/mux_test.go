package media

import (
	"bytes"
	"net/netip"
	"strconv"
	"testing"

	"github.com/pion/rtcp"
)

// TestMux has one side with RTCP on the port of RTP and one without.
func TestMux(t *testing.T) {
	alice, bob, a, b := call(t)
	offer := parse(t, sdp("v=0", "c=IN IP4 127.0.0.1", "m=audio "+strconv.Itoa(int(addrOf(alice.rtp).Port()))+" RTP/AVP 0", "a=rtcp-mux"))
	peer := parse(t, sdp("v=0", "c=IN IP4 127.0.0.1", "m=audio 4000 RTP/AVP 0"))
	answer, err := Answer(offer, peer, Anchor{Addr: netip.MustParseAddr("127.0.0.1"), Port: a.cfg.Pair.Port})
	if err != nil {
		t.Fatal(err)
	}
	if ours, _ := answer.Audio(); !ours.Mux {
		t.Fatalf("the answer does not take rtcp-mux:\n%s", answer)
	}
	if plain, err := Answer(peer, peer, Anchor{Addr: netip.MustParseAddr("127.0.0.1"), Port: 2}); err != nil {
		t.Fatal(err)
	} else if ours, _ := plain.Audio(); ours.Mux {
		t.Error("rtcp-mux in an answer to an offer without it")
	}
	if err := a.Apply(answer, offer); err != nil {
		t.Fatal(err)
	}
	start(t, a, b)
	report := compound(t, &rtcp.ReceiverReport{SSRC: 1})
	alice.send(alice.rtp, report, a.rtpAddr())
	if got := bob.read(bob.rtcp, soon); !bytes.Equal(got, report) {
		t.Errorf("to the side without: % x", got)
	}
	bob.send(bob.rtcp, report, b.rtcpAddr())
	if got := alice.read(alice.rtp, soon); !bytes.Equal(got, report) {
		t.Errorf("to the side with: % x", got)
	}
	voice := rtpPacket(1, 7, 0)
	alice.send(alice.rtp, voice, a.rtpAddr())
	if got := bob.read(bob.rtp, soon); !bytes.Equal(got, voice) {
		t.Errorf("RTP: % x", got)
	}
	if n := a.Stats().Dropped.Total() + b.Stats().Dropped.Total(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}
