package sipedge

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"patchbay/media"
)

// sdp describes the agent's audio; direction may be empty.
func (a *agent) sdp(direction string, codecs ...string) string {
	return plainSDP(addrPortOf(a.rtp.LocalAddr()), direction, codecs...)
}

func plainSDP(at netip.AddrPort, direction string, codecs ...string) string {
	if codecs == nil {
		codecs = []string{"0 PCMU/8000", "8 PCMA/8000", "101 telephone-event/8000"}
	}
	var pts, maps []string
	for _, c := range codecs {
		pt, _, _ := strings.Cut(c, " ")
		pts, maps = append(pts, pt), append(maps, "a=rtpmap:"+c)
	}
	s := []string{
		"v=0", "o=- 1 1 IN IP4 " + at.Addr().String(), "s=-", "c=IN IP4 " + at.Addr().String(), "t=0 0",
		"m=audio " + strconv.Itoa(int(at.Port())) + " RTP/AVP " + strings.Join(pts, " "),
	}
	s = append(s, maps...)
	if direction != "" {
		s = append(s, "a="+direction)
	}
	return strings.Join(s, "\r\n") + "\r\n"
}

// audioOf reads where a description wants audio.
func audioOf(t testing.TB, b []byte) *media.Audio {
	t.Helper()
	d, err := media.ParseSDP(b)
	if err != nil {
		t.Fatal(err)
	}
	a, ok := d.Audio()
	if !ok {
		t.Fatalf("no audio in\n%s", b)
	}
	return a
}

// rtpPacket is a G.711 packet whose content says where it is from.
func rtpPacket(seq int, text string) []byte {
	b := make([]byte, 12+160)
	b[0], b[1] = 0x80, 0
	binary.BigEndian.PutUint16(b[2:], uint16(seq))
	binary.BigEndian.PutUint32(b[4:], uint32(seq*160))
	binary.BigEndian.PutUint32(b[8:], 0x1234)
	copy(b[12:], text)
	return b
}

// hears sends packets from one socket to an address until the text arrives at
// the other one.
func hears(t testing.TB, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn, text string) {
	t.Helper()
	buf := make([]byte, 2048)
	for seq, end := 1, time.Now().Add(patience); time.Now().Before(end); seq++ {
		if _, err := from.WriteToUDPAddrPort(rtpPacket(seq, text), to); err != nil {
			t.Fatal(err)
		}
		_ = at.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		for {
			n, err := at.Read(buf)
			if err != nil {
				break
			}
			if n > 12 && strings.HasPrefix(string(buf[12:n]), text) {
				return
			}
		}
	}
	t.Fatalf("%q was not heard", text)
}
