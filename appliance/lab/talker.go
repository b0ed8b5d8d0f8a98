package lab

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
)

// errInsecure is wrapped when a peer offers or answers media in the clear
// where only SRTP is taken.
var errInsecure = errors.New("media in the clear")

// talker negotiates media the way its owner does (RFC 3264).
type talker struct {
	addr   netip.Addr
	laws   []law // in the order of preference
	event  uint8 // payload type of telephone-event; 0: none
	secure bool  // SRTP with SDES and nothing else
	latch  bool
	silent *atomic.Bool // may be nil
}

// media is one end's audio while a call is set up and lasts.
type media struct {
	t      talker
	s      *stream
	key    *crypto // for what we send
	peer   []byte  // key of what we hear; empty in the clear
	plan   plan
	remote netip.AddrPort

	mu   sync.Mutex
	said talk // our last description
}

// open binds the sockets.
func (t talker) open() (*media, error) {
	s, err := openStream(t.addr)
	if err != nil {
		return nil, err
	}
	return &media{t: t, s: s}, nil
}

// begin starts sending and recording.
func (m *media) begin() {
	p := m.plan
	p.silent = m.t.silent != nil && m.t.silent.Load()
	m.s.start(p, m.remote, rand.Uint64())
}

// offer describes what we can do.
func (m *media) offer() ([]byte, error) {
	if m.t.secure {
		key, err := newCrypto(1, suite80)
		if err != nil {
			return nil, err
		}
		m.key = &key
	}
	m.said = talk{
		session: m.s.session, version: 1, addr: m.s.local.Addr(), port: m.s.local.Port(), laws: m.t.laws,
		pts: offered(m.t.laws), event: m.t.event, crypto: m.key, direction: "sendrecv",
	}
	return m.said.bytes(), nil
}

// answered takes the answer to our offer.
func (m *media) answered(answer []byte) error {
	d, err := parseDescription(answer)
	if err != nil {
		return err
	}
	if err := m.agree(d); err != nil {
		return err
	}
	if m.key == nil {
		return nil
	}
	// RFC 4568 §5.1.3: the answer repeats the tag that it chose.
	if len(d.Cryptos) != 1 || d.Cryptos[0].Tag != m.key.Tag || d.Cryptos[0].Suite != m.key.Suite {
		return fmt.Errorf("answer: %w", errCrypto)
	}
	return m.keys(d.Cryptos[0])
}

// answer takes an offer and answers it.
func (m *media) answer(offer []byte) ([]byte, error) {
	d, err := parseDescription(offer)
	if err != nil {
		return nil, err
	}
	if err := m.agree(d); err != nil {
		return nil, err
	}
	if m.t.secure {
		if len(d.Cryptos) == 0 {
			return nil, fmt.Errorf("offer: %w", errCrypto)
		}
		key, err := newCrypto(d.Cryptos[0].Tag, d.Cryptos[0].Suite)
		if err != nil {
			return nil, err
		}
		m.key = &key
		if err := m.keys(d.Cryptos[0]); err != nil {
			return nil, err
		}
	}
	m.said = talk{
		session: m.s.session, version: 1, addr: m.s.local.Addr(), port: m.s.local.Port(), laws: []law{m.plan.law},
		pts: []uint8{m.plan.pt}, event: d.event(), crypto: m.key, direction: mirrored(d.Direction),
	}
	return m.said.bytes(), nil
}

// agree checks the profile and chooses codec and address.
func (m *media) agree(d description) error {
	want := profilePlain
	if m.t.secure {
		want = profileSecure
	}
	for _, profile := range d.Streams {
		if m.t.secure && profile != profileSecure {
			return fmt.Errorf("%w: profile %s", errInsecure, profile)
		}
	}
	if d.Profile != want {
		return fmt.Errorf("profile %s, want %s: %w", d.Profile, want, errNoAudio)
	}
	var err error
	if m.plan.law, m.plan.pt, err = d.choose(m.t.laws); err != nil {
		return err
	}
	m.plan.latch = m.t.latch
	m.remote = netip.AddrPortFrom(d.Addr, d.Port)
	return nil
}

// keys makes the contexts of both directions.
func (m *media) keys(theirs crypto) error {
	var err error
	if m.plan.send, err = m.key.context(); err != nil {
		return err
	}
	if m.plan.recv, err = theirs.context(); err != nil {
		return err
	}
	m.peer = theirs.Key
	return nil
}

// reanswer takes an offer within the call. Codec and keys stay; the address
// and the direction may change.
func (m *media) reanswer(offer []byte) ([]byte, error) {
	d, err := parseDescription(offer)
	if err != nil {
		return nil, err
	}
	again := media{t: m.t}
	if err := again.agree(d); err != nil {
		return nil, err
	}
	if again.plan.law != m.plan.law || again.plan.pt != m.plan.pt {
		return nil, fmt.Errorf("the codec changed: %w", errNoAudio)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	said := m.said
	if m.key != nil {
		if len(d.Cryptos) == 0 || !bytes.Equal(d.Cryptos[0].Key, m.peer) {
			return nil, fmt.Errorf("the key changed: %w", errCrypto)
		}
		key := crypto{Tag: d.Cryptos[0].Tag, Suite: m.key.Suite, Key: m.key.Key}
		said.crypto = &key
	}
	m.s.retarget(again.remote)
	said.version++
	said.laws, said.pts = []law{m.plan.law}, []uint8{m.plan.pt}
	said.event, said.direction = d.event(), mirrored(d.Direction)
	m.said = said
	return said.bytes(), nil
}

// event returns the payload type of telephone-event, or 0.
func (d description) event() uint8 {
	for _, pt := range d.Formats {
		if d.Encodings[pt] == "TELEPHONE-EVENT" {
			return pt
		}
	}
	return 0
}
