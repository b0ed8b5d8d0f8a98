package media

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtcp"
)

func compound(t testing.TB, packets ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestScrubRTCP(t *testing.T) {
	cname := [cnameSize]byte([]byte("0123456789abcdef"))
	sr := &rtcp.SenderReport{SSRC: 1, NTPTime: 2, RTPTime: 3, PacketCount: 4, OctetCount: 5, Reports: []rtcp.ReceptionReport{{SSRC: 9, LastSequenceNumber: 77}}}
	rr := &rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 9, Jitter: 7}}}
	sdes := &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: 1, Items: []rtcp.SourceDescriptionItem{
		{Type: rtcp.SDESCNAME, Text: "alice@192.0.2.10"}, {Type: rtcp.SDESTool, Text: "Yealink"},
	}}}}
	ours := &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: 1, Items: []rtcp.SourceDescriptionItem{
		{Type: rtcp.SDESCNAME, Text: "0123456789abcdef"},
	}}}}
	xr := &rtcp.ExtendedReport{SenderSSRC: 1, Reports: []rtcp.ReportBlock{&rtcp.ReceiverReferenceTimeReportBlock{NTPTimestamp: 5}}}
	bye := &rtcp.Goodbye{Sources: []uint32{1}}
	for _, tt := range []struct {
		name string
		in   []byte
		want []byte
	}{
		{"sender report with names", compound(t, sr, sdes), compound(t, sr, ours)},
		{"names twice", compound(t, rr, sdes, sdes), compound(t, rr, ours)},
		{"no names", compound(t, rr), compound(t, rr)},
		{"extended report", compound(t, rr, sdes, xr), compound(t, rr, ours, xr)},
		{"goodbye without its reason", compound(t, rr, sdes, &rtcp.Goodbye{Sources: []uint32{1}, Reason: "192.0.2.10 down"}), compound(t, rr, ours, bye)},
		{"feedback was not negotiated", compound(t, rr, &rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 2}), compound(t, rr)},
		{"application data", append(compound(t, rr), 0x80, 204, 0, 2, 0, 0, 0, 1, 'n', 'a', 'm', 'e'), compound(t, rr)},
		{"must begin with a report", compound(t, sdes), nil},
		{"cut", compound(t, rr, sdes)[:40], compound(t, rr)},
		{"length beyond the end", []byte{0x80, 201, 0xff, 0xff, 0, 0, 0, 1}, nil},
		{"wrong version inside", append(compound(t, rr), 0, 201, 0, 1, 0, 0, 0, 1), compound(t, rr)},
		{"goodbye shorter than its count", append(compound(t, rr), 0x9f, 203, 0, 1, 0, 0, 0, 1), compound(t, rr)},
		{"report of one word", []byte{0x80, 201, 0, 0, 0x80, 201, 0, 1, 0, 0, 0, 1}, []byte{0x80, 201, 0, 1, 0, 0, 0, 1}},
		{"too short", []byte{0x80, 201, 0, 1}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bytes.Clone(tt.in)
			got := scrubRTCP(nil, in, &cname)
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("nil", func(b []byte) string { return string(b) })); diff != "" {
				t.Errorf("scrubRTCP (-want +got):\n%s", diff)
			}
			if !bytes.Equal(in, tt.in) {
				t.Error("changed its input")
			}
			if len(got) > 0 {
				if _, err := rtcp.Unmarshal(got); err != nil {
					t.Errorf("not RTCP any more: %v", err)
				}
			}
		})
	}
}
