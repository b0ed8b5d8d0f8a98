package provision

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// The phones of the tests, each at its own loopback address.
var (
	yealink = mac.Addr{0x00, 0x15, 0x65, 0x00, 0x53, 0x01}
	poly    = mac.Addr{0x00, 0x04, 0xf2, 0x00, 0x53, 0x02}
	cisco   = mac.Addr{0x00, 0x56, 0x2b, 0x00, 0x53, 0x03}
	ata     = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x04}
	closed  = mac.Addr{0x00, 0x15, 0x65, 0x00, 0x53, 0x05} // in the inventory, window closed
	laptop  = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x06}
	grand   = mac.Addr{0x00, 0x0b, 0x82, 0x00, 0x53, 0x07}
	homes   = people{
		netip.MustParseAddr("127.0.3.1"): yealink,
		netip.MustParseAddr("127.0.3.2"): poly,
		netip.MustParseAddr("127.0.3.3"): cisco,
		netip.MustParseAddr("127.0.3.4"): ata,
		netip.MustParseAddr("127.0.3.5"): closed,
		netip.MustParseAddr("127.0.3.6"): laptop,
		netip.MustParseAddr("127.0.3.7"): grand,
	}
	stranger = netip.MustParseAddr("127.0.3.99")
)

const (
	yealinkUA = "Yealink SIP-T46U 108.86.0.45 00:15:65:00:53:01"
	polyUA    = "FileTransport PolycomVVX-VVX_500-UA/5.9.7.47435 Type/Application"
	ciscoUA   = "Cisco-CP-8841-3PCC/11.0 (00562b005303)"
	ataUA     = "Cisco/ATA191-MPP-11-1-0-MSR4 (FCH2443D9R4)"
	grandUA   = "Grandstream Model HW GRP2614 SW 1.0.5.15 DevId 000b82005307"
)

func home(m mac.Addr) netip.Addr {
	for ip, owner := range homes {
		if owner == m {
			return ip
		}
	}
	return stranger
}

// rig is a running server on loopback.
type rig struct {
	*Server
	t       testing.TB
	phones  *inventory
	told    *stories
	kept    *shelf
	windows *Windows
	http    netip.AddrPort
	tftp    netip.AddrPort
	ticks   atomic.Int64
}

// newRig builds a server; one that listens nowhere is for calls of its
// functions.
func newRig(t testing.TB, listen bool, landing http.Handler) *rig {
	t.Helper()
	return newRigWith(t, listen, func(c *Config) { c.Landing = landing })
}

// newRigWith lets a test change the configuration.
func newRigWith(t testing.TB, listen bool, change func(*Config)) *rig {
	t.Helper()
	return newRigAmong(t, homes, listen, change)
}

// newRigAmong lets it say who is where too.
func newRigAmong(t testing.TB, who Whois, listen bool, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, told: new(stories), kept: new(shelf), phones: newInventory(Phone{MAC: closed, Vendor: "yealink", Accounts: accounts(closed, 1)})}
	r.windows = NewWindows(time.Hour, time.Now, func(mac.Addr, story.Event) {})
	for _, m := range []mac.Addr{yealink, poly, cisco, ata, grand} {
		r.windows.Open(m, netip.Addr{}, story.WindowByLease)
	}
	cfg := Config{
		Site: func(local netip.Addr) *Site {
			site := berlin()
			if local.IsValid() {
				site.Server = local
			}
			return &site
		},
		Uploads: r.kept,
		Tick:    func() { r.ticks.Add(1) },
	}
	if listen {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		cfg.TFTP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	change(&cfg)
	s, err := New(cfg, catalog(t), r.phones, who, r.windows, r.told.record, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	if !listen {
		return r
	}
	web, tftp := s.Addrs()
	r.http, r.tftp = web[0], tftp[0]
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 8)
	for _, task := range s.Tasks() {
		go func() { ended <- task.Run(ctx) }()
	}
	t.Cleanup(func() {
		stop()
		for range s.Tasks() {
			if err := <-ended; err != nil {
				t.Errorf("task: %v", err)
			}
		}
	})
	return r
}

// stopClock stops the clock of the limiter, so that a slow machine refills no
// bucket.
func (r *rig) stopClock() {
	at := time.Now()
	for _, l := range []*limiter{r.limit, r.writes} {
		l.mu.Lock()
		l.now = func() time.Time { return at }
		l.mu.Unlock()
	}
}

// answered is what a phone gets, with all headers but the date.
type answered struct {
	Status int
	Header http.Header
	Body   string
}

// ask sends one request from the address of a phone.
func (r *rig) ask(from netip.Addr, method, path, agent string, body io.Reader, headers ...string) answered {
	r.t.Helper()
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: (&net.Dialer{
			LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		}).DialContext,
	}
	req, err := http.NewRequest(method, "http://"+r.http.String()+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("User-Agent", agent)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Header.Del("Date")
	if method == http.MethodHead && resp.ContentLength >= 0 {
		resp.Header.Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	return answered{resp.StatusCode, resp.Header, string(text)}
}

func (r *rig) get(m mac.Addr, path, agent string) answered {
	r.t.Helper()
	return r.ask(home(m), http.MethodGet, path, agent, nil)
}
