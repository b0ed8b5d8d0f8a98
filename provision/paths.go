package provision

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"sync"

	"patchbay/dhcp/mac"
)

// personalPrefix is the first segment of the address of one phone.
const personalPrefix = "p"

// Paths makes and reads the part of an address that only one phone is told:
// /p/<token>/. Who asks there is that phone as far as the secret was kept.
// A token is the MAC address and a code over it, so nothing is stored but how
// often it was renewed.
type Paths struct {
	key []byte

	mu     sync.RWMutex
	epochs map[mac.Addr]uint32
}

// tokenCode is how many bytes of code are in a token: 128 bits.
const tokenCode = 16

var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewPaths makes paths of a secret of the box. epochs says how often the path
// of a phone was renewed; a phone that is not in it never was.
func NewPaths(secret []byte, epochs map[mac.Addr]uint32) *Paths {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("patchbay personal path"))
	p := &Paths{key: h.Sum(nil), epochs: make(map[mac.Addr]uint32)}
	for m, n := range epochs {
		p.epochs[m] = n
	}
	return p
}

// Path is the path of a phone, with a slash at both ends.
func (p *Paths) Path(m mac.Addr) string {
	return "/" + personalPrefix + "/" + tokenText.EncodeToString(append(m[:], p.code(m)...)) + "/"
}

// Renew makes the path that a phone had worthless and returns how often that
// was done, which is to be stored.
func (p *Paths) Renew(m mac.Addr) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epochs[m]++
	return p.epochs[m]
}

func (p *Paths) code(m mac.Addr) []byte {
	p.mu.RLock()
	epoch := p.epochs[m]
	p.mu.RUnlock()
	h := hmac.New(sha256.New, p.key)
	h.Write(binary.BigEndian.AppendUint32(m[:], epoch))
	return h.Sum(nil)[:tokenCode]
}

// phone says whose a token is. It takes the same time for all that are wrong.
func (p *Paths) phone(token string) (mac.Addr, bool) {
	b, err := tokenText.DecodeString(strings.ToLower(token))
	if err != nil || len(b) != 6+tokenCode {
		return mac.Addr{}, false
	}
	m := mac.Addr(b[:6])
	return m, hmac.Equal(b[6:], p.code(m))
}

// cutToken takes the token from a name that begins with one.
func cutToken(name string) (token, rest string, ok bool) {
	prefix, rest, ok := strings.Cut(name, "/")
	if !ok || prefix != personalPrefix {
		return "", name, false
	}
	token, rest, _ = strings.Cut(rest, "/")
	return token, rest, true
}
