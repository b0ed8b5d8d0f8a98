package dhcp

import (
	"net/netip"
	"sync"
	"time"
)

const (
	remembered = time.Second // a LAN that gets its power back asks the same a thousand times
	maxClasses = 256
)

// WithMemory lets a BootServer be asked once for all devices that present
// themselves alike: with the same OUI and the same options. What it says may
// hang on the MAC address no further than that, and a change of what it says
// shows within a second.
func WithMemory(inner BootServer) BootServer {
	return &memory{inner: inner, said: make(map[class]Boot)}
}

// class is what devices present themselves by.
type class struct {
	oui          [3]byte
	vendor, user string
	requested    string
	server       netip.Addr
}

type memory struct {
	inner BootServer

	mu    sync.Mutex
	since time.Time
	said  map[class]Boot
}

// BootOptions implements [BootServer].
func (m *memory) BootOptions(a Ask) Boot {
	c := class{a.MAC.OUI(), a.VendorClass, a.UserClass, string(a.Requested), a.Server}
	now := time.Now()
	m.mu.Lock()
	if now.Sub(m.since) >= remembered || len(m.said) >= maxClasses {
		clear(m.said)
		m.since = now
	}
	b, ok := m.said[c]
	m.mu.Unlock()
	if ok {
		return b
	}
	b = m.inner.BootOptions(a)
	m.mu.Lock()
	m.said[c] = b
	m.mu.Unlock()
	return b
}
