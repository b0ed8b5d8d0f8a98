//go:build bench

package bench

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// result is one run of perfdhcp.
type result struct {
	offered     int // exchanges per second that were asked for
	sent, acked int
	took        time.Duration // in which all of them were asked
	offer, ack  delays
	server      time.Duration // processor time
	foreign     float64       // of one core
}

// delays are of one half of the exchange, in milliseconds.
type delays struct{ p50, p99 float64 }

// perExchange is the server's processor time for each client served, µs.
func (r result) perExchange() float64 {
	return float64(r.server.Microseconds()) / float64(max(r.acked, 1))
}

// drop is which part of the clients got no address, per cent.
func (r result) drop() float64 { return 100 * (1 - float64(r.acked)/float64(max(r.sent, 1))) }

// rate is how many clients a second got an address.
func (r result) rate() float64 { return float64(r.acked) / r.took.Seconds() }

func (r result) String() string {
	return fmt.Sprintf("%5d sent %5.1f%% drop %6.1f µs  offer %5.2f/%6.2f ms  ack %5.2f/%6.2f ms  foreign %3.0f%%",
		r.sent, r.drop(), r.perExchange(), r.offer.p50, r.offer.p99, r.ack.p50, r.ack.p99, 100*r.foreign)
}

// afterwards is how long a server may still work on what was asked: what is
// written behind counts as well.
const afterwards = 1200 * time.Millisecond

// exchange lets new phones come at a rate for some seconds. first is the
// number of the first of them.
func (n *network) exchange(s *server, rate, seconds, first int) result {
	n.t.Helper()
	return n.perfdhcp(s, rate, first, "-p", strconv.Itoa(seconds))
}

// perfdhcp runs Kea's generator. It speaks as a relay. The clients are
// phones: an OUI of Yealink and what Yealink writes in option 60.
func (n *network) perfdhcp(s *server, rate, first int, more ...string) result {
	n.t.Helper()
	args := append([]string{
		"netns", "exec", n.ns("gen"), "nice", "-n", "-19", "taskset", "-c", loadCPU,
		"perfdhcp", "-4", "-l", "eth0", "-r", strconv.Itoa(rate), "-R", "60000",
		"-b", fmt.Sprintf("mac=00:15:65:%02x:%02x:%02x", first>>16&0xff, first>>8&0xff, first&0xff),
		"-o", "60,7965616c696e6b", "-W", "500000", "-x", "t",
	}, more...)
	report, err := os.Create(filepath.Join(n.dir, "perfdhcp"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer report.Close()
	cmd := exec.Command("ip", append(args, boxIP)...)
	cmd.Stdout, cmd.Stderr = report, report
	span := begin(s.pid())
	err = cmd.Run() // exits 3 if packets were dropped
	time.Sleep(afterwards)
	text, rerr := os.ReadFile(report.Name())
	if rerr != nil {
		n.t.Fatal(rerr)
	}
	r, perr := parseReport(string(text))
	if perr != nil {
		n.t.Fatalf("perfdhcp: %v, %v:\n%.2000s\n%s", err, perr, text, &s.proc.out)
	}
	r.offered = rate
	if r.server, r.foreign, err = span.end(); err != nil {
		n.t.Fatalf("%s: %v\n%s", s.name, err, &s.proc.out)
	}
	return r
}

var (
	section = regexp.MustCompile(`(?s)\*\*\*Statistics for: (DISCOVER-OFFER|REQUEST-ACK)\*\*\*\s*sent packets: (\d+)\s*received packets: (\d+)`)
	stamps  = regexp.MustCompile(`\*\*\*Timestamps for packets: (\S+)\*\*\*`)
	stamp   = regexp.MustCompile(`sent / received: (\d+\.\d+) / (\d+\.\d+)`)
)

// parseReport reads what perfdhcp prints at the end.
func parseReport(text string) (r result, err error) {
	found := section.FindAllStringSubmatch(text, -1)
	if len(found) != 2 {
		return r, fmt.Errorf("%d of 2 statistics found", len(found))
	}
	r.sent, _ = strconv.Atoi(found[0][2])
	r.acked, _ = strconv.Atoi(found[1][3])
	marks := stamps.FindAllStringSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		if text[m[2]:m[3]] == "DISCOVER-OFFER" {
			r.offer, r.took = delaysOf(text[m[1]:end])
		} else {
			r.ack, _ = delaysOf(text[m[1]:end])
		}
	}
	return r, nil
}

// delaysOf reads the times of one half of the exchange: how long the answers
// took, and how long it was from the first packet sent to the last.
func delaysOf(text string) (delays, time.Duration) {
	var all []float64
	first, last := math.Inf(1), math.Inf(-1)
	for _, m := range stamp.FindAllStringSubmatch(text, -1) {
		sent, _ := strconv.ParseFloat(m[1], 64)
		got, _ := strconv.ParseFloat(m[2], 64)
		all = append(all, 1000*(got-sent))
		first, last = min(first, sent), max(last, sent)
	}
	if len(all) == 0 {
		return delays{}, 0
	}
	slices.Sort(all)
	return delays{all[len(all)/2], all[len(all)*99/100]}, time.Duration((last - first) * float64(time.Second))
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
