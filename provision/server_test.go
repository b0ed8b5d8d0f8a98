package provision

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	windows *Windows
	http    netip.AddrPort
	tftp    netip.AddrPort
	ticks   atomic.Int64
}

// newRig builds a server; one that listens nowhere is for calls of its
// functions.
func newRig(t testing.TB, listen bool, landing http.Handler) *rig {
	t.Helper()
	r := &rig{t: t, told: new(stories), phones: newInventory(Phone{MAC: closed, Vendor: "yealink", Accounts: accounts(closed, 1)})}
	r.windows = NewWindows(time.Hour, time.Now, func(mac.Addr, story.Event) {})
	for _, m := range []mac.Addr{yealink, poly, cisco, ata, grand} {
		r.windows.Open(m, story.WindowByLease)
	}
	cfg := Config{
		Site: func(local netip.Addr) Site {
			site := berlin()
			if local.IsValid() {
				site.Server = local
			}
			return site
		},
		Landing: landing,
		Tick:    func() { r.ticks.Add(1) },
	}
	if listen {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		cfg.TFTP = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	s, err := New(cfg, catalog(t), r.phones, homes, r.windows, r.told.record, quiet)
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
	r.limit.mu.Lock()
	defer r.limit.mu.Unlock()
	r.limit.now = func() time.Time { return at }
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

// TestBootSequences fetches what each phone fetches, in its order.
func TestBootSequences(t *testing.T) {
	r := newRig(t, true, nil)
	type step struct {
		method, path string
		status       int
		holds        string // a part of the body
	}
	for _, tc := range []struct {
		name  string
		mac   mac.Addr
		agent string
		steps []step
		story []string
		phone Phone
	}{
		{
			"Yealink", yealink, yealinkUA,
			[]step{
				{"GET", "/001565005301.boot", 404, ""},
				{"GET", "/y000000000000.boot", 404, ""},
				{"GET", "/y000000000108.cfg", 200, "sip.notify_reboot_enable = 0"},
				{"GET", "/001565005301.cfg", 200, "account.1.password = Secret01of001565005301"},
				{"GET", "/001565005301-local.cfg", 404, ""},
			},
			[]string{"provision.identified", "provision.404", "provision.404", "provision.served", "provision.served", "provision.404"},
			Phone{Vendor: "yealink", Model: "T46U", Firmware: "108.86.0.45"},
		},
		{
			"Poly", poly, polyUA,
			[]step{
				{"PUT", "/0004f2005302-boot.log", 200, ""},
				{"GET", "/0004f2005302.cfg", 200, `reg.1.auth.password="Secret01of0004f2005302"`},
				{"GET", "/000000000000.cfg", 200, `CONFIG_FILES="[PHONE_MAC_ADDRESS].cfg"`},
				{"GET", "/3111-44500-001.sip.ld", 404, ""},
				{"GET", "/0004f2005302-phone.cfg", 404, ""},
				{"GET", "/0004f2005302-web.cfg", 404, ""},
				{"GET", "/000000000000-license.cfg", 404, ""},
				{"GET", "/0004f2005302-license.cfg", 404, ""},
				{"GET", "/0004f2005302-directory.xml", 404, ""},
				{"GET", "/000000000000-directory.xml", 404, ""},
				{"HEAD", "/0004f2005302-app.log", 404, ""},
				{"PUT", "/0004f2005302-app.log", 200, ""},
			},
			[]string{
				"provision.identified", "provision.uploaded", "provision.served", "provision.served", "provision.404", "provision.404", "provision.404",
				"provision.404", "provision.404", "provision.404", "provision.404", "provision.uploaded",
			},
			Phone{Vendor: "poly", Model: "VVX 500", Firmware: "5.9.7.47435"},
		},
		{
			"Cisco MPP", cisco, ciscoUA,
			[]step{
				{"GET", "/lang_de/8841-3PCC.xml", 200, "<Profile_Rule>http://127.0.0.1/lang_de/$MA.xml</Profile_Rule>"},
				{"GET", "/lang_de/00562b005303.xml", 200, "<Password_1_>Secret01of00562b005303</Password_1_>"},
			},
			[]string{"provision.identified", "provision.served", "provision.served"},
			Phone{Vendor: "cisco-mpp", Model: "8841", Firmware: "11.0"},
		},
		{
			"Cisco adapter", ata, ataUA,
			[]step{{"GET", "/00005e005304.xml", 200, "<Password_2_>Secret02of00005e005304</Password_2_>"}},
			[]string{"provision.identified", "provision.served"},
			Phone{Vendor: "cisco-mpp", Model: "ATA191", Firmware: "11-1-0-MSR4"},
		},
		{
			"Grandstream", grand, grandUA,
			[]step{{"GET", "/cfg000b82005307", 404, ""}, {"GET", "/cfg000b82005307.xml", 404, ""}, {"GET", "/cfg.xml", 404, ""}},
			[]string{"provision.identified", "provision.404", "provision.404 vendor-unsupported", "provision.404 vendor-unsupported"},
			Phone{Vendor: "grandstream", Model: "GRP2614", Firmware: "1.0.5.15"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, s := range tc.steps {
				var body io.Reader
				if s.method == "PUT" {
					body = strings.NewReader("1106120000|cfg  |*|00|log\n")
				}
				got := r.ask(home(tc.mac), s.method, s.path, tc.agent, body)
				if got.Status != s.status || !strings.Contains(got.Body, s.holds) {
					t.Errorf("%s %s: %d, want %d and %q in\n%s", s.method, s.path, got.Status, s.status, s.holds, got.Body)
				}
			}
			if diff := cmp.Diff(tc.story, r.told.codes(tc.mac)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
			p, _ := r.phones.Phone(tc.mac)
			p.MAC, p.Accounts = mac.Addr{}, nil
			if diff := cmp.Diff(tc.phone, p); diff != "" {
				t.Error("inventory (-want +got)\n" + diff)
			}
		})
	}
}

// TestRefusals: whoever is refused gets what an unknown file gets, and the
// stories say why.
func TestRefusals(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	r.phones.put(Phone{MAC: ata, Vendor: "cisco-mpp", Model: "ATA191", Accounts: accounts(ata, 2)})
	unknown := r.ask(stranger, http.MethodGet, "/no-such-file.cfg", "curl/7.88.1", nil)
	if unknown.Status != 404 || unknown.Header.Get("Set-Cookie") != "" {
		t.Fatalf("unknown file: %+v", unknown)
	}
	for _, tc := range []struct {
		name        string
		from        netip.Addr
		path, agent string
		asked       mac.Addr
		reason      story.Reason // on the story of the asked phone; empty: none
		asker       mac.Addr     // zero: no story
	}{
		{"nobody's address", stranger, "/001565005301.cfg", "", yealink, story.AddressUnknown, mac.Addr{}},
		{"another phone", home(poly), "/001565005301.cfg", polyUA, yealink, story.AddressOfOther, poly},
		{"another phone that lies about its MAC", home(poly), "/001565005301.cfg", yealinkUA, yealink, story.AddressOfOther, poly},
		{"a laptop", home(laptop), "/001565005301.cfg", "curl/7.88.1", yealink, story.AddressOfOther, laptop},
		{"User-Agent of another phone", home(yealink), "/001565005301.cfg", "Yealink SIP-T46U 108.86.0.45 00:15:65:00:53:05", yealink, story.IdentityClash, mac.Addr{}},
		{"window closed", home(closed), "/001565005305.cfg", "", closed, story.WindowClosed, mac.Addr{}},
		{"phone that nobody knows", stranger, "/001565005399.cfg", "", mac.Addr{0x00, 0x15, 0x65, 0x00, 0x53, 0x99}, "", mac.Addr{}},
		{"adapter's file by another", home(cisco), "/00005e005304.xml", ciscoUA, ata, story.IdentityClash, cisco},
		{"with language", home(poly), "/lang_de/001565005301.cfg", polyUA, yealink, story.AddressOfOther, poly},
		{"in upper case", home(poly), "/001565005301.CFG", "", yealink, story.AddressOfOther, poly},
		{"forged proxy header", home(poly), "/001565005301.cfg", "", yealink, story.AddressOfOther, poly},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.told.forget()
			got := r.ask(tc.from, http.MethodGet, tc.path, tc.agent, nil, "X-Forwarded-For", home(yealink).String(), "X-Real-IP", home(yealink).String())
			if diff := cmp.Diff(unknown, got); diff != "" {
				t.Error("not the answer of an unknown file (-unknown +got)\n" + diff)
			}
			for _, who := range []struct {
				mac    mac.Addr
				reason story.Reason
			}{{tc.asked, tc.reason}, {tc.asker, tc.reason}} {
				var want []string
				if who.reason != "" && !who.mac.IsZero() {
					want = []string{"provision.refused " + string(who.reason)}
				}
				if diff := cmp.Diff(want, r.told.codes(who.mac)); diff != "" {
					t.Errorf("story of %s (-want +got)\n%s", who.mac, diff)
				}
			}
		})
	}
	for ip := range homes {
		r.told.forget()
		if m := homes[ip]; m != yealink {
			if got := r.ask(ip, http.MethodGet, "/001565005301.cfg", "", nil); strings.Contains(got.Body, "Secret") {
				t.Errorf("%s got the password of %s", m, yealink)
			}
		}
	}
}

// TestCommonFiles carry no secret and are served to anybody.
func TestCommonFiles(t *testing.T) {
	r := newRig(t, true, nil)
	for _, path := range []string{"/y000000000028.cfg", "/000000000000.cfg", "/8841-3PCC.xml", "/CP-8841-3PCC.xml", "/CP-8841-3PCC.cfg", "/$PSN.xml", "//lang_fr//8841-3PCC.xml"} {
		for _, from := range []netip.Addr{stranger, home(yealink), home(closed)} {
			got := r.ask(from, http.MethodGet, path, yealinkUA, nil)
			if strings.HasSuffix(path, ".cfg") && strings.HasPrefix(path, "/y") && got.Status != 200 {
				t.Errorf("%s from %s: %d", path, from, got.Status)
			}
			if strings.Contains(got.Body, "assword") || strings.Contains(got.Body, "Secret") {
				t.Errorf("%s holds a secret:\n%s", path, got.Body)
			}
		}
		if got := r.ask(stranger, http.MethodGet, path, "curl/7.88.1", nil); got.Status != 200 {
			t.Errorf("%s: %d", path, got.Status)
		}
	}
}

func TestHeadAndConditional(t *testing.T) {
	r := newRig(t, true, nil)
	full := r.get(yealink, "/001565005301.cfg", yealinkUA)
	etag := full.Header.Get("ETag")
	if full.Status != 200 || etag == "" || full.Header.Get("Content-Length") != fmt.Sprint(len(full.Body)) {
		t.Fatalf("%d %v", full.Status, full.Header)
	}
	again := r.get(yealink, "/001565005301.cfg", yealinkUA)
	if diff := cmp.Diff(full, again); diff != "" {
		t.Error("second fetch differs (-first +second)\n" + diff)
	}
	head := r.ask(home(yealink), http.MethodHead, "/001565005301.cfg", yealinkUA, nil)
	if head.Status != 200 || head.Body != "" || head.Header.Get("Content-Length") != fmt.Sprint(len(full.Body)) || head.Header.Get("ETag") != etag {
		t.Errorf("HEAD: %+v", head)
	}
	for header, want := range map[string]int{
		etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200, "": 200,
	} {
		r.told.forget()
		got := r.ask(home(yealink), http.MethodGet, "/001565005301.cfg", yealinkUA, nil, "If-None-Match", header)
		if got.Status != want || want == 304 && (got.Body != "" || got.Header.Get("ETag") != etag) {
			t.Errorf("If-None-Match %s: %+v", header, got)
		}
		if want == 304 {
			if diff := cmp.Diff([]string{"provision.304"}, r.told.codes(yealink)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
		}
	}
	refused := r.ask(home(poly), http.MethodGet, "/001565005301.cfg", "", nil, "If-None-Match", etag)
	if refused.Status != 404 {
		t.Errorf("another phone learns by If-None-Match: %+v", refused)
	}
	p, _ := r.phones.Phone(yealink)
	p.Accounts = accounts(yealink, 1)
	p.Accounts[0].Label = "Anna"
	r.phones.put(p)
	if changed := r.get(yealink, "/001565005301.cfg", yealinkUA); changed.Header.Get("ETag") == etag {
		t.Error("another name, the same ETag")
	}
}

func TestMethods(t *testing.T) {
	r := newRig(t, true, nil)
	for _, method := range []string{"DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "MKCOL"} {
		got := r.ask(home(yealink), method, "/001565005301.cfg", yealinkUA, nil)
		if got.Status != 405 || got.Header.Get("Allow") == "" {
			t.Errorf("%s: %+v", method, got)
		}
	}
	for _, path := range []string{"/001565005301.cfg", "/y000000000028.cfg", "/", "/etc/passwd"} {
		if got := r.ask(home(yealink), "PUT", path, yealinkUA, strings.NewReader("x")); got.Status != 405 {
			t.Errorf("PUT %s: %+v", path, got)
		}
	}
}

func TestUploads(t *testing.T) {
	r := newRig(t, true, nil)
	unknown := r.get(laptop, "/no-such-file.cfg", "curl/7.88.1")
	for _, tc := range []struct {
		name   string
		from   mac.Addr
		path   string
		body   io.Reader
		status int
		story  []string
	}{
		{"its own log", poly, "/0004f2005302-app.log", strings.NewReader("log"), 200, []string{"provision.identified", "provision.uploaded"}},
		{"its overrides", poly, "/0004f2005302-phone.cfg", strings.NewReader("<x/>"), 200, []string{"provision.uploaded"}},
		{"without a length", poly, "/0004f2005302-app.log", io.MultiReader(strings.NewReader("log")), 200, []string{"provision.uploaded"}},
		{"another's log", poly, "/0004f2005399-app.log", strings.NewReader("log"), 404, []string{"provision.refused address-of-other"}},
		{"a stranger's", mac.Addr{}, "/0004f2005302-app.log", strings.NewReader("log"), 404, []string{"provision.refused address-unknown"}},
		{"too large", poly, "/0004f2005302-app.log", bytes.NewReader(make([]byte, uploadLimit+1)), 413, []string{"provision.refused upload-too-large"}},
		{"too large without a length", poly, "/0004f2005302-app.log", io.MultiReader(bytes.NewReader(make([]byte, uploadLimit+1))), 413, []string{"provision.refused upload-too-large"}},
		{"as large as may be", poly, "/0004f2005302-app.log", bytes.NewReader(make([]byte, uploadLimit)), 200, []string{"provision.uploaded"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.told.forget()
			got := r.ask(home(tc.from), http.MethodPut, tc.path, polyUA, tc.body)
			if got.Status != tc.status {
				t.Errorf("%+v, want %d", got, tc.status)
			}
			if tc.status == 404 {
				if diff := cmp.Diff(unknown, got); diff != "" {
					t.Error("not the answer of an unknown file (-unknown +got)\n" + diff)
				}
			}
			if diff := cmp.Diff(tc.story, r.told.codes(poly)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
		})
	}
}

// TestOddRequests sends what net/http's client would not.
func TestOddRequests(t *testing.T) {
	r := newRig(t, true, nil)
	for _, tc := range []struct {
		name, request string
		want          []int
	}{
		{"up", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"up, encoded", "GET /%2e%2e/%2e%2e%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"up after language", "GET /lang_de/../001565005301.cfg HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"backslash", "GET /..\\..\\x HTTP/1.1\r\nHost: x\r\n\r\n", []int{400, 404}},
		{"NUL", "GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"NUL, encoded", "GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"line break, encoded", "GET /a%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"64 KiB", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{414}},
		{"64 KiB of slashes", "GET " + strings.Repeat("/", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{414}},
		{"1 MiB", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}},
		{"not UTF-8", "GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"without Host", "GET /y000000000028.cfg HTTP/1.0\r\n\r\n", []int{200}},
		{"absolute form", "GET http://elsewhere.example/y000000000028.cfg HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		{"proxy", "CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", []int{405}},
		{"star", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", []int{200, 405}},
		{"nonsense", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", []int{400}},
		{"query", "GET /y000000000028.cfg?mac=001565005301 HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := net.Dial("tcp", r.http.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(c, tc.request) }()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			ok := false
			for _, status := range tc.want {
				ok = ok || resp.StatusCode == status
			}
			if !ok || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s %v, want %v", resp.Status, resp.Header, tc.want)
			}
		})
	}
}

func TestLanding(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") })
	r := newRig(t, true, page)
	if got := r.get(laptop, "/", "Mozilla/5.0"); got.Body != "welcome" {
		t.Errorf("%+v", got)
	}
	if got := r.get(laptop, "/favicon.ico", "Mozilla/5.0"); got.Status != 404 {
		t.Errorf("%+v", got)
	}
	if got := newRig(t, true, nil).get(laptop, "/", "Mozilla/5.0"); got.Status != 404 {
		t.Errorf("without a page: %+v", got)
	}
}

func TestRateLimit(t *testing.T) {
	r := newRig(t, true, nil)
	r.stopClock()
	r.limit.charge(home(laptop), limitBurst)
	got := r.get(laptop, "/y000000000028.cfg", "")
	if got.Status != 429 || got.Header.Get("Retry-After") == "" {
		t.Errorf("%+v", got)
	}
	r.get(laptop, "/y000000000028.cfg", "")
	if diff := cmp.Diff([]string{"provision.refused too-fast"}, r.told.codes(laptop)); diff != "" {
		t.Error("story (-want +got)\n" + diff)
	}
	if got := r.get(yealink, "/y000000000028.cfg", ""); got.Status != 200 {
		t.Errorf("another phone is limited too: %+v", got)
	}
}

// TestInventoryFails: a phone that is known comes up although nothing can be
// written; a new one is told to come back.
func TestInventoryFails(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Model: "T46U", Accounts: accounts(yealink, 1)})
	r.phones.breakDown(errors.New("disk is full"))
	if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 || !strings.Contains(got.Body, "Secret01") {
		t.Errorf("known phone: %+v", got)
	}
	if got := r.get(poly, "/0004f2005302.cfg", polyUA); got.Status != 503 {
		t.Errorf("new phone: %+v", got)
	}
	if diff := cmp.Diff([]string{"provision.refused render-failed"}, r.told.codes(poly)); diff != "" {
		t.Error("story (-want +got)\n" + diff)
	}
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t, true, nil)
	loud := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(home(laptop), 0))}
	for range connsPerHost + 5 {
		c, err := loud.Dial("tcp", r.http.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if got := r.get(yealink, "/y000000000028.cfg", ""); got.Status != 200 {
		t.Errorf("one host keeps another out: %+v", got)
	}
	l := r.Server.http[0].listener
	l.mu.Lock()
	n := l.hosts[home(laptop)]
	l.mu.Unlock()
	if n > connsPerHost {
		t.Errorf("%d connections of one host", n)
	}
}

func TestBadAddress(t *testing.T) {
	r := newRig(t, true, nil)
	site := func(netip.Addr) Site { return berlin() }
	for _, cfg := range []Config{
		{Site: site, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), r.http}},
		{Site: site, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, TFTP: []netip.AddrPort{r.tftp}},
		{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}},
	} {
		if _, err := New(cfg, r.catalog, r.phones, homes, r.windows, r.told.record, quiet); err == nil {
			t.Error("no error for an address in use or a missing site")
		}
	}
}

func TestTicks(t *testing.T) {
	r := newRig(t, true, nil)
	limit := time.Now().Add(10 * time.Second)
	for r.ticks.Load() < 4 { // two loops, idle
		if time.Now().After(limit) {
			t.Fatalf("%d ticks", r.ticks.Load())
		}
		time.Sleep(20 * time.Millisecond)
	}
	names := []string{}
	for _, task := range r.Tasks() {
		names = append(names, task.String())
	}
	if diff := cmp.Diff([]string{"provision http " + r.http.String(), "provision tftp " + r.tftp.String()}, names); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

// TestCurl asks with a client that is not ours, where there is one.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Log("no curl here; net/http has asked")
		return
	}
	r := newRig(t, true, nil)
	run := func(from mac.Addr, args ...string) string {
		t.Helper()
		args = append([]string{"--silent", "--show-error", "--max-time", "10", "--path-as-is", "--interface", home(from).String()}, args...)
		out, err := exec.Command(curl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	base := "http://" + r.http.String()
	if out := run(yealink, base+"/001565005301.cfg"); !strings.Contains(out, "Secret01of001565005301") {
		t.Errorf("its own file:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", base+"/001565005301.cfg"); out != "not found\n404" {
		t.Errorf("another's file:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", base+"/../../../etc/passwd"); out != "not found\n404" {
		t.Errorf("up:\n%s", out)
	}
	if out := run(yealink, "-I", base+"/y000000000028.cfg"); !strings.Contains(out, "200 OK") || !strings.Contains(out, "Content-Length: ") {
		t.Errorf("HEAD:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", "-T", "server.go", base+"/0004f2005302-app.log"); out != "200" {
		t.Errorf("PUT:\n%s", out)
	}
	if out := run(poly, "-w", "%{http_code}", "-T", "server.go", base+"/0004f2005399-app.log"); out != "not found\n404" {
		t.Errorf("PUT of another's:\n%s", out)
	}
}

// FuzzServe: whatever is asked in whatever name, nobody gets a password that
// is not of the phone at that address.
func FuzzServe(f *testing.F) {
	f.Add("/001565005301.cfg", yealinkUA, "GET", byte(1))
	f.Add("/0004f2005302.cfg", yealinkUA, "HEAD", byte(2))
	f.Add("/lang_de/00562b005303.xml", ciscoUA, "GET", byte(4))
	f.Add("/0004f2005302-app.log", polyUA, "PUT", byte(2))
	f.Add("/../\x00", "", "DELETE", byte(9))
	r := newRig(f, false, nil)
	for _, m := range []mac.Addr{yealink, poly, cisco, ata} {
		r.phones.put(Phone{MAC: m, Accounts: accounts(m, 2)})
	}
	r.stopClock()
	f.Fuzz(func(t *testing.T, path, agent, method string, from byte) {
		r.told.forget()
		r.limit.forget()
		source := netip.AddrFrom4([4]byte{127, 0, 3, from})
		got := r.answer(context.Background(), query{door: story.HTTP, path: path, agent: agent, head: method == "HEAD", local: netip.MustParseAddr("192.0.2.1"), remote: source})
		who := homes[source]
		for _, m := range homes {
			if m != who && bytes.Contains(got.body, []byte("of"+m.Hex())) {
				t.Errorf("%s got a password of %s by %q", who, m, path)
			}
		}
		switch got.status {
		case 200, 400, 404, 414:
		default:
			t.Errorf("status %d for %q", got.status, path)
		}
	})
}

func BenchmarkServe(b *testing.B) {
	r := newRig(b, false, nil)
	for _, bench := range []struct {
		name, path, agent string
		from              mac.Addr
	}{
		{"phone", "/001565005301.cfg", yealinkUA, yealink},
		{"common", "/y000000000108.cfg", yealinkUA, yealink},
		{"refused", "/001565005301.cfg", "", poly},
		{"unknown", "/no-such-file", "", poly},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			q := query{door: story.HTTP, path: bench.path, agent: bench.agent, local: netip.MustParseAddr("192.0.2.1"), remote: home(bench.from)}
			for b.Loop() {
				r.told.forget()
				r.answer(context.Background(), q)
			}
		})
	}
}

func BenchmarkHTTP(b *testing.B) {
	r := newRig(b, true, nil)
	r.stopClock()
	tr := &http.Transport{DialContext: (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(home(yealink), 0))}).DialContext}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, "http://"+r.http.String()+"/001565005301.cfg", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("User-Agent", yealinkUA)
	b.ReportAllocs()
	for b.Loop() {
		r.told.forget()
		r.limit.forget()
		resp, err := tr.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(err, resp)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
