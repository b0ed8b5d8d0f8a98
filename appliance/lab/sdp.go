package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// errNoAudio is wrapped when a session description has no usable audio stream.
var errNoAudio = errors.New("no usable audio stream")

const (
	profilePlain  = "RTP/AVP"
	profileSecure = "RTP/SAVP"
)

// description is what a phone reads of a session description (RFC 8866): the
// first audio stream and what belongs to it.
type description struct {
	Addr      netip.Addr
	Port      uint16
	Profile   string
	Formats   []uint8
	Encodings map[uint8]string // PT → encoding name in upper case
	Direction string           // sendrecv unless said otherwise (RFC 8866 §6.7)
	Cryptos   []crypto
	Streams   []string // profile of each stream that is offered with a port
}

// parseDescription reads what a phone needs and steps over the rest. Lines may
// end in LF alone.
func parseDescription(body []byte) (description, error) {
	d := description{Direction: "sendrecv", Encodings: map[uint8]string{0: "PCMU", 8: "PCMA", 9: "G722", 18: "G729"}}
	session, inAudio, seen := netip.Addr{}, false, false
	for line := range bytes.Lines(body) {
		kind, value, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), "=")
		if !ok || len(kind) != 1 {
			continue
		}
		switch kind {
		case "m":
			inAudio = d.media(value, seen)
			seen = seen || inAudio
		case "c":
			addr, err := connection(value)
			if err != nil {
				return description{}, err
			}
			if inAudio {
				d.Addr = addr
			} else if !seen {
				session = addr
			}
		case "a":
			if inAudio || !seen {
				d.attribute(value)
			}
		}
	}
	if !d.Addr.IsValid() {
		d.Addr = session
	}
	if !seen || d.Port == 0 || !d.Addr.IsValid() {
		return description{}, fmt.Errorf("session description: %w", errNoAudio)
	}
	return d, nil
}

// media reads the value of an m= line and reports whether it is the audio
// stream that is meant.
func (d *description) media(value string, seen bool) bool {
	f := strings.Fields(value)
	if len(f) < 4 {
		return false
	}
	port, _, _ := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return false
	}
	if n != 0 {
		d.Streams = append(d.Streams, f[2])
	}
	if f[0] != "audio" || seen || n == 0 {
		return false
	}
	d.Port, d.Profile = uint16(n), f[2]
	for _, s := range f[3:] {
		if pt, err := strconv.ParseUint(s, 10, 7); err == nil {
			d.Formats = append(d.Formats, uint8(pt))
		}
	}
	return true
}

func (d *description) attribute(value string) {
	name, rest, _ := strings.Cut(value, ":")
	switch name {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		d.Direction = name
	case "rtpmap":
		s, encoding, _ := strings.Cut(rest, " ")
		if pt, err := strconv.ParseUint(s, 10, 7); err == nil {
			encoding, _, _ = strings.Cut(strings.TrimSpace(encoding), "/")
			d.Encodings[uint8(pt)] = strings.ToUpper(encoding)
		}
	case "crypto":
		if c, err := parseCrypto(rest); err == nil {
			d.Cryptos = append(d.Cryptos, c)
		}
	}
}

func connection(value string) (netip.Addr, error) {
	f := strings.Fields(value)
	if len(f) < 3 {
		return netip.Addr{}, fmt.Errorf("connection line %q: want three fields", value)
	}
	host, _, _ := strings.Cut(f[2], "/")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("connection line: %w", err)
	}
	return addr, nil
}

// choose returns the first format of d, in its order, that is G.711 and that
// we list too.
func (d description) choose(ours []law) (law, uint8, error) {
	for _, pt := range d.Formats {
		for _, l := range ours {
			if d.Encodings[pt] == l.String() {
				return l, pt, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("no codec of %v is ours: %w", d.Formats, errNoAudio)
}

// talk is what we say in an offer or an answer.
type talk struct {
	session   uint64
	version   int
	addr      netip.Addr
	port      uint16
	laws      []law // an answer has one
	pts       []uint8
	event     uint8 // payload type of telephone-event (RFC 4733); 0 leaves it out
	crypto    *crypto
	direction string
}

// bytes builds the session description.
func (t talk) bytes() []byte {
	profile, formats := profilePlain, make([]string, 0, len(t.pts)+1)
	if t.crypto != nil {
		profile = profileSecure
	}
	for _, pt := range t.pts {
		formats = append(formats, strconv.Itoa(int(pt)))
	}
	if t.event != 0 {
		formats = append(formats, strconv.Itoa(int(t.event)))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN IP4 %v\r\ns=-\r\nc=IN IP4 %v\r\nt=0 0\r\n", t.session, t.version, t.addr, t.addr)
	fmt.Fprintf(&b, "m=audio %d %s %s\r\n", t.port, profile, strings.Join(formats, " "))
	for i, pt := range t.pts {
		fmt.Fprintf(&b, "a=rtpmap:%d %v/%d\r\n", pt, t.laws[i], sampleRate)
	}
	if t.event != 0 {
		fmt.Fprintf(&b, "a=rtpmap:%d telephone-event/%d\r\na=fmtp:%d 0-15\r\n", t.event, sampleRate, t.event)
	}
	if t.crypto != nil {
		fmt.Fprintf(&b, "a=crypto:%v\r\n", t.crypto)
	}
	fmt.Fprintf(&b, "a=ptime:20\r\na=%s\r\n", t.direction)
	return b.Bytes()
}

// offered makes the description of an offer with the given laws.
func offered(laws []law) (pts []uint8) {
	for _, l := range laws {
		pts = append(pts, l.payloadType())
	}
	return slices.Clip(pts)
}

// mirrored returns the direction that answers another (RFC 3264 §6.1).
func mirrored(direction string) string {
	switch direction {
	case "sendonly":
		return "recvonly"
	case "recvonly":
		return "sendonly"
	}
	return direction
}
