package dhcp

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrRule is wrapped by every error of [NewRules].
var ErrRule = errors.New("not a good rule")

// maxOptionValue bounds one option of a rule. More would not fit into a
// datagram beside what a client needs.
const maxOptionValue = 1024

// OptionTypes are the words for [RuleOption.Type].
var OptionTypes = []string{"string", "ip", "ip_list", "u8", "u16", "u32", "i32", "hex", "encapsulated"}

// RuleOption is one option as an administrator writes it.
type RuleOption struct {
	Code int    // 1 to 254
	Type string // one of [OptionTypes]
	// Value is text; a list is separated by commas or spaces. It is empty for
	// the type encapsulated.
	Value string
	// Sub holds the options inside one of type encapsulated, such as 43.
	Sub []RuleOption
	// Always sends the option though the client's option 55 does not list it.
	Always bool
}

// encode returns the octets of the option.
func (o RuleOption) encode() ([]byte, error) {
	if why := refusedCode(o.Code); why != "" {
		return nil, fmt.Errorf("option %d: %s", o.Code, why)
	}
	b, err := o.octets(true)
	if err != nil {
		return nil, fmt.Errorf("option %d: %w", o.Code, err)
	}
	if err := fits(uint8(o.Code), len(b)); err != nil {
		return nil, fmt.Errorf("option %d: %w", o.Code, err)
	}
	return b, nil
}

// octets encodes the value alone; nest allows encapsulation.
func (o RuleOption) octets(nest bool) ([]byte, error) {
	if o.Type == "encapsulated" {
		if !nest {
			return nil, errors.New("write an inner encapsulation as hex")
		}
		return o.encapsulate()
	}
	if len(o.Sub) > 0 {
		return nil, fmt.Errorf(`sub-options belong to the type "encapsulated", not to %q`, o.Type)
	}
	read, ok := optionReaders[o.Type]
	if !ok {
		return nil, fmt.Errorf("type %q: write one of %s", o.Type, strings.Join(OptionTypes, ", "))
	}
	b, err := read(o.Value)
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxOptionValue:
		return nil, fmt.Errorf("%d octets: at most %d fit", len(b), maxOptionValue)
	}
	return b, nil
}

// encapsulate lays sub-options out as RFC 2132 §8.4 does for option 43.
func (o RuleOption) encapsulate() ([]byte, error) {
	if o.Value != "" {
		return nil, errors.New("an encapsulated option has sub-options and no value of its own")
	}
	if len(o.Sub) == 0 {
		return nil, errors.New(`sub-options are missing, such as sub = [{ code = 66, type = "string", value = "http://192.0.2.1/" }]`)
	}
	var out []byte
	for _, s := range o.Sub {
		if s.Code < 1 || s.Code > 254 {
			return nil, fmt.Errorf("sub-option %d: a code is from 1 to 254", s.Code)
		}
		b, err := s.octets(false)
		if err != nil {
			return nil, fmt.Errorf("sub-option %d: %w", s.Code, err)
		}
		if len(b) > 255 {
			return nil, fmt.Errorf("sub-option %d: %d octets: at most 255 fit", s.Code, len(b))
		}
		out = append(append(out, byte(s.Code), byte(len(b))), b...)
	}
	if len(out) > maxOptionValue {
		return nil, fmt.Errorf("%d octets: at most %d fit", len(out), maxOptionValue)
	}
	return out, nil
}

// optionReaders turn a text into octets, by type.
var optionReaders = map[string]func(string) ([]byte, error){
	"string":  readText,
	"ip":      readIP,
	"ip_list": readIPs,
	"u8":      func(s string) ([]byte, error) { return readUnsigned(s, 1) },
	"u16":     func(s string) ([]byte, error) { return readUnsigned(s, 2) },
	"u32":     func(s string) ([]byte, error) { return readUnsigned(s, 4) },
	"i32":     readSigned,
	"hex":     readHex,
}

func readText(s string) ([]byte, error) {
	switch {
	case s == "":
		return nil, errors.New("the value is empty; use suppress to send nothing")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return nil, errors.New("the string holds control characters; write it as hex if that is meant")
	}
	return []byte(s), nil
}

func readIP(s string) ([]byte, error) {
	ip, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || !ip.Is4() {
		return nil, fmt.Errorf("%q: write one IPv4 address", s)
	}
	return ip.AsSlice(), nil
}

func readIPs(s string) ([]byte, error) {
	var out []byte
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		b, err := readIP(part)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	if out == nil {
		return nil, errors.New("write at least one IPv4 address")
	}
	return out, nil
}

func readUnsigned(s string, octets int) ([]byte, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 0, 8*octets)
	if err != nil {
		return nil, fmt.Errorf("%q: write a number from 0 to %d", s, uint64(1)<<(8*octets)-1)
	}
	return binary.BigEndian.AppendUint32(nil, uint32(n))[4-octets:], nil
}

func readSigned(s string) ([]byte, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 0, 32)
	if err != nil {
		return nil, fmt.Errorf("%q: write a number from %d to %d", s, -1<<31, 1<<31-1)
	}
	return binary.BigEndian.AppendUint32(nil, uint32(n)), nil
}

func readHex(s string) ([]byte, error) {
	digits := strings.Map(func(r rune) rune {
		if r == ':' || r == ' ' || r == '-' {
			return -1
		}
		return r
	}, strings.TrimPrefix(s, "0x"))
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%q: write pairs of hexadecimal digits, such as 01:a0", s)
	}
	return b, nil
}

// refusedCode says why no rule may set or suppress an option; empty if one may.
func refusedCode(code int) string {
	switch code {
	case optPad, optEnd:
		return "this code marks padding and end, it is no option"
	case optSubnetMask:
		return "the subnet mask follows from lan.subnet"
	case optRequestedIP, optRequested, optMaxSize, optClientID:
		return "this is said by the client; the server only answers it"
	case optLeaseTime:
		return "the time of a lease is set by lan.lease"
	case optT1, optT2:
		return "the times of renewal follow from lan.lease"
	case optOverload, optMessageType, optServerID, optMessage:
		return "this belongs to the protocol itself"
	case optRelayAgent:
		return "this belongs to relay agents; the server returns it as it came (RFC 3046)"
	case 80:
		return "rapid commit would give out addresses that are not on disk (RFC 4039)"
	case 81:
		return "this is negotiated with each client for its name (RFC 4702)"
	case 90:
		return "authentication is computed for each message (RFC 3118)"
	case 91, 92, 118:
		return "this is said between relays and servers (RFC 4388, RFC 3011)"
	}
	if code < 0 || code > 255 {
		return "an option has a code from 1 to 254"
	}
	return ""
}

// form is the length that RFC 2132 or its successors fix for an option.
type form struct {
	least, multiple int
	exact           bool // least is the only length
	words           string
}

var (
	formAddrs  = form{least: 4, multiple: 4, words: "one or more IPv4 addresses"}
	formAddr   = form{least: 4, exact: true, words: "one IPv4 address"}
	formPairs  = form{least: 8, multiple: 8, words: "pairs of IPv4 addresses"}
	formLong   = form{least: 4, exact: true, words: "4 octets"}
	formShort  = form{least: 2, exact: true, words: "2 octets"}
	formShorts = form{least: 2, multiple: 2, words: "numbers of 2 octets"}
	formOctet  = form{least: 1, exact: true, words: "1 octet"}
	formRoutes = form{least: 5, words: "routes of 5 octets or more (RFC 3442)"}
)

// fixedForms are the options whose form is fixed; what is missing here may
// have any length from 1.
var fixedForms = func() map[uint8]form {
	m := map[uint8]form{
		2: formLong, 24: formLong, 35: formLong, 38: formLong, 16: formAddr, 28: formAddr, 32: formAddr,
		13: formShort, 22: formShort, 26: formShort, 25: formShorts, 21: formPairs, 33: formPairs, 121: formRoutes,
		3: formAddrs, 4: formAddrs, 5: formAddrs, 6: formAddrs, 7: formAddrs, 8: formAddrs, 9: formAddrs, 10: formAddrs, 11: formAddrs,
		41: formAddrs, 42: formAddrs, 44: formAddrs, 45: formAddrs, 48: formAddrs, 49: formAddrs, 65: formAddrs, 68: formAddrs, 150: formAddrs,
	}
	for code := uint8(69); code <= 76; code++ {
		m[code] = formAddrs
	}
	for _, code := range []uint8{19, 20, 23, 27, 29, 30, 31, 34, 36, 37, 39, 46, 116} {
		m[code] = formOctet
	}
	return m
}()

// fits judges the length of an option that has a fixed form.
func fits(code uint8, n int) error {
	f, ok := fixedForms[code]
	if !ok {
		return nil
	}
	if n < f.least || (f.exact && n != f.least) || (f.multiple > 0 && n%f.multiple != 0) {
		return fmt.Errorf("%d octets: this option holds %s (RFC 2132)", n, f.words)
	}
	return nil
}
