//go:build bench

package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// tally counts what a generator got.
type tally struct {
	mu         sync.Mutex
	files, bad int
	bytes      int64
}

func (t *tally) add(n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.bad++
		return
	}
	t.files++
	t.bytes += int64(n)
}

// print says what came of all, and is the exit code.
func (t *tally) print() int {
	fmt.Printf("files %d bytes %d bad %d\n", t.files, t.bytes, t.bad)
	if t.files == 0 {
		return 1
	}
	return 0
}

// atOnce is how many transfers go on at once where no rate is given.
const atOnce = 8

// play has every phone of the fleet fetch its file again and again, at a common
// rate or, if that is 0, one after the other as fast as they are served, and
// prints what came of it.
func play(fetch func(n int) (next func() (int, error), end func())) int {
	rate, seconds := setting("BENCH_FLEET_RATE", 0), setting("BENCH_FLEET_SECONDS", 1)
	var all tally
	var wg sync.WaitGroup
	began := time.Now()
	if rate == 0 {
		for first := range atOnce {
			wg.Go(func() {
				for time.Since(began) < time.Duration(seconds)*time.Second {
					for n := first; n < fleet; n += atOnce {
						next, end := fetch(n)
						all.add(next())
						end()
					}
				}
			})
		}
		wg.Wait()
		return all.print()
	}
	phones := min(fleet, max(1, rate*seconds))
	each := time.Duration(float64(time.Second) * float64(phones) / float64(rate))
	for n := range phones {
		wg.Go(func() {
			next, end := fetch(n)
			defer end()
			due := began.Add(each * time.Duration(n) / time.Duration(phones))
			for due.Sub(began) < time.Duration(seconds)*time.Second {
				time.Sleep(time.Until(due))
				all.add(next())
				due = due.Add(each)
			}
		})
	}
	wg.Wait()
	return all.print()
}

// playFleetHTTP keeps one connection for each phone.
func playFleetHTTP() int {
	return play(func(n int) (func() (int, error), func()) {
		var c net.Conn
		var in *bufio.Reader
		request := fmt.Sprintf("GET /%s.cfg HTTP/1.1\r\nHost: %s\r\nUser-Agent: "+fleetAgent+"\r\n\r\n", fleetMAC(n).Hex(), boxIP, fleetMAC(n).Hex())
		next := func() (int, error) {
			if c == nil {
				var err error
				for range 100 { // the server may still start
					d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(fleetIP(n), 0)), Timeout: 5 * time.Second}
					if c, err = d.Dial("tcp", boxIP+":80"); err == nil {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				if err != nil {
					return 0, err
				}
				in = bufio.NewReaderSize(c, 32<<10)
			}
			if _, err := io.WriteString(c, request); err != nil {
				return 0, err
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				return 0, err
			}
			size, err := io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != http.StatusOK {
				return 0, errors.New(resp.Status)
			}
			return int(size), err
		}
		return next, func() {
			if c != nil {
				_ = c.Close()
			}
		}
	})
}

// playFleetTFTP reads in blocks of 512 bytes, as most phones do.
func playFleetTFTP() int {
	return play(func(n int) (func() (int, error), func()) {
		next := func() (int, error) {
			var err error
			for range 20 {
				var size int
				if size, err = readTFTP(n); err == nil {
					return size, nil
				}
				time.Sleep(200 * time.Millisecond)
			}
			return 0, err
		}
		return next, func() {}
	})
}

func readTFTP(n int) (int, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(fleetIP(n), 0)))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	server := netip.MustParseAddrPort(boxIP + ":69")
	request := append([]byte{0, 1}, fleetMAC(n).Hex()+".cfg\x00octet\x00"...)
	if _, err := c.WriteToUDPAddrPort(request, server); err != nil {
		return 0, err
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 600)
	size := 0
	for block := uint16(1); ; {
		got, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return 0, err
		}
		if buf[1] == 5 {
			return 0, errors.New(string(buf[4:got]))
		}
		if binary.BigEndian.Uint16(buf[2:]) != block {
			continue
		}
		size += got - 4
		if _, err := c.WriteToUDPAddrPort([]byte{0, 4, buf[2], buf[3]}, from); err != nil {
			return 0, err
		}
		if got < 516 {
			return size, nil
		}
		block++
	}
}

// playFleetSave writes the file of every phone to a directory.
func playFleetSave() int {
	for n := range fleet {
		var text []byte
		var err error
		for range 100 {
			if text, err = fetchFile(n); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Getenv("BENCH_FLEET_DIR"), fleetMAC(n).Hex()+".cfg"), text, 0o644)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

func fetchFile(n int) ([]byte, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(fleetIP(n), 0))}).DialContext}
	req, err := http.NewRequest(http.MethodGet, "http://"+boxIP+"/"+fleetMAC(n).Hex()+".cfg", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", fmt.Sprintf(fleetAgent, fleetMAC(n).Hex()))
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}
