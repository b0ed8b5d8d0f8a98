//go:build bench

package bench

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"testing"
)

const (
	masterKey  = 16 // octets of an AES_CM_128_HMAC_SHA1_80 key, the salt follows
	masterSalt = 14
	tagSize    = 10
)

// sealing protects and proves RTP by AES_CM_128_HMAC_SHA1_80 (RFC 3711), for
// streams that end before their sequence numbers wrap. It is not the code that
// the box seals with: what both agree on is right.
type sealing struct {
	block cipher.Block
	salt  [masterSalt]byte
	mac   hash.Hash
	sum   [sha1.Size]byte
}

// newSealing derives the session keys (RFC 3711 §4.3.1) of a key||salt.
func newSealing(master []byte) (*sealing, error) {
	root, err := aes.NewCipher(master[:masterKey])
	if err != nil {
		return nil, err
	}
	derive := func(label byte, n int) []byte {
		var iv [aes.BlockSize]byte
		copy(iv[:], master[masterKey:masterKey+masterSalt])
		iv[7] ^= label
		out := make([]byte, n)
		cipher.NewCTR(root, iv[:]).XORKeyStream(out, out)
		return out
	}
	s := &sealing{mac: hmac.New(sha1.New, derive(1, sha1.Size))}
	if s.block, err = aes.NewCipher(derive(0, masterKey)); err != nil {
		return nil, err
	}
	copy(s.salt[:], derive(2, masterSalt))
	return s, nil
}

// tag is that of a packet without one (RFC 3711 §4.2), roll-over counter 0.
func (s *sealing) tag(packet []byte) []byte {
	var roc [4]byte
	s.mac.Reset()
	s.mac.Write(packet)
	s.mac.Write(roc[:])
	return s.mac.Sum(s.sum[:0])[:tagSize]
}

// crypt en- or decrypts what follows the 12 octets of header (RFC 3711
// §4.1.1). It takes nothing from the heap, unlike [cipher.NewCTR].
func (s *sealing) crypt(packet []byte) {
	var iv, stream [aes.BlockSize]byte
	copy(iv[:], s.salt[:])
	for i := range 4 {
		iv[4+i] ^= packet[8+i] // SSRC
	}
	iv[12] ^= packet[2] // index: the sequence number
	iv[13] ^= packet[3]
	body := packet[12:]
	for n := uint16(0); len(body) > 0; n++ {
		binary.BigEndian.PutUint16(iv[14:], n)
		s.block.Encrypt(stream[:], iv[:])
		k := min(len(body), len(stream))
		for i := range k {
			body[i] ^= stream[i]
		}
		body = body[k:]
	}
}

// seal encrypts in place and adds the tag.
func (s *sealing) seal(packet []byte) []byte {
	s.crypt(packet)
	return append(packet, s.tag(packet)...)
}

// proves tells whether the tag at the end of a packet is right.
func (s *sealing) proves(packet []byte) bool {
	at := len(packet) - tagSize
	return at >= 12 && bytes.Equal(s.tag(packet[:at]), packet[at:])
}

// TestMediaSealing is the key derivation of RFC 3711 §B.3, and a tag that a
// changed bit breaks.
func TestMediaSealing(t *testing.T) {
	master, _ := hex.DecodeString("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6")
	s, err := newSealing(master)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(s.salt[:]), "30cbbc08863d8c85d49db34a9ae1"; got != want {
		t.Errorf("session salt %s, want %s", got, want)
	}
	packet := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7}, bytes.Repeat([]byte{0xd5}, 160)...)
	sealed := s.seal(bytes.Clone(packet))
	if !s.proves(sealed) {
		t.Error("a sealed packet does not prove itself")
	}
	sealed[20] ^= 1
	if s.proves(sealed) {
		t.Error("a changed packet proves itself")
	}
	sealed[20] ^= 1
	s.crypt(sealed[:len(packet)])
	if !bytes.Equal(sealed[:len(packet)], packet) {
		t.Error("decrypting does not give the packet back")
	}
}
