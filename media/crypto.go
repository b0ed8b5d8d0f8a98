package media

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// The SRTP suites that we offer and accept (RFC 4568 §6.2).
const (
	SuiteSHA1_80 = "AES_CM_128_HMAC_SHA1_80"
	SuiteSHA1_32 = "AES_CM_128_HMAC_SHA1_32"
)

// keySaltLen is the length of key||salt of both suites: 16 and 14 octets.
const (
	keyLen     = 16
	keySaltLen = 30
)

// Errors of [ParseCrypto]. All mean that this one line can't be used; another
// line of the same offer may be.
var (
	ErrCryptoSyntax      = errors.New("not a crypto attribute")
	ErrCryptoSuite       = errors.New("crypto suite not supported")
	ErrCryptoUnsupported = errors.New("crypto parameter not supported")
)

// Crypto is one SDES key (RFC 4568): what the party that wrote the line will
// encrypt with. Key is key||salt, 30 octets, and must never be logged.
type Crypto struct {
	Tag   int
	Suite string
	Key   []byte
}

// NewCrypto makes a fresh random key. The suite is one of the constants.
func NewCrypto(tag int, suite string) (Crypto, error) {
	c := Crypto{Tag: tag, Suite: suite, Key: make([]byte, keySaltLen)}
	if _, err := c.profile(); err != nil {
		return Crypto{}, err
	}
	if tag < 0 || tag > maxCryptoTag {
		return Crypto{}, fmt.Errorf("tag %d: %w", tag, ErrCryptoSyntax)
	}
	rand.Read(c.Key)
	return c, nil
}

// RFC 4568 §9.1: tag = 1*9DIGIT.
const maxCryptoTag = 999_999_999

// String is the value of the a=crypto line, key included: it goes into an SDP
// and nowhere else.
func (c Crypto) String() string {
	return strconv.Itoa(c.Tag) + " " + c.Suite + " inline:" + base64.StdEncoding.EncodeToString(c.Key)
}

// GoString keeps the key out of %#v, the usual way into a log.
func (c Crypto) GoString() string {
	return fmt.Sprintf("media.Crypto{Tag:%d, Suite:%q}", c.Tag, c.Suite)
}

// Equal tells whether both are the same suite and key. The tag is only a name.
func (c Crypto) Equal(d Crypto) bool {
	return c.Suite == d.Suite && string(c.Key) == string(d.Key)
}

func (c Crypto) profile() (srtp.ProtectionProfile, error) {
	switch c.Suite {
	case SuiteSHA1_80:
		return srtp.ProtectionProfileAes128CmHmacSha1_80, nil
	case SuiteSHA1_32:
		return srtp.ProtectionProfileAes128CmHmacSha1_32, nil
	}
	return 0, fmt.Errorf("%w: %.40q", ErrCryptoSuite, c.Suite)
}

func (c Crypto) validate() error {
	if _, err := c.profile(); err != nil {
		return err
	}
	if len(c.Key) != keySaltLen {
		return fmt.Errorf("%w: key and salt are %d octets, not %d", ErrCryptoSyntax, len(c.Key), keySaltLen)
	}
	return nil
}

// ParseCrypto reads an a=crypto line, with or without "a=crypto:" in front.
//
// A lifetime (|2^20) is accepted and ignored: a call ends long before 2^20
// packets could be a risk, and the relay never uses a key for more than one
// call. A master key identifier of length above zero would put extra octets
// into each packet, and several keys need one; both are refused, as are the
// session parameters that switch protection off (RFC 4568 §6.3). Errors carry
// no key material.
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
	if _, err := c.profile(); err != nil {
		return Crypto{}, err
	}
	if c.Key, err = parseKeyParams(f[2]); err != nil {
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
func parseKeyParams(s string) ([]byte, error) {
	if strings.Contains(s, ";") {
		return nil, fmt.Errorf("%w: more than one key", ErrCryptoUnsupported)
	}
	method, info, ok := strings.Cut(s, ":")
	if !ok || !strings.EqualFold(method, "inline") {
		return nil, fmt.Errorf("key method: %w", ErrCryptoSyntax)
	}
	parts := strings.Split(info, "|")
	for i, p := range parts[1:] {
		switch mki, length, isMKI := strings.Cut(p, ":"); {
		case isMKI && i == len(parts)-2:
			if n, err := strconv.ParseUint(length, 10, 8); err != nil || n > 128 || !digits(mki) {
				return nil, fmt.Errorf("master key identifier: %w", ErrCryptoSyntax)
			} else if n > 0 {
				return nil, fmt.Errorf("%w: master key identifier", ErrCryptoUnsupported)
			}
		case i == 0 && digits(strings.TrimPrefix(p, "2^")):
		default:
			return nil, fmt.Errorf("lifetime: %w", ErrCryptoSyntax)
		}
	}
	// 30 octets are 40 characters without padding; phones pad all the same.
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil || len(key) != keySaltLen {
		return nil, fmt.Errorf("key: %w", ErrCryptoSyntax)
	}
	return key, nil
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
