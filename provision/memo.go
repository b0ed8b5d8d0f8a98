package provision

import "sync"

// memoSize is how many answers a memo holds: more than a large site has
// phones.
const memoSize = 8192

// memo remembers what a function said to a text. The function must always say
// the same, and what it returns must not be changed. When the memo is full it
// begins again, so that who asks for ever new texts fills no memory.
type memo[V any] struct {
	mu   sync.RWMutex
	said map[string]V
}

func (m *memo[V]) ask(text string, f func(string) V) V {
	m.mu.RLock()
	v, ok := m.said[text]
	m.mu.RUnlock()
	if ok {
		return v
	}
	v = f(text)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.said == nil || len(m.said) >= memoSize {
		m.said = make(map[string]V)
	}
	m.said[text] = v
	return v
}
