//go:build bench

package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a phone must not notice of a siege, and what the box may take. The
// limit of the unit is 512 MiB.
const (
	siegeConns    = 10000
	siegeSources  = 512
	siegeSeconds  = 10
	siegeMemory   = 300 << 20
	siegeHTTPBar  = 250 * time.Millisecond // p99 of a fetch with a connection of its own
	siegeHTTPSBar = time.Second            // with a handshake
)

func siegeIP(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, 100 + byte(n/250), byte(n%250 + 1)})
}

// sieges are the ways to besiege a door, by name. Each goes on until ctx ends
// and returns what it saw, for people, or a fault of the box.
var sieges = map[string]func(ctx context.Context) (string, error){
	"10,000 connections to HTTP that say half": func(ctx context.Context) (string, error) {
		return hold(ctx, 80, "GET /000000000000.cfg HTTP/1.1\r\nHost: x\r\n")
	},
	"10,000 connections to HTTPS that say half": func(ctx context.Context) (string, error) {
		return hold(ctx, 443, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	},
	"handshakes": handshakes,
	"readers that read nothing": func(ctx context.Context) (string, error) {
		return hold(ctx, 80, strings.Repeat("GET /"+siegeFile+" HTTP/1.1\r\nHost: x\r\nUser-Agent: Yealink SIP-T46U 108.86.0.70 001565aabbcc\r\n\r\n", 50))
	},
	"files that are written": uploads,
	"paths":                  paths,
}

// siegeFile is a file that anybody may have.
const siegeFile = "y000000000108.cfg"

// playSiege besieges as SIEGE says, for SECONDS.
func playSiege() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(setting("SECONDS", siegeSeconds))*time.Second)
	defer cancel()
	said, err := sieges[os.Getenv("SIEGE")](ctx)
	if err != nil {
		return failed(err)
	}
	fmt.Println(said)
	return 0
}

func siegeDial(ctx context.Context, n int, port uint16) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(siegeIP(n%siegeSources), 0)), Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(netip.MustParseAddr(boxIP), port).String())
	if err != nil {
		return nil, err
	}
	t := c.(*net.TCPConn)
	_ = t.SetLinger(0) // leaves no port behind that waits
	return t, nil
}

// hold keeps as many connections open as it can, of which none gets any
// further than the text, and reads nothing. One that is closed comes again.
func hold(ctx context.Context, port uint16, text string) (string, error) {
	var open, opened, refused atomic.Int64
	var most int64
	var wg sync.WaitGroup
	for n := range siegeConns {
		wg.Go(func() {
			for ctx.Err() == nil {
				c, err := siegeDial(ctx, n, port)
				if err != nil {
					refused.Add(1)
					sleepFor(ctx, time.Second)
					continue
				}
				opened.Add(1)
				open.Add(1)
				_ = c.SetReadBuffer(2048)
				_, err = io.WriteString(c, text)
				if err == nil {
					err = gone(ctx, c)
				}
				_ = c.Close()
				open.Add(-1)
				if err != nil {
					sleepFor(ctx, time.Second)
				}
			}
		})
	}
	for ctx.Err() == nil {
		most = max(most, open.Load())
		sleepFor(ctx, 100*time.Millisecond)
	}
	wg.Wait()
	if opened.Load() < siegeConns {
		return "", fmt.Errorf("only %d connections were opened", opened.Load())
	}
	return fmt.Sprintf("opened %d, %d at most at once, %d refused", opened.Load(), most, refused.Load()), nil
}

// gone waits until the other end has closed, without reading what it sent.
func gone(ctx context.Context, c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		var state byte
		err := raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				state = info.State
			}
		})
		if err != nil {
			return err
		}
		if state != unix.BPF_TCP_ESTABLISHED {
			return io.EOF
		}
		sleepFor(ctx, 250*time.Millisecond)
	}
	return nil
}

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// handshakes makes the box sign as often as it lets itself.
func handshakes(ctx context.Context) (string, error) {
	var done, failed atomic.Int64
	var wg sync.WaitGroup
	for n := range siegeSources {
		wg.Go(func() {
			for ctx.Err() == nil {
				raw, err := siegeDial(ctx, n, 443)
				if err == nil {
					// Without a session, and with the dearest key exchange.
					c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
					err = c.HandshakeContext(ctx)
					_ = raw.Close()
				}
				if err != nil {
					failed.Add(1)
					sleepFor(ctx, 50*time.Millisecond)
					continue
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return fmt.Sprintf("%d handshakes, %d failed", done.Load(), failed.Load()), nil
}

// uploads writes files of 4 MiB from addresses that nobody vouches for, as fast
// as a port of 1 Gbit/s carries them: what the network itself drops is not the
// fault of the box.
func uploads(ctx context.Context) (string, error) {
	piece := make([]byte, 16<<10)
	const pieces = 256
	pause := time.Duration(siegeSources*len(piece)) * time.Second / (125 << 20)
	var codes codeCount
	var wg sync.WaitGroup
	for n := range siegeSources {
		wg.Go(func() {
			for ctx.Err() == nil {
				c, err := siegeDial(ctx, n, 80)
				if err != nil {
					sleepFor(ctx, 100*time.Millisecond)
					continue
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				go func() {
					fmt.Fprintf(c, "PUT /%s-app.log HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", fleetMAC(n).Hex(), pieces*len(piece))
					for range pieces {
						if _, err := c.Write(piece); err != nil {
							return
						}
						sleepFor(ctx, pause)
					}
				}()
				codes.add(statusOf(c))
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	return codes.String(), codes.only(0, 404, 405, 413, 429, 503)
}

// paths asks for what must not exist.
func paths(ctx context.Context) (string, error) {
	bad := []string{
		"/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%252e%252e/etc/passwd", `/..\..\etc\passwd`, "/..%5c..%5cetc", "/%c0%ae%c0%ae/etc/passwd",
		"/001565005301.cfg%00.txt", "/a%0d%0aX: y", "/%zz", "/" + strings.Repeat("a", 2<<10), "/" + strings.Repeat("%41", 20<<10), "/" + strings.Repeat("a", 1<<20),
		"/" + strings.Repeat("../", 1000) + "etc/passwd", "/firmware/../../secret.key", "//etc/passwd", "/./secret.key", "/lang_en/../patchbay.db",
	}
	var codes codeCount
	var wg sync.WaitGroup
	for n := range siegeSources {
		wg.Go(func() {
			for i := n; ctx.Err() == nil; i++ {
				c, err := siegeDial(ctx, n, 80)
				if err != nil {
					sleepFor(ctx, 100*time.Millisecond)
					continue
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				go fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", bad[i%len(bad)])
				codes.add(statusOf(c))
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	return codes.String(), codes.only(0, 400, 404, 414, 429, 431)
}

// statusOf reads the status of an answer; 0: the connection was closed.
func statusOf(c net.Conn) int {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	return resp.StatusCode
}

// codeCount counts answers by status.
type codeCount struct {
	mu sync.Mutex
	by map[int]int
}

func (c *codeCount) add(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[int]int{}
	}
	c.by[code]++
}

func (c *codeCount) String() string { return fmt.Sprint("answers by status: ", c.by) }

// only is a fault if there was another answer, or none at all.
func (c *codeCount) only(codes ...int) error {
	answered := 0
	for code, n := range c.by {
		if !slices.Contains(codes, code) {
			return fmt.Errorf("%d answers with %d", n, code)
		}
		if code != 0 {
			answered += n
		}
	}
	if answered == 0 {
		return fmt.Errorf("no request was answered")
	}
	return nil
}

// goodTale is what a phone saw that does nothing wrong.
type goodTale struct {
	Fetches, Bad    int
	P50, P99, Max   float64 // ms
	TLSFetches      int
	TLSP50, TLSP99  float64
	Faults          []string
	times, tlsTimes []time.Duration
}

// playGood is phones that fetch their configuration with a new connection each
// time, as phones do: four of five by HTTP, one by HTTPS, 20 a second.
func playGood() int {
	var tale goodTale
	until := time.Now().Add(time.Duration(setting("SECONDS", siegeSeconds)) * time.Second)
	fetch := func(n int, scheme string) (time.Duration, error) {
		tr := &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(fleetIP(n), 0))}).DialContext,
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		began := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+boxIP+"/"+fleetMAC(n).Hex()+".cfg", nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("User-Agent", fmt.Sprintf(fleetAgent, fleetMAC(n).Hex()))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return time.Since(began), err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != http.StatusOK || len(text) < 8<<10) {
			err = fmt.Errorf("%s, %d bytes", resp.Status, len(text))
		}
		return time.Since(began), err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := 0; time.Now().Before(until); i++ {
		scheme := "http"
		if i%5 == 4 {
			scheme = "https"
		}
		wg.Go(func() {
			took, err := fetch(i%fleet, scheme)
			mu.Lock()
			defer mu.Unlock()
			if scheme == "http" {
				tale.times = append(tale.times, took)
			} else {
				tale.tlsTimes = append(tale.tlsTimes, took)
			}
			if err != nil {
				tale.Bad++
				if len(tale.Faults) < 3 {
					tale.Faults = append(tale.Faults, scheme+": "+err.Error())
				}
			}
		})
		time.Sleep(50 * time.Millisecond)
	}
	wg.Wait()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	slices.Sort(tale.times)
	slices.Sort(tale.tlsTimes)
	n, m := len(tale.times), len(tale.tlsTimes)
	tale.Fetches, tale.P50, tale.P99, tale.Max = n, ms(tale.times[n/2]), ms(tale.times[n*99/100]), ms(tale.times[n-1])
	tale.TLSFetches, tale.TLSP50, tale.TLSP99 = m, ms(tale.tlsTimes[m/2]), ms(tale.tlsTimes[m*99/100])
	_ = json.NewEncoder(os.Stdout).Encode(tale)
	return 0
}

// TestProvisionSiege besieges the doors for files in one way after the other,
// from addresses that nobody vouches for, while phones fetch theirs.
func TestProvisionSiege(t *testing.T) {
	n := houseful(t)
	var lines []string
	for i := range siegeSources {
		lines = append(lines, fmt.Sprintf("addr add %v/16 dev eth0", siegeIP(i)))
	}
	batch := filepath.Join(n.dir, "besiegers")
	n.write(batch, strings.Join(lines, "\n")+"\n")
	n.in("flood", "ip", "-batch", batch)
	state := filepath.Join(n.dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	furnish(t, state)
	args, env := patchbay.command(n, state)
	box := n.start("box", env, append([]string{"prlimit", "--nofile=20000:20000", "taskset", "-c", serverCPU}, args...)...)
	n.wait(n.role("gen", "good", nil, "SECONDS=3"), 30*time.Second)
	for _, name := range append([]string{"nothing"}, slices.Sorted(maps.Keys(sieges))...) {
		t.Run(name, func(t *testing.T) {
			var siege *process
			if name != "nothing" {
				siege = n.role("flood", "siege", []string{"prlimit", "--nofile=20000:20000", "nice", "-n", "5", "taskset", "-c", loadCPU}, "SIEGE="+name, fmt.Sprintf("SECONDS=%d", siegeSeconds+3))
				time.Sleep(2 * time.Second)
			}
			span := begin(box.cmd.Process.Pid)
			good := n.role("gen", "good", []string{"nice", "-n", "-10"})
			var most int64
			for ended := false; !ended; {
				most = max(most, memoryOf(box.cmd.Process.Pid))
				select {
				case <-good.done:
					ended = true
				case <-time.After(50 * time.Millisecond):
				}
			}
			var got goodTale
			text := n.wait(good, time.Second)
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			server, foreign, _ := span.end()
			said := ""
			if siege != nil {
				said = strings.TrimSpace(n.wait(siege, 30*time.Second))
			}
			fmt.Printf("%s: %s\n  a good phone: %d fetches, %d bad, p50 %.1f p99 %.1f max %.1f ms; HTTPS %d, p50 %.1f p99 %.1f ms; box %d MiB at most, %v of processor time; foreign %.0f%%\n",
				name, said, got.Fetches+got.TLSFetches, got.Bad, got.P50, got.P99, got.Max, got.TLSFetches, got.TLSP50, got.TLSP99, most>>20, server.Round(time.Millisecond), 100*foreign)
			ms := func(d time.Duration) float64 { return float64(d.Milliseconds()) }
			if got.Bad > 0 || got.P99 > ms(siegeHTTPBar) || got.TLSP99 > ms(siegeHTTPSBar) {
				t.Errorf("a good phone is affected: %+v", got)
			}
			if most > siegeMemory {
				t.Errorf("the box takes %d MiB, more than %d", most>>20, siegeMemory>>20)
			}
			select {
			case <-box.done:
				t.Fatalf("the box ended: %v\n%s", box.err, &box.out)
			default:
			}
		})
	}
}
