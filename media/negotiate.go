package media

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Errors of [Answer] and [Stream.Apply]. All are a SIP 488 (RFC 3261
// §21.4.26) towards the side whose description could not be met.
var (
	// ErrNoCommonCodec: the two sides share no codec, or one refused audio.
	ErrNoCommonCodec = errors.New("no common codec")
	// ErrNoCommonCrypto: one side demands SRTP and the other can't do it
	// in that form, or a key does not belong to what was offered.
	ErrNoCommonCrypto = errors.New("no common way to encrypt the audio")
)

// Anchor is this box as one side sees it.
type Anchor struct {
	// Addr and Port are where it wants RTP, RTCP is the port above.
	Addr netip.Addr
	Port uint16
	// Crypto is our key, what we encrypt with towards this side. Nil means
	// plain RTP/AVP, otherwise RTP/SAVP. In an answer it must carry the tag
	// and suite of one of the lines offered, see [Audio.Pick].
	Crypto *Crypto
	// Session and Version are those of the o= line (RFC 8866 §5.2). The
	// session stays for the whole dialog, the version grows by one with
	// each description that differs.
	Session, Version uint64
	// Events says that digits of this side reach the other one although that
	// has no telephone events (RFC 4733), and the other way round: somebody
	// translates. They are then offered, or accepted where they are offered.
	Events bool
	// Direction narrows what is passed on from the other side; the zero
	// value passes it on as it is.
	Direction Direction
}

// Offer makes what we offer to one side out of what the other side sent us,
// its offer or (for an offer asked for by an empty INVITE) its answer. It has
// exactly one audio stream with the codecs, parameters, packet times and
// direction of from; addresses, names, keys, other media and all attributes
// that are not on our list stay behind. Without an audio stream in from, the
// stream is switched off (port 0): look at [SDP.Audio] first.
func Offer(from *SDP, at Anchor) *SDP {
	a, ok := from.Audio()
	if !ok {
		a = &Audio{Direction: Inactive}
	}
	list := passable(a.Codecs)
	if at.Events {
		list = withEvents(list)
	}
	proto := "RTP/AVP"
	if at.Crypto != nil {
		proto = "RTP/SAVP"
	}
	d := a.Direction
	if at.Direction != Unspecified {
		d = d.And(at.Direction)
	}
	s := header(at)
	port := at.Port
	if a.Port == 0 || len(list) == 0 {
		port = 0
	}
	s.media = []*section{at.section(port, proto, list, d, a)}
	return s
}

// Answer makes what we answer to one side's offer out of what the other side
// (peer) answered to us. The codecs are those of both, in peer's order, with
// the offer's numbers (RFC 3264 §6.1); every stream of the offer but the one
// for audio is refused with port 0 in its place (§6). Errors are
// [ErrNoCommonCodec] and [ErrNoCommonCrypto]; encryption that was asked for is
// never left out, and none is promised that was not offered.
func Answer(offer, peer *SDP, at Anchor) (*SDP, error) {
	a, ok := offer.Audio()
	if !ok || a.Port == 0 {
		return nil, fmt.Errorf("%w: the offer has no audio stream", ErrNoCommonCodec)
	}
	b, ok := peer.Audio()
	if !ok || b.Port == 0 {
		return nil, fmt.Errorf("%w: the other side refused audio", ErrNoCommonCodec)
	}
	list := common(a.Codecs, b.Codecs)
	if !slices.ContainsFunc(list, Codec.Speech) {
		return nil, fmt.Errorf("%w: %s against %s", ErrNoCommonCodec, names(a.Codecs), names(b.Codecs))
	}
	if at.Events {
		list = keepEvents(list, a.Codecs)
	}
	if err := a.answerable(at.Crypto); err != nil {
		return nil, err
	}
	// Both narrow it: what the offerer does, and what the peer is ready for.
	d := a.Direction.Reverse().And(b.Direction)
	if at.Direction != Unspecified {
		d = d.And(at.Direction)
	}
	s := header(at)
	for i, m := range offer.media {
		if i == a.index {
			own := at.section(at.Port, a.Proto, list, d, b)
			if a.Mux { // RFC 5761 §5.1.1: the answer takes it, or there is none
				own.lines = append(own.lines, line{'a', "rtcp-mux"})
			}
			s.media = append(s.media, own)
			continue
		}
		s.media = append(s.media, m.refused())
	}
	return s, nil
}

// Pick chooses the line of an offer that we answer: the strongest suite, then
// the offerer's order.
func (a *Audio) Pick() (Crypto, bool) {
	for _, su := range suites {
		for _, c := range a.Cryptos {
			if got, err := c.suite(); err == nil && got.name == su.name {
				return c, true
			}
		}
	}
	return Crypto{}, false
}

// Chosen finds in an answer the key that belongs to the line ours of our
// offer: the same tag and suite (RFC 4568 §5.1.3).
func (a *Audio) Chosen(ours Crypto) (Crypto, bool) {
	for _, c := range a.Cryptos {
		if c.Tag == ours.Tag && c.Suite == ours.Suite {
			return c, true
		}
	}
	return Crypto{}, false
}

// mismatch says in words why no key of a belongs to ours. Keys stay out of it.
func (a *Audio) mismatch(ours Crypto) string {
	switch {
	case len(a.Cryptos) == 0 && !a.Secure():
		return "the other side wants plain RTP"
	case len(a.Cryptos) == 0:
		return "the other side gives no key that can be used"
	}
	var got []string
	for _, c := range a.Cryptos[:min(8, len(a.Cryptos))] {
		got = append(got, fmt.Sprintf("%d %.40s", c.Tag, c.Suite))
	}
	return fmt.Sprintf("ours is %d %s, the other side's %s", ours.Tag, ours.Suite, strings.Join(got, ", "))
}

// answerable checks that an answer with our key (nil for plain) fits offer a.
func (a *Audio) answerable(key *Crypto) error {
	switch {
	case !plainProfile(a.Proto) && !secureProfile(a.Proto):
		return fmt.Errorf("%w: profile %.40q is not supported", ErrNoCommonCrypto, a.Proto)
	case key == nil && a.Secure():
		return fmt.Errorf("%w: the offer demands SRTP", ErrNoCommonCrypto)
	case key == nil:
		return nil
	}
	if _, ok := a.Chosen(*key); !ok {
		return fmt.Errorf("%w: no usable line was offered for tag %d", ErrNoCommonCrypto, key.Tag)
	}
	return nil
}

func plainProfile(p string) bool  { return p == "RTP/AVP" || p == "RTP/AVPF" }
func secureProfile(p string) bool { return p == "RTP/SAVP" || p == "RTP/SAVPF" }

// numbered are the formats whose parameters name others by number (RFC 2198,
// 4588, 5109): they can't survive a change of numbers.
var numbered = []string{"red", "rtx", "ulpfec", "flexfec"}

// passable leaves those out.
func passable(list []Codec) []Codec {
	return slices.DeleteFunc(slices.Clone(list), func(c Codec) bool {
		return slices.ContainsFunc(numbered, func(name string) bool { return strings.EqualFold(c.Name, name) })
	})
}

// common is what both lists have, in the order and with the parameters of
// peer, with the numbers of offer.
func common(offer, peer []Codec) []Codec {
	var out []Codec
	var used [128]bool
	for _, p := range passable(peer) {
		for _, o := range offer {
			if o.Is(p) && !used[o.PT] {
				used[o.PT] = true
				p.PT, p.Name = o.PT, o.Name
				out = append(out, p)
				break
			}
		}
	}
	return out
}

func names(list []Codec) string {
	var out []string
	for _, c := range list {
		if len(out) == 8 {
			out = append(out, "…")
			break
		}
		out = append(out, c.Name)
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ",")
}

// header is the session part: nothing in it comes from anybody else.
func header(at Anchor) *SDP {
	family := "IP4"
	if at.Addr.Is6() && !at.Addr.Is4In6() {
		family = "IP6"
	}
	addr := "IN " + family + " " + at.Addr.Unmap().String()
	// Some parsers read the numbers as signed.
	const positive = 1<<63 - 1
	id := strconv.FormatUint(at.Session&positive, 10) + " " + strconv.FormatUint(at.Version&positive, 10)
	return &SDP{lines: []line{
		{'v', "0"},
		{'o', "- " + id + " " + addr},
		{'s', "-"},
		{'c', addr},
		{'t', "0 0"},
	}}
}

func (at Anchor) section(port uint16, proto string, list []Codec, d Direction, times *Audio) *section {
	m := append(append(strconv.AppendUint(append(make([]byte, 0, 64), "audio "...), uint64(port), 10), ' '), proto...)
	lines := make([]line, 0, usualLines)
	add := func(v string) { lines = append(lines, line{'a', v}) }
	for _, c := range list {
		m = strconv.AppendUint(append(m, ' '), uint64(c.PT), 10)
		add(c.rtpmap())
		if c.Fmtp != "" && len(c.Fmtp) <= 256 && printable(c.Fmtp) {
			add("fmtp:" + strconv.Itoa(int(c.PT)) + " " + c.Fmtp)
		}
	}
	if len(list) == 0 {
		m = append(m, " 0"...) // RFC 8866 §9: at least one format
	}
	if times.Ptime > 0 {
		add("ptime:" + strconv.Itoa(times.Ptime))
	}
	if times.MaxPtime > 0 {
		add("maxptime:" + strconv.Itoa(times.MaxPtime))
	}
	if at.Crypto != nil && port != 0 {
		add("crypto:" + at.Crypto.String())
	}
	if d == Unspecified {
		d = SendRecv
	}
	add(d.String())
	return &section{m: line{'m', string(m)}, lines: lines}
}

// refused answers a stream that we do not carry, such as video or T.38. What
// the offerer wrote in that m= line it knows already; anything odd is replaced.
func (m *section) refused() *section {
	f := strings.Fields(m.m.value)
	if len(f) < 4 || len(m.m.value) > 512 || !printable(m.m.value) {
		return &section{m: line{'m', "audio 0 RTP/AVP 0"}}
	}
	f[1] = "0"
	return &section{m: line{'m', strings.Join(f, " ")}}
}

func isEvents(c Codec) bool { return strings.EqualFold(c.Name, "telephone-event") }

// withEvents adds telephone events to what is offered, under a free number:
// 101 if it is, which is what most expect.
func withEvents(list []Codec) []Codec {
	if len(list) == 0 || slices.ContainsFunc(list, isEvents) {
		return list
	}
	pt := uint8(101)
	if slices.ContainsFunc(list, func(c Codec) bool { return c.PT == pt }) {
		pt = unusedPayload(list, nil)
	}
	return append(slices.Clone(list), Codec{PT: pt, Name: "telephone-event", Rate: 8000, Channels: 1, Fmtp: "0-15"})
}

// keepEvents accepts the telephone events of an offer, whatever the other
// side has.
func keepEvents(list, offered []Codec) []Codec {
	if slices.ContainsFunc(list, isEvents) {
		return list
	}
	for _, c := range offered {
		if isEvents(c) && c.Rate == 8000 {
			return append(list, c)
		}
	}
	return list
}
