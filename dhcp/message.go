package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// errMessage is wrapped by what makes a datagram no DHCP message.
var errMessage = errors.New("not a DHCP message")

var magicCookie = []byte{99, 130, 83, 99}

// readOptions collects the options of a message (RFC 2131 §4.1): those of the
// options field and, where option 52 says so, those in file and sname
// (RFC 2132 §9.3). The parts of one option are put together in that order
// (RFC 3396 §7).
//
// A message without an End option is read all the same, for some boot loaders
// forget it; one whose last option is cut is not.
func readOptions(b []byte) (dhcpv4.Options, error) {
	o := make(dhcpv4.Options, 12)
	if err := fillOptions(o, b); err != nil {
		return nil, err
	}
	return o, nil
}

// fillOptions is readOptions into an empty map.
func fillOptions(o dhcpv4.Options, b []byte) error {
	if len(b) < atOptions || !bytes.Equal(b[atCookie:atOptions], magicCookie) {
		return fmt.Errorf("%w: %d octets, or another cookie", errMessage, len(b))
	}
	b = slices.Clone(b) // the options outlive the buffer that they came in
	if err := collect(o, b[atOptions:]); err != nil {
		return err
	}
	for _, field := range overloaded(o[optOverload]) {
		if err := collect(o, b[field.start:field.end]); err != nil {
			return err
		}
	}
	return nil
}

// overloaded lists the fields of the header that hold options, by the value of
// option 52.
func overloaded(value []byte) []span {
	const file, sname = 1, 2
	if len(value) != 1 {
		return nil
	}
	var out []span
	if value[0]&file != 0 {
		out = append(out, span{start: atFile, end: atCookie})
	}
	if value[0]&sname != 0 {
		out = append(out, span{start: atSname, end: atFile})
	}
	return out
}

// collect adds the options of one field.
func collect(o dhcpv4.Options, field []byte) error {
	for len(field) > 0 && field[0] != optEnd {
		if field[0] == optPad {
			field = field[1:]
			continue
		}
		if len(field) < 2 || len(field) < 2+int(field[1]) {
			return fmt.Errorf("%w: option %d is cut", errMessage, field[0])
		}
		code, n := field[0], 2+int(field[1])
		if part := field[2:n:n]; len(o[code]) == 0 {
			o[code] = part
		} else {
			o[code] = append(o[code], part...)
		}
		field = field[n:]
	}
	return nil
}

// readMessage reads a message for those that need the fixed fields too. What
// of sname and file held options is no text.
func readMessage(b []byte) (*dhcpv4.DHCPv4, error) {
	o, err := readOptions(b)
	if err != nil {
		return nil, err
	}
	m, err := dhcpv4.FromBytes(append(slices.Clone(b[:atOptions]), optEnd))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	m.Options = o
	for _, field := range overloaded(o[optOverload]) {
		if field.start == atFile {
			m.BootFileName = ""
		} else {
			m.ServerHostName = ""
		}
	}
	return m, nil
}
