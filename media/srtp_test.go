package media

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pion/srtp/v3"
)

func newKey(t testing.TB, suite string) *Crypto {
	t.Helper()
	c, err := NewCrypto(1, suite)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// far is the SRTP of another implementation's making: bare pion contexts.
func far(t testing.TB, c *Crypto) *srtp.Context {
	t.Helper()
	layout := map[string]struct {
		profile srtp.ProtectionProfile
		key     int
	}{
		SuiteSHA1_80:   {srtp.ProtectionProfileAes128CmHmacSha1_80, 16},
		SuiteSHA1_32:   {srtp.ProtectionProfileAes128CmHmacSha1_32, 16},
		SuiteAES256_80: {srtp.ProtectionProfileAes256CmHmacSha1_80, 32},
		SuiteAES256_32: {srtp.ProtectionProfileAes256CmHmacSha1_32, 32},
		SuiteAES128GCM: {srtp.ProtectionProfileAeadAes128Gcm, 16},
		SuiteAES256GCM: {srtp.ProtectionProfileAeadAes256Gcm, 32},
	}[c.Suite]
	var opt []srtp.ContextOption
	if len(c.MKI) > 0 {
		opt = append(opt, srtp.MasterKeyIndicator(c.MKI))
	}
	ctx, err := srtp.CreateContext(c.Key[:layout.key], c.Key[layout.key:], layout.profile, opt...)
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func protect(t testing.TB, c *srtp.Context, b []byte) []byte {
	t.Helper()
	out, err := c.EncryptRTP(nil, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustSet(t testing.TB, set func(*Crypto) error, key *Crypto) {
	t.Helper()
	if err := set(key); err != nil {
		t.Fatal(err)
	}
}

// run opens packets from seq on, n of them 20 apart in numbers to pass the
// wrap of the sequence number quickly, and returns how many were taken.
func opened(t testing.TB, o *opener, c *srtp.Context, ssrc uint32, from, n int) (taken int) {
	t.Helper()
	for i := range n {
		plain := rtpPacket(ssrc, uint16(from+i*20), 0)
		out, ok := o.rtpPacket(protect(t, c, plain))
		if !ok {
			continue
		}
		if !bytes.Equal(out, plain) {
			t.Fatalf("packet %d came out changed", i)
		}
		taken++
	}
	return taken
}

func TestOpener(t *testing.T) {
	for _, name := range []string{SuiteSHA1_80, SuiteSHA1_32, SuiteAES256_80, SuiteAES256_32, SuiteAES128GCM, SuiteAES256GCM, "MKI"} {
		t.Run(name, func(t *testing.T) {
			var o opener
			suite := name
			if name == "MKI" {
				suite = SuiteSHA1_80
			}
			key := newKey(t, suite)
			if name == "MKI" {
				key.MKI = []byte{0, 0, 0, 1}
			}
			mustSet(t, o.set, key)
			gw := far(t, key)
			// 4 roll-overs, then the same key again, as a re-INVITE says it.
			if n := opened(t, &o, gw, 7, 0, 15000); n != 15000 {
				t.Fatalf("opened %d of 15000", n)
			}
			if roc, _ := gw.ROC(7); roc != 4 {
				t.Fatalf("roll-over counter = %d, the test does not test it", roc)
			}
			again := *key
			again.Tag = 5
			mustSet(t, o.set, &again)
			if n := opened(t, &o, gw, 7, 300000, 100); n != 100 {
				t.Errorf("after the same key again: opened %d of 100", n)
			}
			packet := protect(t, gw, rtpPacket(7, uint16(302000%65536), 0))
			if _, ok := o.rtpPacket(bytes.Clone(packet)); !ok {
				t.Error("packet refused")
			}
			if _, ok := o.rtpPacket(bytes.Clone(packet)); ok {
				t.Error("replay accepted")
			}
			packet[20] ^= 1
			if _, ok := o.rtpPacket(packet); ok {
				t.Error("forgery accepted")
			}
		})
	}
}

func TestOpenerNewKey(t *testing.T) {
	for _, tt := range []struct {
		name string
		roc  uint32
	}{{"the other side resets its roll-over counter", 0}, {"the other side keeps it", 4}} {
		t.Run(tt.name, func(t *testing.T) {
			var o opener
			key1, key2 := newKey(t, SuiteSHA1_80), newKey(t, SuiteSHA1_80)
			mustSet(t, o.set, key1)
			gw1, gw2 := far(t, key1), far(t, key2)
			opened(t, &o, gw1, 7, 0, 15000)
			mustSet(t, o.set, key2)
			if n := opened(t, &o, gw1, 7, 300000, 10); n != 10 {
				t.Errorf("packets still on their way under the old key: opened %d of 10", n)
			}
			if tt.roc > 0 {
				gw2.SetROC(7, tt.roc)
			}
			if n := opened(t, &o, gw2, 7, 300200, 500); n != 500 {
				t.Errorf("under the new key: opened %d of 500", n)
			}
			if n := opened(t, &o, gw1, 7, 300200, 10); n != 0 {
				t.Errorf("the old key still opens %d of 10", n)
			}
			if len(o.contexts) != 1 {
				t.Errorf("%d contexts left", len(o.contexts))
			}
		})
	}
}

func TestOpenerOtherSource(t *testing.T) {
	var o opener
	key := newKey(t, SuiteSHA1_80)
	mustSet(t, o.set, key)
	gw := far(t, key)
	opened(t, &o, gw, 7, 0, 15000)
	// A gateway that changes its SSRC begins at zero.
	if n := opened(t, &o, gw, 8, 60000, 1000); n != 1000 {
		t.Errorf("opened %d of 1000", n)
	}
}

func TestSealer(t *testing.T) {
	var s sealer
	key := newKey(t, SuiteSHA1_80)
	mustSet(t, s.set, key)
	gw := far(t, key)
	for i := range 15000 {
		if i == 10000 {
			mustSet(t, s.set, &Crypto{Tag: 9, Suite: key.Suite, Key: bytes.Clone(key.Key)})
		}
		plain := rtpPacket(7, uint16(i*20), 0)
		out, err := s.rtpPacket(append(make([]byte, 0, 256), plain...))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out, plain[12:40]) {
			t.Fatal("not encrypted")
		}
		got, err := gw.DecryptRTP(nil, out, nil)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}

func TestSetCryptoRefuses(t *testing.T) {
	s := NewStream(StreamConfig{Pair: openPair(t), Name: "gateway"})
	good := newKey(t, SuiteSHA1_80)
	for _, tt := range []struct {
		name       string
		send, recv *Crypto
		err        error
	}{
		{"one way", good, nil, ErrNoCommonCrypto},
		{"the other way", nil, good, ErrNoCommonCrypto},
		{"short key", good, &Crypto{Suite: SuiteSHA1_80, Key: make([]byte, 29)}, ErrCryptoSyntax},
		{"suite", &Crypto{Suite: "x", Key: make([]byte, 30)}, good, ErrCryptoSuite},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.SetCrypto(tt.send, tt.recv); !errors.Is(err, tt.err) {
				t.Errorf("error = %v, want %v", err, tt.err)
			}
			if s.send.seal.context != nil || s.recv.open.contexts != nil {
				t.Error("something was changed all the same")
			}
		})
	}
	if err := s.SetCrypto(good, good); err != nil {
		t.Error(err)
	}
}
