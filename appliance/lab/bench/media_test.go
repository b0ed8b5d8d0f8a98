//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// The bars of the relay.
const (
	barRelay     = 1.2                  // processor time per packet against rtpengine, plain and to SRTP
	barSurcharge = 1.15                 // to SRTP against our own plain
	barAdded     = 2000.0               // µs that p99.9 is above the direct way
	barMemory    = 64 << 10             // octets of memory for a call
	barPause     = 2 * time.Millisecond // of the collector
	barObjects   = 0.005                // taken from the heap per packet: none but by reports and timers
	lossless     = 0.1                  // per cent that a run may lose where the other does not
)

// calmLoad is how much other work, in cores, a run bears whose latency counts:
// done, and waiting to be done.
const calmLoad = 0.3

func (r rtpResult) calm() bool { return r.Foreign <= calmLoad && r.Waiting <= calmLoad }

// Where all phones and all gateways of the load are.
var (
	phonesAt   = netip.MustParseAddrPort(relayIP + ":40000")
	gatewaysAt = netip.MustParseAddrPort("10.77.1.2:40002")
)

// way is how the packets go from one side to the other.
type way struct {
	name   string
	secure bool
	open   func(n *network, calls int, secure bool) (rtpPlan, func())
}

var ways = []way{
	{"direct", false, (*network).direct},
	{"patchbay", false, (*network).ourRelay},
	{"rtpengine", false, (*network).rtpengine},
	{"patchbay SRTP", true, (*network).ourRelay},
	{"rtpengine SRTP", true, (*network).rtpengine},
}

// direct has no relay: what the network and the load cost by themselves.
func (n *network) direct(calls int, _ bool) (rtpPlan, func()) {
	plan := rtpPlan{PID: os.Getpid()} // which does nothing meanwhile
	for range calls {
		plan.Calls = append(plan.Calls, rtpCall{Phone: gatewaysAt, Gateway: phonesAt})
	}
	return plan, func() {}
}

func (n *network) rtpengine(calls int, secure bool) (rtpPlan, func()) {
	n.t.Helper()
	p := n.start("box", nil, slices.Concat(realtime, rtpengineCommand)...)
	ng := n.dialNG()
	defer ng.conn.Close()
	plan := rtpPlan{PID: p.cmd.Process.Pid}
	_, err := ng.ask(map[string]any{"command": "ping"})
	for i := 0; i < calls && err == nil; i++ {
		var c rtpCall
		c, err = ng.call(i, secure)
		plan.Calls = append(plan.Calls, c)
	}
	if err != nil {
		n.t.Fatalf("rtpengine: %v\n%s", err, &p.out)
	}
	return plan, func() { p.stop(syscall.SIGTERM) }
}

// ourRelay starts this program once more, as nothing but our relay.
func (n *network) ourRelay(calls int, secure bool) (rtpPlan, func()) {
	plan, stop, _ := n.ourRelayWith(relayOrder{Calls: calls, Secure: secure})
	return plan, stop
}

// ourRelayWith also returns how it was before the first call.
func (n *network) ourRelayWith(order relayOrder) (plan rtpPlan, stop func(), empty relayState) {
	n.t.Helper()
	control := filepath.Join(n.dir, "relay.sock")
	_ = os.Remove(control)
	p := n.role("box", "relay", realtime, controlVariable+"="+control)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := askRelay(control, relayOrder{}, &empty)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			n.t.Fatalf("our relay does not answer: %v\n%s", err, &p.out)
		}
	}
	var st relayState
	if err := askRelay(control, order, &st); err != nil {
		n.t.Fatalf("our relay: %v\n%s", err, &p.out)
	}
	return rtpPlan{PID: p.cmd.Process.Pid, Control: control, Calls: st.Calls}, func() { p.stop(syscall.SIGTERM) }, empty
}

// newMediaNetwork has a second host for the gateways.
func newMediaNetwork(t *testing.T) *network {
	n := newNetwork(t)
	n.in("flood", "ip", "addr", "add", gatewaysAt.Addr().String()+"/16", "brd", "+", "dev", "eth0")
	return n
}

// load plays the calls of a plan.
func (n *network) load(plan rtpPlan) rtpResult {
	n.t.Helper()
	plan.Phones, plan.Gateways, plan.Seconds = n.ns("gen"), n.ns("flood"), setting("BENCH_SECONDS", 5)
	text, err := json.Marshal(plan)
	if err != nil {
		n.t.Fatal(err)
	}
	path := filepath.Join(n.dir, "plan.json")
	n.write(path, string(text))
	p := n.role("gen", "load-rtp", []string{"chrt", "-f", "5", "taskset", "-c", loadCPU}, planVariable+"="+path)
	var r rtpResult
	out := n.wait(p, time.Duration(plan.Seconds)*time.Second+2*time.Minute)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		n.t.Fatalf("result of the load: %v\n%s", err, out)
	}
	if r.Unproven > 0 || plan.Calls[0].ToBox != nil && r.Proven == 0 {
		n.t.Errorf("SRTP tags: %d right, %d wrong", r.Proven, r.Unproven)
	}
	return r
}

// travel measures one way, with a fresh relay.
func (n *network) travel(w way, calls int) rtpResult {
	n.t.Helper()
	quiet()
	plan, stop := w.open(n, calls, w.secure)
	r := n.load(plan)
	stop()
	if w.name == "direct" {
		r.CPU = 0
	}
	return r
}

// TestMedia compares our relay with rtpengine and with itself: all ways
// alternately, at the same rate.
func TestMedia(t *testing.T) {
	n := newMediaNetwork(t)
	calls, pairs := setting("BENCH_CALLS", 500), setting("BENCH_PAIRS", 5)
	fmt.Printf("%d calls: %d packets/s, one core for the relay\n", calls, 100*calls)
	results := make([][]rtpResult, len(ways))
	for i := range pairs {
		order := []int{0, 1, 2, 3, 4}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			r := n.travel(ways[k], calls)
			results[k] = append(results[k], r)
			fmt.Printf("pair %d %-14s %v\n", i+1, ways[k].name, r)
		}
	}
	direct, plain, foreign, sealed, foreignSealed := results[0], results[1], results[2], results[3], results[4]
	t.Run("plain", func(t *testing.T) { atMost(t, "plain, patchbay : rtpengine", plain, foreign, barRelay) })
	t.Run("SRTP", func(t *testing.T) {
		atMost(t, "to SRTP, patchbay : rtpengine", sealed, foreignSealed, barRelay)
	})
	t.Run("surcharge", func(t *testing.T) { atMost(t, "patchbay, SRTP : plain", sealed, plain, barSurcharge) })
	t.Run("allocations", func(t *testing.T) { objects(t, slices.Concat(plain, sealed)) })
	t.Run("latency plain", func(t *testing.T) { added(t, "plain", plain, direct, foreign) })
	t.Run("latency SRTP", func(t *testing.T) { added(t, "to SRTP", sealed, direct, foreignSealed) })
	t.Run("loss", func(t *testing.T) {
		losses(t, "plain", plain, foreign)
		losses(t, "to SRTP", sealed, foreignSealed)
	})
}

// atMost compares processor time per packet, pair by pair.
func atMost(t *testing.T, what string, a, b []rtpResult, bar float64) {
	var ours, theirs, ratios []float64
	for i := range a {
		ours, theirs = append(ours, a[i].perPacket()), append(theirs, b[i].perPacket())
		ratios = append(ratios, ours[i]/theirs[i])
		fmt.Printf("  %s, pair %d: %.2f µs : %.2f µs = %.2f (foreign %.0f %%, %.0f %%)\n", what, i+1, ours[i], theirs[i], ratios[i], 100*a[i].Foreign, 100*b[i].Foreign)
	}
	ratio := median(ratios)
	fmt.Printf("CPU per packet, %s: %s µs : %s µs, ratio %s, bar %.2f\n", what, spread(ours), spread(theirs), spread(ratios), bar)
	if ratio > bar {
		t.Errorf("%s: %.2f times the processor time, the bar is %.2f", what, ratio, bar)
	}
}

// objects looks at what a packet takes from the heap.
func objects(t *testing.T, all []rtpResult) {
	var each []float64
	for _, r := range all {
		each = append(each, float64(r.After.Objects-r.Before.Objects)/float64(max(r.Received, 1)))
	}
	fmt.Printf("heap objects per packet: %s, bar %.3f (reports and timers, no packet)\n", spread(each), barObjects)
	if slices.Max(each) > barObjects {
		t.Errorf("%.4f objects per packet, the bar is %.3f", slices.Max(each), barObjects)
	}
}

// added compares p99.9 with that of the direct way in the same round. Rounds
// with other work on the machine are not counted. It makes latency longer only: so
// where there was other work in all of them, the worst of all has to be good.
func added(t *testing.T, what string, relay, direct, other []rtpResult) {
	var calmly, all []float64
	for i, r := range relay {
		more, note := r.P999-direct[i].P999, ""
		all = append(all, more)
		if r.calm() && direct[i].calm() {
			calmly = append(calmly, more)
		} else {
			note = ", disturbed"
		}
		fmt.Printf("  p99.9 %s, round %d: patchbay %.0f µs, direct %.0f µs, added %.0f µs; rtpengine %.0f µs (foreign %.0f %%, %.0f %%, waiting %.1f, %.1f)%s\n",
			what, i+1, r.P999, direct[i].P999, more, other[i].P999, 100*r.Foreign, 100*direct[i].Foreign, r.Waiting, direct[i].Waiting, note)
	}
	if len(calmly) == 0 {
		fmt.Printf("added p99.9, %s: %s µs, all %d rounds disturbed: the worst is judged, bar %.0f\n", what, spread(all), len(all), barAdded)
		if worst := slices.Max(all); worst >= barAdded {
			t.Errorf("latency %s: p99.9 is up to %.0f µs above the direct way, the bar is %.0f, and all %d rounds were disturbed by other work on the machine", what, worst, barAdded, len(all))
		}
		return
	}
	fmt.Printf("added p99.9, %s: %s µs over %d of %d rounds, bar %.0f\n", what, spread(calmly), len(calmly), len(relay), barAdded)
	if median(calmly) >= barAdded {
		t.Errorf("latency %s: p99.9 is %.0f µs above the direct way, the bar is %.0f", what, median(calmly), barAdded)
	}
}

func losses(t *testing.T, what string, ours, theirs []rtpResult) {
	for i := range ours {
		if ours[i].loss() > lossless && theirs[i].loss() <= lossless {
			t.Errorf("%s, pair %d: patchbay lost %.2f %%, rtpengine %.2f %%", what, i+1, ours[i].loss(), theirs[i].loss())
		}
	}
}

// TestMediaMemory is how much a call takes while it runs, to SRTP, what the
// first call makes the process load included: hence never only a few calls.
// What the system holds for the sockets is not in it.
func TestMediaMemory(t *testing.T) {
	n := newMediaNetwork(t)
	calls := max(500, setting("BENCH_CALLS", 500))
	plan, stop, empty := n.ourRelayWith(relayOrder{Calls: calls, Secure: true})
	defer stop()
	r := n.load(plan)
	each := float64(r.After.Resident-empty.Resident) / float64(calls)
	fmt.Printf("memory: %.1f MiB without a call, %.1f MiB with %d, %.1f KiB each, bar %d\n",
		float64(empty.Resident)/(1<<20), float64(r.After.Resident)/(1<<20), calls, each/1024, barMemory>>10)
	if each >= barMemory {
		t.Errorf("a call takes %.1f KiB, the bar is %d", each/1024, barMemory>>10)
	}
}

// TestMediaCollector is how long the collector of garbage stops the relay. The
// relay itself leaves it nothing to do, so it is made to run.
func TestMediaCollector(t *testing.T) {
	n := newMediaNetwork(t)
	calls := setting("BENCH_CALLS", 500)
	quiet()
	plan, stop, _ := n.ourRelayWith(relayOrder{Calls: calls, Secure: true, Collect: true})
	defer stop()
	r := n.load(plan)
	cycles := r.After.Cycles - r.Before.Cycles
	fmt.Printf("collector: %d cycles beside %d calls, longest pause %v, bar %v\n  %v\n", cycles, calls, r.After.Pause, barPause, r)
	if cycles == 0 {
		t.Error("the collector did not run")
	}
	if r.After.Pause >= barPause {
		t.Errorf("the collector stopped the relay for %v, the bar is %v", r.After.Pause, barPause)
	}
}
