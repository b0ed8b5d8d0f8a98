package provision

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

func TestCache(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	c := newCache()
	key := cacheKey{mac: yealink, local: netip.MustParseAddr("192.0.2.1")}
	p := Phone{MAC: yealink, Model: "T46U", Accounts: accounts(yealink, 2)}
	first := c.put(key, made{phone: p, site: new(berlin()), body: []byte("a")}, now)
	if c.find(key, p, new(berlin()), 0) != first {
		t.Error("the same phone is made again")
	}
	changed := p
	changed.Accounts = accounts(yealink, 2)
	if c.find(key, changed, new(berlin()), 0) != first {
		t.Error("equal accounts are made again")
	}
	changed.Accounts[1].Label = "Anna"
	other := berlin()
	other.Emergency = []string{"112"}
	for name, got := range map[string]*made{
		"another label": c.find(key, changed, new(berlin()), 0), "another site": c.find(key, p, &other, 0),
		"other overrides": c.find(key, p, new(berlin()), 1), "another phone": c.find(cacheKey{mac: poly}, p, new(berlin()), 0),
	} {
		if got != nil {
			t.Errorf("%s: an old file", name)
		}
	}
	if again := c.put(key, made{phone: changed, site: new(berlin()), body: []byte("a")}, now.Add(time.Hour)); !again.modified.Equal(now) {
		t.Error("the same bytes have a new date")
	}
	if again := c.put(key, made{phone: changed, site: new(berlin()), body: []byte("b")}, now.Add(time.Hour)); again.modified.Equal(now) || len(c.files) != 1 || c.bytes != 1 {
		t.Errorf("other bytes: %d files of %d bytes", len(c.files), c.bytes)
	}
	for n := range 300 {
		m := mac.Addr{0, 0, 0x5e, 1, byte(n >> 8), byte(n)}
		c.put(cacheKey{mac: m, lang: fmt.Sprint(n)}, made{body: make([]byte, 1<<20)}, now)
	}
	if c.bytes > cacheBytes || len(c.files) > cacheFiles {
		t.Errorf("%d files of %d bytes are kept", len(c.files), c.bytes)
	}
}
