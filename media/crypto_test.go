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
		{"MKI", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|2^20|1:4", ErrCryptoUnsupported},
		{"MKI without lifetime", "1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey + "|1:4", ErrCryptoUnsupported},
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
		{"other suite", "1 AES_256_CM_HMAC_SHA1_80 inline:" + testKey, ErrCryptoSuite},
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
