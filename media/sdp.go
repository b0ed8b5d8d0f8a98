package media

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
)

// ErrNoSDP says that a body holds nothing that looks like SDP, or too much.
var ErrNoSDP = errors.New("not a session description")

// Limits on what [ParseSDP] reads. Real descriptions have under 100 lines.
const (
	maxSDPBytes = 64 << 10
	maxSDPLines = 1000
)

// usualLines is how many lines a part of a description has, or some more.
const usualLines = 12

// SDP is a session description as lines: nothing is dropped or reordered, so
// what this package does not know passes unharmed through ParseSDP and Bytes.
type SDP struct {
	lines []line // the session part, before the first m= line
	media []*section
	heard atomic.Pointer[Audio]  // what Audio found; nothing changes once it was asked
	text  atomic.Pointer[[]byte] // what Bytes made; nor then
}

// section is one m= line and the lines below it.
type section struct {
	m     line
	lines []line
}

type line struct {
	key   byte
	value string
}

// ParseSDP reads a description leniently: any line end (CRLF, LF, CR), blank
// and unknown lines, missing or misplaced lines, and every kind of m= line are
// taken as they come. Only a body without any line of the form x=… or beyond
// 64 KiB or 1000 lines is refused, with [ErrNoSDP]. b is not kept.
func ParseSDP(b []byte) (*SDP, error) {
	if len(b) > maxSDPBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrNoSDP, len(b))
	}
	s := &SDP{lines: make([]line, 0, usualLines)}
	var cur *section
	n := 0
	for text := range strings.FieldsFuncSeq(string(b), isLineEnd) {
		text = strings.TrimSpace(text)
		if len(text) < 2 || text[1] != '=' || text[0] <= ' ' || text[0] > '~' {
			continue
		}
		if n++; n > maxSDPLines {
			return nil, fmt.Errorf("%w: more than %d lines", ErrNoSDP, maxSDPLines)
		}
		l := line{key: text[0], value: text[2:]}
		switch {
		case l.key == 'm':
			cur = &section{m: l, lines: make([]line, 0, usualLines)}
			s.media = append(s.media, cur)
		case cur != nil:
			cur.lines = append(cur.lines, l)
		default:
			s.lines = append(s.lines, l)
		}
	}
	if n == 0 {
		return nil, ErrNoSDP
	}
	return s, nil
}

// isLineEnd includes NUL, which some phones put at the end of a body.
func isLineEnd(r rune) bool { return r == '\n' || r == '\r' || r == 0 }

// Bytes is the description as it goes on the wire, each line ended by CRLF. All
// who ask share what is returned: they must not change it.
func (s *SDP) Bytes() []byte {
	if b := s.text.Load(); b != nil {
		return *b
	}
	size := 0
	for l := range s.all() {
		size += len("x=\r\n") + len(l.value)
	}
	b := make([]byte, 0, size)
	for l := range s.all() {
		b = append(append(b, l.key, '='), l.value...)
		b = append(b, '\r', '\n')
	}
	s.text.Store(&b)
	return b
}

// all are the lines in their order.
func (s *SDP) all() iter.Seq[line] {
	return func(yield func(line) bool) {
		for _, l := range s.lines {
			if !yield(l) {
				return
			}
		}
		for _, m := range s.media {
			if !yield(m.m) {
				return
			}
			for _, l := range m.lines {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// String is Bytes as a string. It holds the SRTP keys: not for a log.
func (s *SDP) String() string { return string(s.Bytes()) }

// Audio is what a description says about its audio stream.
type Audio struct {
	// Addr is where its author wants RTP; invalid where the c= line is
	// missing or holds a name, unspecified for the hold of RFC 2543
	// (c=IN IP4 0.0.0.0).
	Addr netip.Addr
	// Port is 0 where the stream was refused or switched off.
	Port uint16
	// RTCP is where its author wants RTCP: a=rtcp, or else the port above.
	RTCP netip.AddrPort
	// Proto is RTP/AVP, RTP/SAVP or anything else, in upper case.
	Proto string
	// Codecs in the order of preference. Static payload types are
	// understood without a=rtpmap; what has no name is left out.
	Codecs []Codec
	// Direction is what its author is ready to do; an address of 0.0.0.0
	// takes the receiving out of it.
	Direction Direction
	// Cryptos are the a=crypto lines that [ParseCrypto] accepts.
	Cryptos []Crypto
	// Mux says that its author can do RTCP on the port of RTP (RFC 5761).
	Mux bool
	// Ptime and MaxPtime are in milliseconds, 0 where not said.
	Ptime, MaxPtime int

	index int
}

// RTP is the address that RTP is to be sent to. It is invalid where there is
// none.
func (a *Audio) RTP() netip.AddrPort {
	if !a.Addr.IsValid() || a.Port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr, a.Port)
}

// Secure tells whether the profile demands SRTP.
func (a *Audio) Secure() bool { return strings.Contains(a.Proto, "SAVP") }

// Audio finds the first audio stream that is in use, or else the first one at
// all. It is false if there is none, as in a switch to T.38. All who ask share
// what is returned.
func (s *SDP) Audio() (*Audio, bool) {
	if a := s.heard.Load(); a != nil {
		return a, true
	}
	var a *Audio
	for i, m := range s.media {
		kind, port, proto, formats := m.parts()
		if kind != "audio" || a != nil && port == 0 {
			continue
		}
		a = s.audio(i, port, proto, formats)
		if port != 0 {
			break
		}
	}
	if a == nil {
		return nil, false
	}
	s.heard.Store(a)
	return a, true
}

// parts splits "audio 49170/2 RTP/AVP 0 8".
func (m *section) parts() (kind string, port uint16, proto string, formats []string) {
	f := strings.Fields(m.m.value)
	if len(f) > 0 {
		kind = strings.ToLower(f[0])
	}
	if len(f) > 1 {
		number, _, _ := strings.Cut(f[1], "/")
		n, _ := strconv.ParseUint(number, 10, 16)
		port = uint16(n)
	}
	if len(f) > 2 {
		proto = strings.ToUpper(f[2])
		formats = f[3:]
	}
	return kind, port, proto, formats
}

func (s *SDP) audio(i int, port uint16, proto string, formats []string) *Audio {
	m := s.media[i]
	a := &Audio{index: i, Port: port, Proto: proto, Direction: SendRecv}
	for _, lines := range [2][]line{s.lines, m.lines} {
		for _, l := range lines {
			switch l.key {
			case 'c':
				a.Addr = connection(l.value)
			case 'a':
				a.attribute(l.value)
			}
		}
	}
	a.Codecs = codecs(formats, m.lines)
	if a.RTCP.Port() != 0 && !a.RTCP.Addr().IsValid() {
		a.RTCP = netip.AddrPortFrom(a.Addr, a.RTCP.Port())
	}
	if a.RTCP.Port() == 0 && a.Port != 0 && a.Port != 65535 {
		a.RTCP = netip.AddrPortFrom(a.Addr, a.Port+1)
	}
	if a.Addr.IsValid() && a.Addr.IsUnspecified() {
		a.Direction = a.Direction.with(a.Direction.Sends(), false)
	}
	return a
}

// connection reads "IN IP4 192.0.2.1/127". A host name gives no address: this
// path never asks the DNS.
func connection(v string) netip.Addr {
	n := 0
	for f := range strings.FieldsSeq(v) {
		if n++; n < 3 {
			continue
		}
		text, _, _ := strings.Cut(f, "/")
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Addr{}
		}
		return addr.Unmap().WithZone("")
	}
	return netip.Addr{}
}

func (a *Audio) attribute(v string) {
	name, value, _ := strings.Cut(v, ":")
	value = strings.TrimSpace(value)
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		a.Direction = directionOf(name)
	case "rtcp-mux":
		a.Mux = true
	case "ptime":
		a.Ptime = milliseconds(value)
	case "maxptime":
		a.MaxPtime = milliseconds(value)
	case "crypto":
		if c, err := ParseCrypto(value); err == nil {
			a.Cryptos = append(a.Cryptos, c)
		}
	case "rtcp":
		port, rest, _ := strings.Cut(value, " ")
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			a.RTCP = netip.AddrPortFrom(connection(rest), uint16(n))
		}
	}
}

// milliseconds reads a packet time; beyond a second it is a mistake.
func milliseconds(v string) int {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n > 1000 {
		return 0
	}
	return int(n)
}
