package sipedge

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// keyed makes sums of HMAC-SHA-256 (RFC 2104) under one key. A fresh hash costs
// more than its sum, so they are used again. Any number may do so at a time.
type keyed struct {
	key  []byte
	idle sync.Pool // of *keyedHash
}

func newKeyed(key []byte) *keyed { return &keyed{key: key} }

// keyedHash is one sum in the making: what in holds is summed.
type keyedHash struct {
	in   []byte
	hash hash.Hash
	out  [sha256.Size]byte
}

// begin starts a sum.
func (k *keyed) begin() *keyedHash {
	h, ok := k.idle.Get().(*keyedHash)
	if !ok {
		h = &keyedHash{hash: hmac.New(sha256.New, k.key)}
	}
	h.in = h.in[:0]
	return h
}

// end returns the sum. h must not be used any more.
func (k *keyed) end(h *keyedHash) [sha256.Size]byte {
	h.hash.Reset()
	h.hash.Write(h.in)
	h.hash.Sum(h.out[:0])
	sum := h.out
	if cap(h.in) > 1<<12 { // such as a header of 8 KiB
		h.in = nil
	}
	k.idle.Put(h)
	return sum
}
