package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The operations of RFC 1350 §5 and RFC 2347.
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOAck  = 6
)

// Code is an error code of RFC 1350, appendix I.
type Code uint16

// The error codes.
const (
	Undefined  Code = 0 // see the text
	NotFound   Code = 1
	Forbidden  Code = 2 // access violation
	Full       Code = 3 // disk full or allocation exceeded
	Illegal    Code = 4 // illegal TFTP operation
	UnknownTID Code = 5
	BadOption  Code = 8 // RFC 2347
)

// Error is an answer to a request that is refused. The client reads code and
// text as they are.
type Error struct {
	Code Code
	Text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("tftp error %d: %s", e.Code, e.Text) }

// Request is a read or write request.
type Request struct {
	Name   string // as it came, up to the NUL
	Write  bool
	ASCII  bool           // netascii: lines end in CR LF on the wire
	Size   int64          // of an upload, as the client tells it by tsize; -1 if it does not
	Local  netip.AddrPort // that the request came to
	Remote netip.AddrPort

	blksize int           // 0: not asked for
	timeout time.Duration // 0: not asked for
	tsize   bool
}

// Limits of what a client may ask for.
const (
	minBlock     = 8     // RFC 2348
	maxBlock     = 65464 // RFC 2348
	defaultBlock = 512
	maxTimeout   = 30 // seconds; RFC 2349 allows 255, but a place is held meanwhile
	maxRequest   = 1600
)

// errNoRequest is for packets that get no answer: what is no request can be
// from anybody, and an error must not be answered by an error.
var errNoRequest = errors.New("not a request")

// parseRequest reads what comes to the well-known port. Options that can't be
// met are left out, as RFC 2347 says; the error is an *Error if the client is
// to be told.
func parseRequest(p []byte) (Request, error) {
	if len(p) < 2 {
		return Request{}, errNoRequest
	}
	r := Request{Size: -1}
	switch binary.BigEndian.Uint16(p) {
	case opRead:
	case opWrite:
		r.Write = true
	case opData, opAck:
		return Request{}, &Error{UnknownTID, "no such transfer"}
	default: // also errors
		return Request{}, errNoRequest
	}
	if len(p) > maxRequest {
		return Request{}, &Error{Illegal, "request is too long"}
	}
	words := bytes.Split(p[2:], []byte{0})
	if len(words) < 3 { // what follows the last NUL counts as a word
		return Request{}, &Error{Illegal, "name or mode is missing"}
	}
	words = words[:len(words)-1]
	r.Name = string(words[0])
	switch mode := strings.ToLower(string(words[1])); mode {
	case "octet", "binary":
	case "netascii":
		r.ASCII = true
	case "mail":
		return Request{}, &Error{Illegal, "mail mode is obsolete"}
	default:
		return Request{}, &Error{Illegal, "mode is not known"}
	}
	for words = words[2:]; len(words) >= 2; words = words[2:] {
		r.option(strings.ToLower(string(words[0])), string(words[1]))
	}
	return r, nil
}

// option takes one option; of an option that comes twice the first counts.
func (r *Request) option(name, value string) {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || strings.HasPrefix(value, "+") {
		return
	}
	switch name {
	case "blksize":
		if r.blksize == 0 && n >= minBlock && n <= maxBlock {
			r.blksize = int(n)
		}
	case "timeout":
		if r.timeout == 0 && n >= 1 && n <= maxTimeout {
			r.timeout = time.Duration(n) * time.Second
		}
	case "tsize":
		if !r.tsize {
			r.tsize = true
			if r.Write {
				r.Size = int64(n)
			}
		}
	}
}

// packError makes an error packet. Texts are short, and end in a NUL.
func packError(code Code, text string) []byte {
	p := binary.BigEndian.AppendUint16([]byte{0, opError}, uint16(code))
	return append(append(p, text...), 0)
}

func packAck(block uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, opAck}, block)
}

// optionAck makes the answer to the options that were taken; nil if there was
// none. size is of the file as it is transferred.
func (r *Request) optionAck(size int64) []byte {
	p := []byte{0, opOAck}
	add := func(name string, value int64) {
		p = append(append(p, name...), 0)
		p = append(strconv.AppendInt(p, value, 10), 0)
	}
	if r.blksize != 0 {
		add("blksize", int64(r.blksize))
	}
	if r.timeout != 0 {
		add("timeout", int64(r.timeout/time.Second))
	}
	if r.tsize && size >= 0 {
		add("tsize", size)
	}
	if len(p) == 2 {
		return nil
	}
	return p
}

// toASCII gives a text the line ends of netascii (RFC 764 as RFC 1350 §5 has
// it): LF becomes CR LF, a CR alone CR NUL.
func toASCII(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/16)
	for i, c := range text {
		switch {
		case c == '\n' && (i == 0 || text[i-1] != '\r'):
			out = append(out, '\r', '\n')
		case c == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			out = append(out, '\r', 0)
		default:
			out = append(out, c)
		}
	}
	return out
}

// fromASCII is the other way round; a CR that is followed by neither stays.
func fromASCII(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\r' && i+1 < len(text) {
			switch text[i+1] {
			case '\n':
				c, i = '\n', i+1
			case 0:
				i++
			}
		}
		out = append(out, c)
	}
	return out
}
