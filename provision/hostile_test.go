package provision

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

// raw sends bytes from an address and returns the first line of the answer;
// empty if the connection was closed without one.
func (r *rig) raw(from netip.Addr, request string) string {
	r.t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := d.Dial("tcp", r.http.String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	go func() { _, _ = io.WriteString(c, request) }() // who is refused early does not read all
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line)
}

// TestHostilePaths: nothing but a clean name is looked at, and the next phone
// is served.
func TestHostilePaths(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" }
	for _, tc := range []struct {
		name, request string
		want          []string // status codes; empty: no answer
	}{
		{"up", get("/../../etc/passwd"), []string{"404"}},
		{"up, encoded", get("/%2e%2e/%2e%2e/etc/passwd"), []string{"404"}},
		{"up, encoded twice", get("/%252e%252e/etc/passwd"), []string{"404"}},
		{"up, with backslashes", get(`/..\..\etc\passwd`), []string{"400"}},
		{"backslash, encoded", get("/..%5c..%5cetc"), []string{"400"}},
		{"overlong UTF-8", get("/%c0%ae%c0%ae/etc/passwd"), []string{"400"}},
		{"NUL", get("/001565005301.cfg%00.txt"), []string{"400"}},
		{"line break", get("/a%0d%0aX: y"), []string{"400"}},
		{"broken escape", get("/%zz"), []string{"400"}},
		{"absolute form", get("http://192.0.2.9/001565005301.cfg"), []string{"404"}}, // nobody's address, so refused
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", []string{"405", "200"}},
		{"2 KiB", get("/" + strings.Repeat("a", 2<<10)), []string{"414"}},
		{"64 KiB", get("/" + strings.Repeat("a", 64<<10)), []string{"414"}},
		{"1 MiB", get("/" + strings.Repeat("a", 1<<20)), []string{"431", "400", ""}},
		{"1 MiB of header", "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", []string{"431", "400", ""}},
		{"10,000 headers", "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 20000) + "\r\n", []string{"431", "400", ""}},
		{"no HTTP", "\x00\x01\x02\x03\r\n\r\n", []string{"400", ""}},
		{"two lengths", "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", []string{"400"}},
		{"length and chunks", "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n", []string{"400", "405"}},
		{"negative length", "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", []string{"400"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.limit.forget()
			line := r.raw(stranger, tc.request)
			for _, want := range tc.want {
				if want == "" && line == "" || want != "" && strings.Contains(line, " "+want+" ") {
					return
				}
			}
			t.Errorf("%q, want one of %q", line, tc.want)
		})
	}
	if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 {
		t.Errorf("the phone afterwards: %d", got.Status)
	}
}

// inUse is the memory that is held after everything has been let go.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// TestUploadFlood writes from many addresses at once. What is held at any time
// is bounded, and a phone is served meanwhile.
func TestUploadFlood(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	log := make([]byte, uploadLimit)
	before := inUse()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for n := range 40 {
		wg.Go(func() {
			from := netip.AddrFrom4([4]byte{127, 0, 4, byte(n + 1)})
			if n%2 == 0 {
				from = home(poly) // may write
			}
			client := http.Transport{DialContext: (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}).DialContext}
			defer client.CloseIdleConnections()
			for range 5 {
				select {
				case <-stop:
					return
				default:
				}
				req, _ := http.NewRequest(http.MethodPut, "http://"+r.http.String()+"/0004f2005302-app.log", bytes.NewReader(log))
				req.Header.Set("User-Agent", polyUA)
				if resp, err := client.RoundTrip(req); err == nil {
					_ = resp.Body.Close()
				}
			}
		})
	}
	for range 5 {
		if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 {
			t.Errorf("the phone during the flood: %d", got.Status)
		}
	}
	most := inUse()
	close(stop)
	wg.Wait()
	if limit := before + 3*uploadsHeld*uploadLimit; most > limit {
		t.Errorf("%d MiB are held, more than %d", most>>20, limit>>20)
	}
}

// TestSlowReaders hold connections open and read nothing. They share no limit
// with other phones.
func TestSlowReaders(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	for n := range 300 {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 5, byte(n / 20)}), 0))}
		c, err := d.Dial("tcp", r.http.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /y000000000108.cfg HTTP/1.1\r\nHost: x\r\n") // and no more
	}
	began := time.Now()
	if got := r.get(yealink, "/001565005301.cfg", yealinkUA); got.Status != 200 {
		t.Errorf("the phone beside 300 that wait: %d", got.Status)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestRefusalTime: the time of an answer does not tell whether a phone exists.
func TestRefusalTime(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 1)})
	for name, path := range map[string]string{"a phone": "/001565005301.cfg", "nobody": "/" + mac.Addr{0, 0x15, 0x65, 9, 9, 9}.Hex() + ".cfg", "no file": "/nothing"} {
		r.limit.forget()
		began := time.Now()
		got := r.ask(stranger, http.MethodGet, path, "", nil)
		if took := time.Since(began); got.Status != 404 || took < levelTime {
			t.Errorf("%s: %d after %v, want 404 after %v", name, got.Status, took, levelTime)
		}
	}
}
