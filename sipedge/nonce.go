package sipedge

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// nonceLife is how long a nonce may be used. A phone that comes later is told
// stale=true and tries again by itself.
const nonceLife = 60 * time.Second

// maxNonces bounds the memory for nonces in use; beyond it the oldest are
// forgotten, and their next use counts as stale.
const maxNonces = 1 << 14

// nonces makes and checks the nonces of the digest server. A nonce carries its
// own proof (RFC 7616 §5.4), bound to the address it was made for; what is kept
// is only how often a nonce that passed was used.
type nonces struct {
	key *keyed
	now func() time.Time

	mu   sync.Mutex
	used map[string]*nonceUse
}

type nonceUse struct {
	until    time.Time
	count    uint32
	response string
}

const nonceBody = 8 + 6 // time, random

// make returns a nonce for one source address.
func (n *nonces) make(source netip.Addr) string {
	var b [nonceBody + 12]byte
	binary.BigEndian.PutUint64(b[:8], uint64(n.now().UnixMilli()))
	_, _ = rand.Read(b[8:nonceBody]) // never fails
	sum := n.sum(b[:nonceBody], source)
	copy(b[nonceBody:], sum[:12])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (n *nonces) sum(body []byte, source netip.Addr) (sum [sha256.Size]byte) {
	h := n.key.begin()
	h.in = append(h.in, body...)
	a := source.As16()
	h.in = append(h.in, a[:]...)
	return n.key.end(h)
}

// fresh says whether we made this nonce for this source within its life.
func (n *nonces) fresh(nonce string, source netip.Addr) bool {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceBody+12 {
		return false
	}
	if sum := n.sum(b[:nonceBody], source); !hmac.Equal(b[nonceBody:], sum[:12]) {
		return false
	}
	age := n.now().Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(b))))
	return age >= 0 && age <= nonceLife
}

// use counts a use of a fresh nonce. It is false for a replay. The same
// credentials with the same count are a retransmission and pass.
func (n *nonces) use(c *credentials) bool {
	var count uint32
	if c.qop != "" {
		v, err := strconv.ParseUint(c.nc, 16, 32)
		if err != nil || v == 0 {
			return false
		}
		count = uint32(v)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.used[c.nonce]
	if u == nil {
		if len(n.used) >= maxNonces {
			n.forget()
		}
		// Copies, that do not keep the whole message.
		n.used[strings.Clone(c.nonce)] = &nonceUse{until: n.now().Add(nonceLife), count: count, response: strings.Clone(c.response)}
		return true
	}
	if count == u.count {
		return c.response == u.response
	}
	if count < u.count {
		return false
	}
	u.count, u.response = count, strings.Clone(c.response)
	return true
}

// sweep drops nonces whose life is over.
func (n *nonces) sweep() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	walk := paced(&n.mu)
	for k, u := range n.used {
		if now.After(u.until) {
			delete(n.used, k)
		}
		walk.next()
	}
}

// forget makes room. The nonces that go were used, so they are good for a
// replay until they are too old; that needs maxNonces uses in a minute by
// phones with the right password.
func (n *nonces) forget() {
	drop := maxNonces / 4
	for k := range n.used {
		if drop--; drop < 0 {
			return
		}
		delete(n.used, k)
	}
}
