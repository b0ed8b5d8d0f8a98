//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"patchbay/appliance/store"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// The load on the box as a whole. A survivability node of another maker is
// published with 2,000 registrations, 240 calls, 2 calls/s and 45 registrations/s
// on 8 cores and 16 GB.
const (
	boxFleet     = 2000
	boxRegisters = 200 // a second
	boxCalls     = 20  // a second
	boxHold      = 12 * time.Second
	boxSeconds   = 30
	boxRamp      = 14 // seconds until as many calls begin as end
	// boxPatience is how many times the seconds that are wanted a run goes on,
	// for those that others disturbed are left out, and boxLeast how many of
	// them a run must have.
	boxPatience = 4
	boxLeast    = 10
	// barBox is how many µs p99.9 of the audio is above the direct way.
	barBox = 2000.0
	// What the unit of systemd allows: how far the collector lets the heap grow
	// (GOMEMLIMIT), and from where on the kernel slows the box down (MemoryHigh).
	boxLimit  = "560MiB"
	boxMemory = 640 << 20
)

func boxMAC(n int) mac.Addr { return mac.Addr{0x00, 0x15, 0x65, 0x77, byte(n >> 8), byte(n)} }

// furnishBox writes what a site has whose phones are all signed in.
func furnishBox(t *testing.T, state string, phones int) {
	t.Helper()
	ctx := t.Context()
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := store.LoadKey(filepath.Join(state, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(ctx, filepath.Join(state, "patchbay.db"), key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now()
	var c enrol.Change
	for n := 1; n <= phones; n++ {
		m := boxMAC(n)
		c.Lines = append(c.Lines, enrol.Line{ID: int64(-n), AOR: "sip:" + boxNumber(n) + "@example.com", DisplayName: "Person " + strconv.Itoa(n), Extension: boxNumber(n)})
		c.Phones = append(c.Phones, enrol.PhoneRecord{MAC: m, Vendor: "yealink", Model: "T46U", Firmware: "108.86.0.70", FirstSeen: now, LastSeen: now, Enrolled: now})
		c.Accounts = append(c.Accounts, enrol.AccountRecord{
			Account: mac.Account{MAC: m, Slot: 1}, Username: phoneUser(n), Password: sipPassword, LineID: int64(-n), SignedIn: now, By: "bench",
		})
	}
	if _, err := db.Inventory().Apply(ctx, c); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup // at once, for they share commits then
	for n := 1; n <= phones; n++ {
		all.Go(func() {
			if err := db.Leases().Put(ctx, dhcp.Lease{IP: phoneIP(n), MAC: boxMAC(n), State: dhcp.Bound, Granted: now, Expires: now.Add(fleetLicence)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// boxConfig is that of a site whose phones are in a network behind a router.
const boxConfig = `[box]
state = %q
country = "DE"
[[lan]]
interface = "lan0"
address = %q
subnet = %q
dhcp = "serve"
pools = ["%s-%s"]
[[lan.network]]
subnet = "%s/16"
pools = ["10.78.0.1-10.78.255.254"]
[sip]
srtp = "required"
[page]
mdns = false
`

// collector reads what the runtime of Go says of each collection of garbage
// (GODEBUG=gctrace=1), and passes on what else is written.
type collector struct {
	next *output
	mu   sync.Mutex
	rest string
	runs int
	most time.Duration
	all  time.Duration
	heap string // MB before, after and alive of the last
}

func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest += string(p)
	for {
		line, rest, whole := strings.Cut(c.rest, "\n")
		if !whole {
			return len(p), nil
		}
		c.rest = rest
		if pauses, ok := pausesOf(line); ok {
			c.runs++
			_, c.heap, _ = strings.Cut(line, " ms cpu, ")
			c.heap, _, _ = strings.Cut(c.heap, " MB goal")
			for _, d := range pauses {
				c.all += d
				c.most = max(c.most, d)
			}
			continue
		}
		_, _ = c.next.Write([]byte(line + "\n"))
	}
}

// pausesOf are the two times that one collection stopped everything.
func pausesOf(line string) (pauses [2]time.Duration, ok bool) {
	var run, part int
	var at, sweep, mark, end float64
	n, _ := fmt.Sscanf(line, "gc %d @%fs %d%%: %f+%f+%f ms clock", &run, &at, &part, &sweep, &mark, &end)
	ms := float64(time.Millisecond)
	return [2]time.Duration{time.Duration(sweep * ms), time.Duration(end * ms)}, n == 6
}

// reset forgets what was, and returns it.
func (c *collector) reset() (runs int, most, all time.Duration, heap string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	runs, most, all = c.runs, c.most, c.all
	c.runs, c.most, c.all = 0, 0, 0
	return runs, most, all, c.heap
}

// boxRun is one run.
type boxRun struct {
	phones           boxPhonesResult
	audio            boxAudioResult
	seconds, looked  int     // that others left alone, and all
	box, sip, rtp    float64 // parts of a core
	foreign, waiting float64 // cores of others' work done, and tasks of others that waited
	memory           int64
	runs             int // of the collector
	pause, paused    time.Duration
	heap             string
}

func (r boxRun) calm(secs int) bool { return r.seconds >= min(secs, boxLeast) }

// added is how much the box adds to p99.9 of the audio, in µs. Of all seconds
// where that is less than of the calm ones, which may be few and hold the one
// cycle of the collector: what others do makes it longer only.
func (r boxRun) added() float64 { return min(r.audio.P999, r.audio.E999) - r.audio.D999 }

// faults is what went wrong with a load of so many calls a second, of which so
// many seconds were to be measured.
func (r boxRun) faults(cps, secs int) (all []string) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	p, a, up := r.phones, r.audio, cps*int(boxHold/time.Second)
	check(p.RegisterFailed == 0, "%d registrations failed", p.RegisterFailed)
	check(p.CallsFailed == 0, "%d calls failed", p.CallsFailed)
	check(p.Retransmitted == 0, "%d messages were sent again", p.Retransmitted)
	check(p.Lost == 0, "%d connections of phones were closed", p.Lost)
	check(a.Sent == a.Received, "%d of %d RTP packets are lost", a.Sent-a.Received, a.Sent)
	check(a.Unproven == 0 && a.Proven > 0, "SRTP: %d packets are right, %d wrong", a.Proven, a.Unproven)
	check(a.Strange == 0, "%d RTP packets are nobody's", a.Strange)
	check(r.added() < barBox, "p99.9 is %.0f µs above the direct way, the bar is %.0f", r.added(), barBox)
	check(r.memory < boxMemory, "%d MiB are resident, the unit slows the box down at %d", r.memory>>20, boxMemory>>20)
	// What the load itself must do.
	check(float64(p.Registered+p.RegisterFailed) >= 0.99*boxRegisters*p.Seconds && p.Seconds > 0, "only %d registrations were tried", p.Registered+p.RegisterFailed)
	check(float64(p.Calls+p.CallsFailed) >= 0.99*float64(cps)*p.Seconds, "only %d calls were tried", p.Calls+p.CallsFailed)
	check(p.MostUp >= up*98/100, "only %d calls were up at once", p.MostUp)
	check(float64(a.Measured) >= 0.98*float64(100*up)*a.Seconds && a.Seconds > 0, "only %.0f RTP packets/s were offered and came", float64(a.Measured)/max(a.Seconds, 1))
	check(r.calm(secs), "others left the machine alone in %d of %d seconds only", r.seconds, r.looked)
	check(a.Refused == 0, "the system of the load had no room for %d RTP packets", a.Refused)
	return all
}

func (r boxRun) String() string {
	p, a := r.phones, r.audio
	return fmt.Sprintf("  REGISTER  ok %d, failed %d, p50 %.2f ms, p99 %.2f ms, max %.1f ms; %d connections lost\n", p.Registered, p.RegisterFailed, p.R50, p.R99, p.RMax, p.Lost) +
		fmt.Sprintf("  calls     ok %d, failed %d, at most %d at once, INVITE to 180 p50 %.2f ms, p99 %.2f ms, max %.1f ms; messages sent again %d\n", p.Calls, p.CallsFailed, p.MostUp, p.C50, p.C99, p.CMax, p.Retransmitted) +
		fmt.Sprintf("  SRTP      sent %d, lost %d, wrong %d of %d looked at, strange %d; measured %.0f packets/s\n", a.Sent, a.Sent-a.Received, a.Unproven, a.Proven+a.Unproven, a.Strange, float64(a.Measured)/max(a.Seconds, 1)) +
		fmt.Sprintf("  one way   through the box p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f µs; direct p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f µs; added p50 %.0f  p99 %.0f  p99.9 %.0f µs, bar %.0f\n",
			a.P50, a.P99, a.P999, a.Max, a.D50, a.D99, a.D999, a.DMax, a.P50-a.D50, a.P99-a.D99, r.added(), barBox) +
		fmt.Sprintf("            the disturbed seconds too: p50 %.0f  p99 %.0f  p99.9 %.0f  max %.0f µs\n", a.E50, a.E99, a.E999, a.EMax) +
		fmt.Sprintf("  box       %.0f %% of its core, %.1f MiB resident; collector: %d cycles, longest pause %v, together %v, heap %s MB\n", 100*r.box, float64(r.memory)/(1<<20), r.runs, r.pause, r.paused, r.heap) +
		fmt.Sprintf("  load      SIP %.0f %%, RTP %.0f %% of the other core, stalls of RTP %d; in %d of %d s the machine was ours, foreign %.0f %%, waiting %.1f", 100*r.sip, 100*r.rtp, a.Stalls, r.seconds, r.looked, 100*r.foreign, r.waiting)
}

// runBox puts the load on a fresh box.
func runBox(t *testing.T, n *network, cps, secs int) (r boxRun) {
	t.Helper()
	phones := setting("BENCH_PHONES", boxFleet)
	state, err := os.MkdirTemp(n.dir, "box")
	if err != nil {
		t.Fatal(err)
	}
	furnishBox(t, state, phones)
	quiet()
	config := filepath.Join(state, "patchbay.toml")
	n.write(config, fmt.Sprintf(boxConfig, state, boxIP, subnet, firstIP, lastIP, sipPhones))
	garbage := &collector{}
	box := n.prepare("box", []string{"GODEBUG=gctrace=1", "GOMEMLIMIT=" + boxLimit}, append(append([]string(nil), realtime...), os.Getenv("PATCHBAY_BIN"), "serve", "--config", config)...)
	garbage.next = &box.out
	box.cmd.Stderr = garbage
	box.run(n)
	defer box.stop(syscall.SIGTERM)
	s := &sipServer{n: n, name: "patchbay", dir: state, proc: box}
	s.ready()

	env := []string{
		"BENCH_STATE=" + state, "BENCH_PHONES_NS=" + n.ns("gen"), "BENCH_OTHER_NS=" + n.ns("flood"),
		fmt.Sprintf("BENCH_CPS=%d", cps), fmt.Sprintf("BENCH_PHONES=%d", phones),
	}
	audio := n.role("gen", "box-audio", []string{"chrt", "-f", "5", "taskset", "-c", loadCPU}, env...)
	n.await(audio, "ready\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sip := n.prepare("gen", append(env, roleVariable+"=box-phones"), "nice", "-n", "-19", "taskset", "-c", loadCPU, self)
	in, err := sip.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	sip.run(n)
	n.await(sip, "ready\n")
	orders, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: state + "/" + boxAudio, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer orders.Close()
	tell := func(do string) {
		if err := json.NewEncoder(orders).Encode(boxOrder{Do: do}); err != nil {
			t.Fatalf("%s: %v\n%s", do, err, &audio.out)
		}
	}

	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(boxRamp * time.Second)
	r.measure(t, secs, tell, []*process{box, sip, audio}, garbage)
	if _, err := in.Write([]byte("enough\n")); err != nil {
		t.Fatal(err)
	}
	said := n.wait(sip, time.Minute)
	connected, _, _ := strings.Cut(said, "\n")
	fmt.Println(connected)
	fromJSON(t, said, &r.phones)
	fromJSON(t, n.wait(audio, time.Minute), &r.audio)
	if text := box.out.String(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "level=WARN") {
		fmt.Printf("the box says:\n%s", text)
	}
	return r
}

// measure looks at the processes second by second, the box first, then SIP and RTP
// of the load, until there are enough seconds that others did not disturb.
func (r *boxRun) measure(t *testing.T, secs int, tell func(string), procs []*process, garbage *collector) {
	t.Helper()
	pids := []int{os.Getpid()}
	for _, p := range procs {
		pids = append(pids, p.cmd.Process.Pid)
	}
	garbage.reset()
	tell("measure")
	var parts [3]time.Duration
	var whole time.Duration
	for ; r.seconds < secs && r.looked < boxPatience*secs; r.looked++ {
		began, b, o, before := time.Now(), busy(), ours(), cpuOfAll(t, procs)
		waits := waiting(began.Add(time.Second), pids)
		took, other := time.Since(began), busy()-b-(ours()-o)
		after := cpuOfAll(t, procs)
		for i := range after {
			other -= after[i] - before[i]
		}
		foreign := max(0, other.Seconds()/took.Seconds())
		whole += took
		for i := range after {
			parts[i] += after[i] - before[i]
		}
		r.foreign, r.waiting = r.foreign+foreign, r.waiting+waits
		if foreign > calmLoad || waits > calmLoad {
			tell("drop")
			continue
		}
		tell("keep")
		r.seconds++
	}
	tell("rest")
	r.runs, r.pause, r.paused, r.heap = garbage.reset()
	for i, into := range []*float64{&r.box, &r.sip, &r.rtp} {
		*into = parts[i].Seconds() / max(whole.Seconds(), 1)
	}
	r.foreign, r.waiting = r.foreign/float64(max(r.looked, 1)), r.waiting/float64(max(r.looked, 1))
	r.memory = memoryOf(procs[0].cmd.Process.Pid)
}

// cpuOfAll is the processor time of each process.
func cpuOfAll(t *testing.T, procs []*process) (all [3]time.Duration) {
	t.Helper()
	for i, p := range procs {
		var err error
		if all[i], err = cpuOf(p.cmd.Process.Pid); err != nil {
			t.Fatalf("%v\n%s", err, &p.out)
		}
	}
	return all
}

// waiting looks ten times a second until a time, and returns how many tasks
// wanted a core on average that are none of these processes'.
func waiting(until time.Time, pids []int) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Where the load is: a look must not keep the box waiting.
	var there, before unix.CPUSet
	_ = unix.SchedGetaffinity(0, &before)
	core, _ := strconv.Atoi(loadCPU)
	there.Set(core)
	_ = unix.SchedSetaffinity(0, &there)
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	sum, looks := 0, 0
	for ; time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		text, _ := os.ReadFile("/proc/loadavg")
		var running, all int
		if f := strings.Fields(string(text)); len(f) > 3 {
			_, _ = fmt.Sscanf(f[3], "%d/%d", &running, &all)
		}
		for _, pid := range pids {
			running -= runningThreads(pid)
		}
		sum += running
		looks++
	}
	return max(0, float64(sum)/float64(max(looks, 1)))
}

// runningThreads is how many threads of a process want a core.
func runningThreads(pid int) (n int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		if _, rest, _ := strings.Cut(string(text), ") "); strings.HasPrefix(rest, "R") {
			n++
		}
	}
	return n
}

// await waits until a process has printed something.
func (n *network) await(p *process, what string) {
	n.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !strings.Contains(p.out.String(), what); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.done:
			n.t.Fatalf("%v ended: %v\n%s", p.cmd.Args, p.err, &p.out)
		default:
		}
		if time.Now().After(end) {
			n.t.Fatalf("%v does not say %q:\n%s", p.cmd.Args, what, &p.out)
		}
	}
}

// fromJSON reads the result at the end of what a part printed.
func fromJSON(t *testing.T, text string, into any) {
	t.Helper()
	_, text, _ = strings.Cut(text, "ready\n")
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
}

// TestBox is the box as a whole, all of it at once, on one core. Latencies are
// those of the seconds in which others left the machine alone, or of all, as
// [boxRun.added] has it; everything else is counted from beginning to end.
func TestBox(t *testing.T) {
	n := sipNetwork(t)
	n.in("flood", "ip", "addr", "add", gatewaysAt.Addr().String()+"/16", "brd", "+", "dev", "eth0")
	secs, cps := setting("BENCH_SECONDS", boxSeconds), setting("BENCH_CPS", boxCalls)
	up := cps * int(boxHold/time.Second)
	fmt.Printf("the box on one core for %d s: %d phones on TLS, %d REGISTER/s, %d calls/s of %v, %d at once, SRTP both ways: %d packets/s\n",
		secs, setting("BENCH_PHONES", boxFleet), boxRegisters, cps, boxHold, up, 100*up)
	if cps != boxCalls || setting("BENCH_PHONES", boxFleet) != boxFleet {
		fmt.Println("NOT THE LOAD OF THE BAR: BENCH_CPS or BENCH_PHONES says otherwise")
	}
	tries := setting("BENCH_PAIRS", 5)
	for i := range tries {
		r := runBox(t, n, cps, secs)
		faults := r.faults(cps, secs)
		note := ""
		if !r.calm(secs) {
			note = ", disturbed by others"
		}
		fmt.Printf("run %d%s\n%v\n", i+1, note, r)
		for _, f := range faults {
			fmt.Println("  FAULT:", f)
		}
		for _, f := range append(r.phones.Faults, r.audio.Gaps...) {
			fmt.Println("    ", f)
		}
		if len(faults) == 0 {
			return
		}
		if r.calm(secs) {
			t.Fatal(strings.Join(faults, "; "))
		}
		fmt.Println("  others disturbed this run: it does not count")
	}
	t.Errorf("all %d runs were disturbed by other work on the machine; none counts", tries)
}

// TestBoxVerdict: each thing that can go wrong is a fault.
func TestBoxVerdict(t *testing.T) {
	const secs = 10
	good := boxRun{
		phones:  boxPhonesResult{Seconds: secs, Registered: boxRegisters * secs, Calls: boxCalls * secs, MostUp: 240},
		seconds: secs, looked: secs,
		audio: boxAudioResult{Sent: 240000, Received: 240000, Proven: 1, Measured: 240000, Seconds: 10, P999: 1500, E999: 5000, D999: 20},
	}
	if all := good.faults(boxCalls, secs); len(all) > 0 {
		t.Fatalf("a good run has faults: %q", all)
	}
	late := good
	late.audio.P999, late.audio.E999 = late.audio.E999, late.audio.P999
	if all := late.faults(boxCalls, secs); len(all) > 0 {
		t.Errorf("good in all seconds, but faults %q", all)
	}
	for name, spoil := range map[string]func(*boxRun){
		"registration":        func(r *boxRun) { r.phones.RegisterFailed, r.phones.Registered = 1, r.phones.Registered-1 },
		"call":                func(r *boxRun) { r.phones.CallsFailed, r.phones.Calls = 1, r.phones.Calls-1 },
		"sent again":          func(r *boxRun) { r.phones.Retransmitted = 1 },
		"connection":          func(r *boxRun) { r.phones.Lost = 1 },
		"lost packet":         func(r *boxRun) { r.audio.Received-- },
		"wrong packet":        func(r *boxRun) { r.audio.Unproven = 1 },
		"memory":              func(r *boxRun) { r.memory = boxMemory },
		"none proven":         func(r *boxRun) { r.audio.Proven = 0 },
		"strange":             func(r *boxRun) { r.audio.Strange = 1 },
		"late":                func(r *boxRun) { r.audio.P999 = barBox + r.audio.D999 },
		"late when disturbed": func(r *boxRun) { r.audio.P999, r.audio.E999 = r.audio.E999, barBox+r.audio.D999 },
		"few registers":       func(r *boxRun) { r.phones.Registered -= 50 },
		"few calls":           func(r *boxRun) { r.phones.Calls -= 5 },
		"few at once":         func(r *boxRun) { r.phones.MostUp = 230 },
		"few packets":         func(r *boxRun) { r.audio.Measured = 230000 },
		"disturbed":           func(r *boxRun) { r.seconds = boxLeast - 1 },
		"no room":             func(r *boxRun) { r.audio.Refused = 1 },
	} {
		r := good
		spoil(&r)
		if all := r.faults(boxCalls, secs); len(all) != 1 {
			t.Errorf("%s: faults %q, want one", name, all)
		}
	}
	if p, ok := pausesOf("gc 12 @3.456s 1%: 0.031+1.2+0.004 ms clock, 0.031+0/1.1/0+0.004 ms cpu, 4->4->2 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 1 P"); !ok || p[0] != 31*time.Microsecond || p[1] != 4*time.Microsecond {
		t.Errorf("pauses %v, %v", p, ok)
	}
	if _, ok := pausesOf("time=2026 level=INFO msg=gc"); ok {
		t.Error("a line of the log is taken for a collection")
	}
}
