package sipedge

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
)

// callRig is an endpoint with a server and what they tell.
type callRig struct {
	t      testing.TB
	ep     *Endpoint
	server *Server
	dir    *directory
	uplink *Gateways
	gw     *gateway

	tap     atomic.Pointer[tapped] // nil: what passes is not noted
	mu      sync.Mutex
	records []CallRecord
	rows    int
	keep    int // how many records and events are kept; 0: all
	reports []PhoneReport
	events  []story.Event
}

func (r *callRig) Message(at time.Time, from, to netip.AddrPort, transport string, raw []byte) {
	if t := r.tap.Load(); t != nil {
		t.Message(at, from, to, transport, raw)
	}
}

func (r *callRig) Add(c CallRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows++
	r.records = append(r.records, c)
	if r.keep > 0 && len(r.records) > r.keep {
		r.records = r.records[1:]
	}
}

func (r *callRig) Report(p PhoneReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, p)
}

func (r *callRig) tell(_ mac.Addr, e story.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if r.keep > 0 && len(r.events) > r.keep {
		r.events = r.events[1:]
	}
}

// Whois: the phone with account n is at 127.0.0.(10+n).
func (r *callRig) Whois(ip netip.Addr) (mac.Addr, mac.Evidence) {
	if n := ip.As4()[3]; n > 10 {
		return testAccount(n - 10).MAC, mac.OwnLease
	}
	return mac.Addr{}, mac.NoEvidence
}

func (r *callRig) Bindings(context.Context) ([]Binding, error) { return nil, nil }
func (r *callRig) Put(Binding)                                 {}
func (r *callRig) Delete(mac.Account)                          {}

// told says which codes an account's story has, in their order.
func (r *callRig) told(a mac.Account) []story.Code {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []story.Code
	for _, e := range r.events {
		if e.Args.Account == a && strings.HasPrefix(string(e.Code), "sip.call") || e.Args.Account == a && e.Code == story.Emergency {
			out = append(out, e.Code)
		}
	}
	return out
}

// ended waits for the record of the n-th call.
func (r *callRig) ended(n int) CallRecord {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		r.mu.Lock()
		if len(r.records) >= n {
			rec := r.records[n-1]
			r.mu.Unlock()
			return rec
		}
		r.mu.Unlock()
	}
	r.t.Fatalf("no record of call %d", n)
	return CallRecord{}
}

// newCallRig starts a site. withGateway adds an uplink to a gateway of the test.
func newCallRig(t testing.TB, withGateway bool, change func(*ServerConfig), hurry ...func(*callTimes)) *callRig {
	t.Helper()
	return newSiteRig(t, testDirectory(), withGateway, change, nil, hurry...)
}

// newUplinkRig is newCallRig with another uplink.
func newUplinkRig(t testing.TB, withGateway bool, change func(*ServerConfig), uplinkTo func(*UplinkConfig), hurry ...func(*callTimes)) *callRig {
	t.Helper()
	return newSiteRig(t, testDirectory(), withGateway, change, uplinkTo, hurry...)
}

// newSiteRig is newUplinkRig with phones and lines of one's own.
func newSiteRig(t testing.TB, dir *directory, withGateway bool, change func(*ServerConfig), uplinkTo func(*UplinkConfig), hurry ...func(*callTimes)) *callRig {
	t.Helper()
	rig := &callRig{t: t, dir: dir}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("SIPLOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	rig.ep, err = NewEndpoint(t.Context(), EndpointConfig{
		Listen: []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}, Realm: testRealm, Tap: rig,
		ListenTLS: []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}, TLS: PhoneTLS(tls.VersionTLS12, false, boxCertificate()),
	}, rig.dir, rig, rig, func(mac.Account, netip.Addr) {}, rig.tell, log)
	if err != nil {
		t.Fatal(err)
	}
	// No phone makes a call each 2 ms; the test does, and the limit of
	// messages is not what it is about.
	began := time.Now()
	rig.ep.limits.now = func() time.Time { return began.Add(1000 * time.Since(began)) }
	ports, err := media.NewPortPool(40000, 42000, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ServerConfig{Country: "DE", Ports: ports, Register: true}
	if change != nil {
		change(&cfg)
	}
	var uplink Uplink
	if withGateway {
		rig.gw = newGateway(t)
		cfgUp := UplinkConfig{
			Address: rig.gw.addr.String(), ServerName: "gw.example.com", CA: rig.gw.ca, Domain: "example.com",
			Keepalive: 500 * time.Millisecond, Dead: 2500 * time.Millisecond,
		}
		if uplinkTo != nil {
			uplinkTo(&cfgUp)
		}
		rig.uplink, err = NewGateways(cfgUp, log)
		if err != nil {
			t.Fatal(err)
		}
		uplink = rig.uplink
	}
	rig.server, err = NewServer(cfg, rig.ep, rig.dir, uplink, rig, rig.tell, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hurry {
		h(&rig.server.times)
	}
	rig.run()
	return rig
}

func (r *callRig) run() {
	runEndpoint(r.t, r.ep)
	base, stopBase := context.WithCancel(context.Background())
	front, stopFront := context.WithCancel(context.Background())
	var bases, fronts sync.WaitGroup
	if r.uplink != nil {
		bases.Go(func() {
			if err := r.uplink.Run(base); err != nil {
				r.t.Error(err)
			}
		})
	}
	for _, task := range r.server.Tasks() {
		fronts.Go(func() {
			if err := task.Run(front); err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(func() {
		stopFront()
		fronts.Wait()
		stopBase()
		bases.Wait()
	})
}
