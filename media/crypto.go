package media

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// The SRTP suites that we accept (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14).
// We offer the first alone, which every peer has.
const (
	SuiteSHA1_80   = "AES_CM_128_HMAC_SHA1_80"
	SuiteSHA1_32   = "AES_CM_128_HMAC_SHA1_32"
	SuiteAES256_80 = "AES_256_CM_HMAC_SHA1_80"
	SuiteAES256_32 = "AES_256_CM_HMAC_SHA1_32"
	SuiteAES128GCM = "AEAD_AES_128_GCM"
	SuiteAES256GCM = "AEAD_AES_256_GCM"
)

// suite is what one of them is made of. Lengths are in octets.
type suite struct {
	name      string
	profile   srtp.ProtectionProfile
	key, salt int
}

// suites in the order in which we choose from an offer: the strongest that
// both have, and the longer authentication tag first.
var suites = []suite{
	{SuiteAES256GCM, srtp.ProtectionProfileAeadAes256Gcm, 32, 12},
	{SuiteAES128GCM, srtp.ProtectionProfileAeadAes128Gcm, 16, 12},
	{SuiteAES256_80, srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14},
	{SuiteSHA1_80, srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14},
	{SuiteAES256_32, srtp.ProtectionProfileAes256CmHmacSha1_32, 32, 14},
	{SuiteSHA1_32, srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14},
}

// suiteAliases are the names that phones wrote before RFC 6188 was settled.
var suiteAliases = map[string]string{
	"AES_CM_256_HMAC_SHA1_80": SuiteAES256_80,
	"AES_CM_256_HMAC_SHA1_32": SuiteAES256_32,
}

// Errors of [ParseCrypto]. All mean that this one line can't be used; another
// line of the same offer may be.
var (
	ErrCryptoSyntax      = errors.New("not a crypto attribute")
	ErrCryptoSuite       = errors.New("crypto suite not supported")
	ErrCryptoUnsupported = errors.New("crypto parameter not supported")
)

// Crypto is one SDES key (RFC 4568): what the party that wrote the line will
// encrypt with. Key is key||salt, 28 to
// 46 octets by suite, and must never be logged. Suite is written as its author
// wrote it, in upper case.
//
// MKI is the master key identifier that the author puts into each of its
// packets (RFC 3711 §8.1); empty, as in all keys of ours, where there is none.
type Crypto struct {
	Tag   int
	Suite string
	Key   []byte
	MKI   []byte
}

// NewCrypto makes a fresh random key. name is that of a suite.
func NewCrypto(tag int, name string) (Crypto, error) {
	c := Crypto{Tag: tag, Suite: name}
	su, err := c.suite()
	if err != nil {
		return Crypto{}, err
	}
	if tag < 0 || tag > maxCryptoTag {
		return Crypto{}, fmt.Errorf("tag %d: %w", tag, ErrCryptoSyntax)
	}
	c.Key = make([]byte, su.key+su.salt)
	rand.Read(c.Key)
	return c, nil
}

// RFC 4568 §9.1: tag = 1*9DIGIT.
const maxCryptoTag = 999_999_999

// String is the value of the a=crypto line, key included: it goes into an SDP
// and nowhere else.
func (c Crypto) String() string {
	s := strconv.Itoa(c.Tag) + " " + c.Suite + " inline:" + base64.StdEncoding.EncodeToString(c.Key)
	if len(c.MKI) > 0 {
		s += "|" + new(big.Int).SetBytes(c.MKI).String() + ":" + strconv.Itoa(len(c.MKI))
	}
	return s
}

// GoString keeps the key out of %#v, the usual way into a log.
func (c Crypto) GoString() string {
	return fmt.Sprintf("media.Crypto{Tag:%d, Suite:%q}", c.Tag, c.Suite)
}

// Equal tells whether both are the same suite and key. The tag is only a name.
func (c Crypto) Equal(d Crypto) bool {
	return c.Suite == d.Suite && bytes.Equal(c.Key, d.Key) && bytes.Equal(c.MKI, d.MKI)
}

func (c Crypto) suite() (suite, error) {
	name := c.Suite
	if known, ok := suiteAliases[name]; ok {
		name = known
	}
	for _, su := range suites {
		if su.name == name {
			return su, nil
		}
	}
	return suite{}, fmt.Errorf("%w: %.40q", ErrCryptoSuite, c.Suite)
}

func (c Crypto) validate() error {
	su, err := c.suite()
	if err != nil {
		return err
	}
	if len(c.Key) != su.key+su.salt {
		return fmt.Errorf("%w: key and salt are %d octets, not %d", ErrCryptoSyntax, len(c.Key), su.key+su.salt)
	}
	return nil
}

// ParseCrypto reads an a=crypto line, with or without "a=crypto:" in front.
//
// A lifetime (|2^20) is accepted and ignored: a call ends long before 2^20
// packets could be a risk, and the relay never uses a key for more than one
// call. Several keys in one line are refused, as are the session parameters
// that switch protection off (RFC 4568 §6.3). Errors carry no key material.
func ParseCrypto(line string) (Crypto, error) {
	line = strings.TrimPrefix(strings.TrimSpace(line), "a=")
	line = strings.TrimPrefix(line, "crypto:")
	f := strings.Fields(line)
	if len(f) < 3 {
		return Crypto{}, ErrCryptoSyntax
	}
	if len(f[0]) > 9 {
		return Crypto{}, fmt.Errorf("tag: %w", ErrCryptoSyntax)
	}
	tag, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil {
		return Crypto{}, fmt.Errorf("tag: %w", ErrCryptoSyntax)
	}
	c := Crypto{Tag: int(tag), Suite: strings.ToUpper(f[1])}
	su, err := c.suite()
	if err != nil {
		return Crypto{}, err
	}
	if c.Key, c.MKI, err = parseKeyParams(f[2], su.key+su.salt); err != nil {
		return Crypto{}, err
	}
	for _, p := range f[3:] {
		if err := checkSessionParam(p); err != nil {
			return Crypto{}, err
		}
	}
	return c, nil
}

// parseKeyParams reads inline:<key||salt>["|" lifetime]["|" MKI ":" length].
// size is that of key||salt in octets.
func parseKeyParams(s string, size int) (key, mki []byte, err error) {
	if strings.Contains(s, ";") {
		return nil, nil, fmt.Errorf("%w: more than one key", ErrCryptoUnsupported)
	}
	method, info, ok := strings.Cut(s, ":")
	if !ok || !strings.EqualFold(method, "inline") {
		return nil, nil, fmt.Errorf("key method: %w", ErrCryptoSyntax)
	}
	parts := strings.Split(info, "|")
	for i, p := range parts[1:] {
		switch value, length, isMKI := strings.Cut(p, ":"); {
		case isMKI && i == len(parts)-2:
			if mki, err = parseMKI(value, length); err != nil {
				return nil, nil, err
			}
		case i == 0 && digits(strings.TrimPrefix(p, "2^")):
		default:
			return nil, nil, fmt.Errorf("lifetime: %w", ErrCryptoSyntax)
		}
	}
	// Some pad where there is no need to, some leave out what is needed.
	key, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil || len(key) != size {
		return nil, nil, fmt.Errorf("key: %w", ErrCryptoSyntax)
	}
	return key, mki, nil
}

// parseMKI makes the octets of a master key identifier: a decimal number in
// as many of them as length says, 128 at most; 0 means that there is none.
func parseMKI(value, length string) ([]byte, error) {
	n, err := strconv.ParseUint(length, 10, 8)
	if err != nil || n > 128 || !digits(value) || len(value) > 309 {
		return nil, fmt.Errorf("master key identifier: %w", ErrCryptoSyntax)
	}
	number, _ := new(big.Int).SetString(value, 10)
	if n == 0 {
		return nil, nil
	}
	if number.BitLen() > int(n)*8 {
		return nil, fmt.Errorf("master key identifier: %w", ErrCryptoSyntax)
	}
	return number.FillBytes(make([]byte, n)), nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// checkSessionParam knows which parameters change nothing for us (RFC 4568
// §6.3): a receiver must refuse those that it does not understand, unless they
// begin with a minus sign.
func checkSessionParam(p string) error {
	name, value, _ := strings.Cut(p, "=")
	switch {
	case strings.HasPrefix(p, "-"):
		return nil
	case strings.EqualFold(name, "WSH"): // how large a replay window they hope for
		return nil
	case strings.EqualFold(name, "KDR") && value == "0": // the default
		return nil
	}
	return fmt.Errorf("%w: %.40q", ErrCryptoUnsupported, name)
}
