//go:build bench

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"patchbay/media"
)

const (
	controlVariable = "PATCHBAY_BENCH_CONTROL"
	planVariable    = "PATCHBAY_BENCH_PLAN"
	// profileVariable names a file for a profile of our relay's processor
	// time, the last of a run.
	profileVariable = "BENCH_PROFILE"
)

// relayOrder is what our relay is told: to open calls, and whether to collect
// garbage; the zero order only asks for the state.
type relayOrder struct {
	Calls   int
	Secure  bool // the gateway's side
	Collect bool
}

// relayState is how our relay is.
type relayState struct {
	Calls    []rtpCall     // of an order to open some
	Objects  uint64        // taken from the heap since the start
	Resident int64         // octets of memory
	Cycles   uint64        // of the collector
	Pause    time.Duration // the longest that stopped all, at most
	Failed   string
}

// askRelay gives one order.
func askRelay(path string, order relayOrder, into *relayState) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(order); err != nil {
		return err
	}
	if err := json.NewDecoder(conn).Decode(into); err != nil {
		return err
	}
	if into.Failed != "" {
		return errors.New(into.Failed)
	}
	return nil
}

// ourRelay is package media in a process of its own, as the box uses it for
// the calls between its phones and the gateway.
type ourRelay struct {
	pool    *media.PortPool
	garbage any
}

// playRelay takes orders until it is killed.
func playRelay() int {
	listener, err := net.Listen("unix", os.Getenv(controlVariable))
	if err != nil {
		return complain(err)
	}
	if err := profiled(); err != nil {
		return complain(err)
	}
	r := &ourRelay{}
	if r.pool, err = media.NewPortPool(20000, 59999, 0); err != nil {
		return complain(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return complain(err)
		}
		var order relayOrder
		if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&order); err == nil {
			_ = json.NewEncoder(conn).Encode(r.obey(order))
		}
		conn.Close()
	}
}

// profiled records where the time goes until the process is told to end.
func profiled() error {
	path := os.Getenv(profileVariable)
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		<-end
		pprof.StopCPUProfile()
		os.Exit(0)
	}()
	return nil
}

func (r *ourRelay) obey(order relayOrder) relayState {
	var calls []rtpCall
	for range order.Calls {
		c, err := r.open(order.Secure)
		if err != nil {
			return relayState{Failed: err.Error()}
		}
		calls = append(calls, c)
	}
	if order.Collect {
		go r.collect()
	}
	st := r.state()
	st.Calls = calls
	return st
}

// open makes a call and lets it run.
func (r *ourRelay) open(secure bool) (rtpCall, error) {
	box := netip.MustParseAddr(boxIP)
	phones, err := r.pool.Open(box)
	if err != nil {
		return rtpCall{}, err
	}
	gateway, err := r.pool.Open(box)
	if err != nil {
		return rtpCall{}, err
	}
	a := media.NewStream(media.StreamConfig{Pair: phones, Name: "phone", Learn: media.SameHost})
	b := media.NewStream(media.StreamConfig{Pair: gateway, Name: "gateway", Learn: media.Natted})
	c := rtpCall{Phone: netip.AddrPortFrom(box, phones.Port), Gateway: netip.AddrPortFrom(box, gateway.Port)}
	var send, recv *media.Crypto
	if secure {
		ours, err := media.NewCrypto(1, media.SuiteSHA1_80)
		if err != nil {
			return rtpCall{}, err
		}
		theirs, err := media.NewCrypto(1, media.SuiteSHA1_80)
		if err != nil {
			return rtpCall{}, err
		}
		send, recv, c.ToGateway, c.ToBox = &ours, &theirs, ours.Key, theirs.Key
	}
	codecs := []media.Codec{{PT: 0, Name: "PCMU", Rate: 8000, Channels: 1}, {PT: 101, Name: "telephone-event", Rate: 8000, Channels: 1}}
	for _, leg := range []struct {
		stream     *media.Stream
		send, recv *media.Crypto
		at         netip.AddrPort
	}{{a, nil, nil, phonesAt}, {b, send, recv, gatewaysAt}} {
		if err := leg.stream.SetCrypto(leg.send, leg.recv); err != nil {
			return rtpCall{}, err
		}
		leg.stream.SetCodecs(codecs, codecs)
		leg.stream.SetDirection(media.SendRecv)
		leg.stream.SetRemote(leg.at, netip.AddrPort{})
	}
	go func() {
		if err := media.NewRelay(a, b, media.RelayOptions{}).Run(context.Background()); err != nil {
			complain(err)
			os.Exit(1)
		}
	}()
	return c, nil
}

func (r *ourRelay) state() relayState {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:objects"},
		{Name: "/gc/heap/tiny/allocs:objects"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(samples)
	return relayState{
		Objects:  samples[0].Value.Uint64() + samples[1].Value.Uint64(),
		Cycles:   samples[2].Value.Uint64(),
		Pause:    longest(samples[3].Value.Float64Histogram()),
		Resident: resident(),
	}
}

// longest is the upper end of the highest bucket in use.
func longest(h *metrics.Float64Histogram) time.Duration {
	for i := len(h.Counts) - 1; i >= 0; i-- {
		if h.Counts[i] == 0 {
			continue
		}
		top := h.Buckets[i+1]
		if math.IsInf(top, 1) {
			top = h.Buckets[i]
		}
		return time.Duration(top * float64(time.Second))
	}
	return 0
}

// resident is the memory of this process in octets.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib int64
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}

// node is garbage that the collector has to follow.
type node struct {
	next *node
	_    [7]uint64
}

// collect makes the collector run twice a second beside the relay, over as
// much memory as a busy box holds for its phones and calls.
func (r *ourRelay) collect() {
	const objects = 500_000 // 32 MB
	var head *node
	for range objects {
		head = &node{next: head}
	}
	r.garbage = head
	for {
		runtime.GC()
		time.Sleep(500 * time.Millisecond)
	}
}
