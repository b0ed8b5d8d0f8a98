package lab

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// errCrypto is wrapped when a crypto attribute can't be used.
var errCrypto = errors.New("unusable crypto attribute")

const (
	suite80 = "AES_CM_128_HMAC_SHA1_80"
	suite32 = "AES_CM_128_HMAC_SHA1_32"
)

// crypto is one crypto attribute (RFC 4568 §4): a key for what its sender sends.
type crypto struct {
	Tag   int
	Suite string
	Key   []byte // master key and salt, 30 bytes for both suites
}

func newCrypto(tag int, suite string) (crypto, error) {
	c := crypto{Tag: tag, Suite: suite, Key: make([]byte, 30)}
	if _, err := rand.Read(c.Key); err != nil {
		return crypto{}, fmt.Errorf("make a media key: %w", err)
	}
	return c, nil
}

// parseCrypto reads the value of an attribute, such as
// "1 AES_CM_128_HMAC_SHA1_80 inline:d0Rmdmcm…|2^31". A lifetime is read over;
// a master key identifier, several keys and session parameters that we would
// have to obey are refused (RFC 4568 §6.3).
func parseCrypto(value string) (crypto, error) {
	f := strings.Fields(value)
	if len(f) < 3 {
		return crypto{}, fmt.Errorf("%w: want tag, suite and key", errCrypto)
	}
	tag, err := strconv.ParseUint(f[0], 10, 31)
	if err != nil {
		return crypto{}, fmt.Errorf("%w: tag: %w", errCrypto, err)
	}
	suite := strings.ToUpper(f[1])
	if suite != suite80 && suite != suite32 {
		return crypto{}, fmt.Errorf("%w: suite %q", errCrypto, f[1])
	}
	method, info, _ := strings.Cut(f[2], ":")
	if !strings.EqualFold(method, "inline") || strings.Contains(info, ";") {
		return crypto{}, fmt.Errorf("%w: key method %q", errCrypto, method)
	}
	parts := strings.Split(info, "|")
	for _, p := range parts[1:] {
		if strings.Contains(p, ":") {
			return crypto{}, fmt.Errorf("%w: master key identifier", errCrypto)
		}
	}
	for _, p := range f[3:] {
		if !strings.HasPrefix(p, "WSH=") && !strings.HasPrefix(p, "-") {
			return crypto{}, fmt.Errorf("%w: session parameter %q", errCrypto, p)
		}
	}
	// Padding is missing at some peers, so both forms are read.
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil || len(key) != 30 {
		return crypto{}, fmt.Errorf("%w: want a key and salt of 30 bytes", errCrypto)
	}
	return crypto{Tag: int(tag), Suite: suite, Key: key}, nil
}

// String returns the value of the attribute. It holds the key.
func (c crypto) String() string {
	return fmt.Sprintf("%d %s inline:%s", c.Tag, c.Suite, base64.StdEncoding.EncodeToString(c.Key))
}

// context returns the SRTP state for one direction; not safe for concurrent use.
func (c crypto) context() (*srtp.Context, error) {
	profile := srtp.ProtectionProfileAes128CmHmacSha1_80
	if c.Suite == suite32 {
		profile = srtp.ProtectionProfileAes128CmHmacSha1_32
	}
	ctx, err := srtp.CreateContext(c.Key[:16], c.Key[16:], profile, srtp.SRTPReplayProtection(64))
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", c.Suite, err)
	}
	return ctx, nil
}
