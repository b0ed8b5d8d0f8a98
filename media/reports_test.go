package media

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// TestRoundTrip passes a sender report of one side on, and answers it: the
// round trip is that of the answering side alone.
func TestRoundTrip(t *testing.T) {
	var r reports
	r.setClock(8000)
	now := time.Unix(1_000_000, 0)
	const ntp = 0x8_1234_5678_9abc
	raw := func(p rtcp.Packet) []byte {
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r.passed(raw(&rtcp.SenderReport{SSRC: 1, NTPTime: ntp}), now)
	answer := rtcp.ReceptionReport{
		SSRC: 1, FractionLost: 64, TotalLost: 9, Jitter: 80,
		LastSenderReport: uint32(ntp >> 16 & 0xffffffff), Delay: 65536 / 2,
	}
	r.heard(raw(&rtcp.ReceiverReport{SSRC: 2, Reports: []rtcp.ReceptionReport{answer}}), now.Add(530*time.Millisecond))
	var st Stats
	r.snapshot(&st)
	if st.RoundTrip.Round(time.Millisecond) != 30*time.Millisecond {
		t.Errorf("round trip %v, want 30ms", st.RoundTrip)
	}
	if st.Reported.Loss != 0.25 || st.Reported.Lost != 9 || st.Reported.Jitter != 10*time.Millisecond {
		t.Errorf("reported %+v", st.Reported)
	}
	// A stamp that we never passed on tells nothing.
	answer.LastSenderReport = 77
	r.heard(raw(&rtcp.SenderReport{SSRC: 2, Reports: []rtcp.ReceptionReport{answer}}), now.Add(time.Second))
	if r.snapshot(&st); st.RoundTrip.Round(time.Millisecond) != 30*time.Millisecond {
		t.Errorf("round trip after a foreign stamp %v", st.RoundTrip)
	}
}

func TestVoIPMetrics(t *testing.T) {
	var r reports
	b := []byte{0x80, rtcpXR, 0, 10, 0, 0, 0, 2, 7, 0, 0, 8, 0, 0, 0, 1}
	b = append(b, 26, 13, 128, 1)
	for _, ms := range []uint16{120, 8000, 42, 60} {
		b = binary.BigEndian.AppendUint16(b, ms)
	}
	b = append(b, 127, 127, 127, 16, 88, 127, 41, 127, 0, 0)
	b = append(b, 0, 40, 0, 80, 0, 200)
	b = b[:44]
	r.heard(b, time.Unix(5, 0))
	var st Stats
	r.snapshot(&st)
	v := st.Reported.VoIP
	if v.Loss != 26.0/256 || v.Discard != 13.0/256 || v.BurstDensity != 0.5 || v.BurstDuration != 120*time.Millisecond ||
		v.RoundTrip != 42*time.Millisecond || v.EndSystemDelay != 60*time.Millisecond || v.R != 88 || v.ListeningMOS != 4.1 || v.ConversationalMOS != 0 {
		t.Errorf("%+v", v)
	}
	for n := range b { // cut anywhere: no panic, nothing read beyond
		r.heard(b[:n], time.Unix(6, 0))
	}
}

func FuzzReports(f *testing.F) {
	f.Add([]byte{0x81, rtcpSR, 0, 12})
	f.Add(append([]byte{0x81, rtcpRR, 0, 7}, make([]byte, 28)...))
	f.Add(append([]byte{0x80, rtcpXR, 0, 10, 0, 0, 0, 2, 7, 0, 0, 8}, make([]byte, 32)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r reports
		r.setClock(8000)
		now := time.Unix(1000, 0)
		r.passed(b, now)
		r.heard(b, now.Add(time.Second))
		var st Stats
		r.snapshot(&st)
		if st.RoundTrip < 0 || st.Reported.Loss < 0 || st.Reported.Loss > 1 || st.Reported.VoIP.R > 100 {
			t.Errorf("% x: %+v", b, st)
		}
	})
}
