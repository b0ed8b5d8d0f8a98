package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"patchbay/dhcp/mac"
)

// Limits of what is kept of rendered files. A phone has three files at most,
// in one language.
const (
	cacheFiles = 16384
	cacheBytes = 64 << 20
)

// made is a file that was rendered, with all that it was made from. It is not
// changed once it is in the cache.
type made struct {
	phone Phone
	site  *Site
	edits uint64 // state of the overrides

	body     []byte
	english  bool
	etag     string
	modified time.Time // when it was first made so
}

// cacheKey names a file as one phone is given it.
type cacheKey struct {
	vendor *Vendor
	file   *File
	mac    mac.Addr // zero: a file of all phones
	model  string
	local  netip.Addr
	lang   string
}

// cache keeps rendered files. A file is used again only if everything that it
// was made from is the same, so nothing has to be told that it is stale.
type cache struct {
	mu    sync.RWMutex
	files map[cacheKey]*made
	bytes int
}

func newCache() *cache { return &cache{files: make(map[cacheKey]*made)} }

// find returns a file that was made from the same; nil if there is none.
func (c *cache) find(key cacheKey, p Phone, site *Site, edits uint64) *made {
	c.mu.RLock()
	m := c.files[key]
	c.mu.RUnlock()
	if m == nil || m.edits != edits || !samePhone(m.phone, p) || m.site != site && !reflect.DeepEqual(m.site, site) {
		return nil
	}
	return m
}

// put keeps a file and returns it with its tag. A file that came out the same
// as before keeps the time at which it was first made.
func (c *cache) put(key cacheKey, m made, now time.Time) *made {
	sum := sha256.Sum256(m.body)
	m.etag, m.modified = `"`+hex.EncodeToString(sum[:16])+`"`, now
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.files[key]; old != nil {
		if old.etag == m.etag {
			m.modified = old.modified
		}
		c.bytes -= len(old.body)
		delete(c.files, key)
	}
	for k, old := range c.files { // any will do: it is made again when it is asked for
		if len(c.files) < cacheFiles && c.bytes+len(m.body) <= cacheBytes {
			break
		}
		c.bytes -= len(old.body)
		delete(c.files, k)
	}
	c.files[key] = &m
	c.bytes += len(m.body)
	return &m
}

// samePhone compares what configurations are made from. Most phones differ in
// the first fields or not at all.
func samePhone(a, b Phone) bool {
	if a.MAC != b.MAC || a.Model != b.Model || a.Language != b.Language || len(a.Accounts) != len(b.Accounts) {
		return false
	}
	if !slices.Equal(a.Accounts, b.Accounts) || !slices.Equal(a.Keys, b.Keys) {
		return false
	}
	a.Accounts, a.Keys, b.Accounts, b.Keys = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}
