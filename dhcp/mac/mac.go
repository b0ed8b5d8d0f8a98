package mac

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// ErrSyntax is wrapped by every error of [Parse] and [ParseAccount].
var ErrSyntax = errors.New("not a MAC address")

// Addr is a 48-bit hardware address. It is comparable and owns its bytes, so
// it can be a map key and outlive the packet that it was read from;
// [net.HardwareAddr] stops at the socket. The zero value means "not known".
type Addr [6]byte

// Parse reads the usual notations: 00:15:65:4a:a9:37, 00-15-65-4A-A9-37,
// 0015.654a.a937 and 0015654aa937, in either case.
func Parse(s string) (Addr, error) {
	digits := strings.Map(func(r rune) rune {
		switch r {
		case ':', '-', '.':
			return -1
		}
		return r
	}, strings.TrimSpace(s))
	var a Addr
	if len(digits) != 12 {
		return a, fmt.Errorf("%q: %w: want 12 hexadecimal digits", s, ErrSyntax)
	}
	if _, err := hex.Decode(a[:], []byte(digits)); err != nil {
		return Addr{}, fmt.Errorf("%q: %w: want 12 hexadecimal digits", s, ErrSyntax)
	}
	return a, nil
}

// From copies a hardware address of a packet or an interface. ok is false if
// it is not six bytes long (InfiniBand, firewire, none).
func From(h net.HardwareAddr) (a Addr, ok bool) {
	if len(h) != len(a) {
		return Addr{}, false
	}
	return Addr(h), true
}

// HardwareAddr returns a copy for the socket layer.
func (a Addr) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(a[:]) }

// String returns the colon form in lower case, the one that people read.
func (a Addr) String() string { return net.HardwareAddr(a[:]).String() }

// Hex returns twelve lower-case digits, the form that phones use in file names.
func (a Addr) Hex() string { return hex.EncodeToString(a[:]) }

// OUI returns the first three bytes, which name the maker of the interface.
func (a Addr) OUI() [3]byte { return [3]byte(a[:3]) }

// IsZero reports whether the address is not known.
func (a Addr) IsZero() bool { return a == Addr{} }

// IsMulticast reports whether the group bit is set; no phone has such an address.
func (a Addr) IsMulticast() bool { return a[0]&1 != 0 }

// Compare orders addresses by their bytes.
func (a Addr) Compare(b Addr) int { return bytes.Compare(a[:], b[:]) }

// MarshalText implements [encoding.TextMarshaler] with the colon form.
func (a Addr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] with [Parse].
func (a *Addr) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// Account is one SIP identity of a phone. A desk phone with two lines has two,
// an ATA one per port, a DECT base one per handset. Slots count from 1.
type Account struct {
	MAC  Addr  `json:"mac"`
	Slot uint8 `json:"slot"`
}

// String returns "00:15:65:4a:a9:37/1".
func (a Account) String() string { return a.MAC.String() + "/" + strconv.Itoa(int(a.Slot)) }

// Compare orders by MAC, then by slot.
func (a Account) Compare(b Account) int {
	return cmp.Or(a.MAC.Compare(b.MAC), cmp.Compare(a.Slot, b.Slot))
}

// ParseAccount reads the form of [Account.String]. A bare MAC address means
// slot 1.
func ParseAccount(s string) (Account, error) {
	m, slot, found := strings.Cut(s, "/")
	a, err := Parse(m)
	if err != nil {
		return Account{}, err
	}
	if !found {
		return Account{MAC: a, Slot: 1}, nil
	}
	n, err := strconv.ParseUint(slot, 10, 8)
	if err != nil || n == 0 {
		return Account{}, fmt.Errorf("%q: %w: want a slot from 1 to 255 after the slash", s, ErrSyntax)
	}
	return Account{MAC: a, Slot: uint8(n)}, nil
}

// Evidence says on what ground an IP address is held to belong to a MAC
// address. A larger value outweighs a smaller one.
type Evidence uint8

// The grounds, weakest first.
const (
	NoEvidence   Evidence = iota
	ApprovedOnce          // an administrator let this address through once
	Bound                 // an administrator bound this address to the phone
	Neighbor              // the kernel's neighbour table, same segment
	RelayedLease          // a lease that we saw another server grant through our relay
	OwnLease              // a lease that this box granted
	PersonalPath          // it asked at the address that only this phone was told
	Certificate           // it proved by its factory certificate who it is
)

var evidenceText = [...]string{"none", "approved once", "bound", "neighbour", "relayed lease", "own lease", "personal path", "factory certificate"}

// String returns a short lower-case word, stable enough to be stored.
func (e Evidence) String() string {
	if int(e) < len(evidenceText) {
		return evidenceText[e]
	}
	return "evidence " + strconv.Itoa(int(e))
}
