package media

import (
	"net/netip"
	"strings"
)

// Own describes what this box itself speaks and understands where it is the
// other side of a call: both forms of G.711 and telephone events, in the order
// of the offer that is to be answered, or nil. It takes the place of the other
// side's description in [Answer] and [Offer], which put the addresses in.
func Own(offer *SDP) *SDP {
	list := []Codec{
		{PT: 0, Name: "PCMU", Rate: 8000, Channels: 1},
		{PT: 8, Name: "PCMA", Rate: 8000, Channels: 1},
		{PT: 101, Name: "telephone-event", Rate: 8000, Channels: 1, Fmtp: "0-15"},
	}
	if offer != nil {
		if a, ok := offer.Audio(); ok {
			list = ordered(list, a.Codecs)
		}
	}
	at := Anchor{Addr: netip.IPv4Unspecified(), Port: 9}
	s := header(at)
	s.lines = nil // no connection: it is never sent
	s.media = []*section{at.section(at.Port, "RTP/AVP", list, SendRecv, &Audio{Ptime: 20})}
	return s
}

// ordered sorts what we have as the other side likes it: what it does not
// have comes last.
func ordered(own, theirs []Codec) []Codec {
	var out []Codec
	add := func(c Codec) {
		for _, d := range out {
			if d.Is(c) {
				return
			}
		}
		out = append(out, c)
	}
	for _, t := range theirs {
		for _, c := range own {
			if c.Is(t) && !strings.EqualFold(c.Name, "telephone-event") {
				add(c)
			}
		}
	}
	for _, c := range own {
		add(c)
	}
	return out
}
