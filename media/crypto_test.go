package media

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const testKey = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw" // 30 octets

func TestParseCrypto(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		err      error
	}{
		{"plain", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey, nil},
		{"with its name", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey, nil},
		{"32 bit tag", "1 AES_CM_128_HMAC_SHA1_32 inline:" + testKey, nil},
		{"suite in lower case", "1 aes_cm_128_hmac_sha1_80 inline:" + testKey, nil},
		{"padded", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "=", nil},
		{"lifetime", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^20", nil},
		{"lifetime as a number", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|1048576", nil},
		{"empty MKI", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^20|1:0", nil},
		{"MKI", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^20|1:4", nil},
		{"MKI without lifetime", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|1:4", nil},
		{"MKI that does not fit", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|256:1", ErrCryptoSyntax},
		{"MKI of letters", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|x:1", ErrCryptoSyntax},
		{"MKI too long", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|1:129", ErrCryptoSyntax},
		{"two keys", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|1:1;inline:" + testKey + "|2:1", ErrCryptoUnsupported},
		{"hint about the window", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " WSH=1024", nil},
		{"optional parameter", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " -foo=1", nil},
		{"default key derivation", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " KDR=0", nil},
		{"key derivation", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " KDR=1", ErrCryptoUnsupported},
		{"unencrypted", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " UNENCRYPTED_SRTP", ErrCryptoUnsupported},
		{"unauthenticated", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " UNAUTHENTICATED_SRTP", ErrCryptoUnsupported},
		{"unencrypted RTCP", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " UNENCRYPTED_SRTCP", ErrCryptoUnsupported},
		{"unknown parameter", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + " foo=1", ErrCryptoUnsupported},
		{"key of another suite", "1 AES_256_CM_HMAC_SHA1_80 inline:" + testKey, ErrCryptoSyntax},
		{"F8", "1 F8_128_HMAC_SHA1_80 inline:" + testKey, ErrCryptoSuite},
		{"short key", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey[:36], ErrCryptoSyntax},
		{"long key", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "AAAA", ErrCryptoSyntax},
		{"not base64", "1 AES_CM_128_HMAC_SHA1_80 inline:" + strings.Repeat("!", 40), ErrCryptoSyntax},
		{"not inline", "1 AES_CM_128_HMAC_SHA1_80 uri:" + testKey, ErrCryptoSyntax},
		{"lifetime twice", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^20|2^20", ErrCryptoSyntax},
		{"lifetime of letters", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|x", ErrCryptoSyntax},
		{"no tag", "AES_CM_128_HMAC_SHA1_80 inline:" + testKey, ErrCryptoSyntax},
		{"tag too long", "1234567890 AES_CM_128_HMAC_SHA1_80 inline:" + testKey, ErrCryptoSyntax},
		{"negative tag", "-1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey, ErrCryptoSyntax},
		{"empty", "", ErrCryptoSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseCrypto(tt.in)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err != nil {
				if strings.Contains(err.Error(), testKey[:20]) {
					t.Errorf("the error shows the key: %v", err)
				}
				return
			}
			if string(got.Key) != "123456789012345678901234567890" || got.Tag != 1 {
				t.Errorf("got tag %d key %q", got.Tag, got.Key)
			}
			again, err := ParseCrypto(got.String())
			if err != nil || !again.Equal(got) || again.Tag != got.Tag {
				t.Errorf("String does not read back: %v", err)
			}
		})
	}
}

func TestNewCrypto(t *testing.T) {
	a, err := NewCrypto(1, SuiteSHA1_80)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewCrypto(1, SuiteSHA1_80)
	if err != nil {
		t.Fatal(err)
	}
	if a.Equal(b) || len(a.Key) != 30 {
		t.Error("two keys are the same, or of a wrong length")
	}
	if s := fmt.Sprintf("%#v", a); strings.Contains(s, "Key:") {
		t.Errorf("%%#v shows the key: %s", s)
	}
	if _, err := NewCrypto(1, "AES_CM_128_NULL"); !errors.Is(err, ErrCryptoSuite) {
		t.Errorf("unknown suite: %v", err)
	}
	if _, err := NewCrypto(-1, SuiteSHA1_80); err == nil {
		t.Error("negative tag accepted")
	}
}

// TestSuites holds the length of key and salt of each suite by its RFC, and
// that a key of ours is read back by the other side.
func TestSuites(t *testing.T) {
	for suite, octets := range map[string]int{
		SuiteSHA1_80: 30, SuiteSHA1_32: 30, // RFC 4568 §6.2
		SuiteAES256_80: 46, SuiteAES256_32: 46, "AES_CM_256_HMAC_SHA1_80": 46, // RFC 6188
		SuiteAES128GCM: 28, SuiteAES256GCM: 44, // RFC 7714 §12: a salt of 96 bits
	} {
		c, err := NewCrypto(7, suite)
		if err != nil || len(c.Key) != octets {
			t.Errorf("%s: %d octets, err %v, want %d", suite, len(c.Key), err, octets)
			continue
		}
		if got, err := ParseCrypto(c.String()); err != nil || !got.Equal(c) {
			t.Errorf("%s: String does not read back: %v", suite, err)
		}
	}
	withMKI := Crypto{Tag: 1, Suite: SuiteSHA1_80, Key: make([]byte, 30), MKI: []byte{0, 0, 1, 2}}
	if got, err := ParseCrypto(withMKI.String()); err != nil || !got.Equal(withMKI) {
		t.Errorf("%s reads back as %v, %v", withMKI, got, err)
	}
}

func TestPick(t *testing.T) {
	line := func(tag int, suite string) Crypto {
		c, err := NewCrypto(tag, suite)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tt := range []struct {
		name  string
		offer []Crypto
		want  int
	}{
		{"the longer tag", []Crypto{line(1, SuiteSHA1_32), line(2, SuiteSHA1_80)}, 2},
		{"the first of two alike", []Crypto{line(3, SuiteSHA1_80), line(4, SuiteSHA1_80)}, 3},
		{"AES-GCM of 256 bits before all", []Crypto{line(1, SuiteSHA1_80), line(2, SuiteAES128GCM), line(3, SuiteAES256_80), line(4, SuiteAES256GCM)}, 4},
		{"the old name of AES-256", []Crypto{line(1, SuiteSHA1_32), line(2, "AES_CM_256_HMAC_SHA1_80")}, 2},
	} {
		got, ok := (&Audio{Cryptos: tt.offer}).Pick()
		if !ok || got.Tag != tt.want {
			t.Errorf("%s: picked %d, want %d", tt.name, got.Tag, tt.want)
		}
	}
}
