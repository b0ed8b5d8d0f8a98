package sipedge

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// chance throws dice; robots share it.
type chance struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (c *chance) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

// happens is true in p of 100 cases.
func (c *chance) happens(p int) bool { return c.n(100) < p }

// soon is a moment up to d from now.
func (c *chance) soon(d time.Duration) time.Duration { return time.Duration(c.n(int(d))) }

// robot is a phone that behaves well mostly, at the wrong moment often, and
// badly at times; its network loses some of what it sends and gets.
type robot struct {
	*agent
	*chance
	n    int
	loss int // per 100
	size int // of the site

	mu      sync.Mutex
	calls   map[string]chan *sip.Response // by Call-ID: answers for who waits
	invites map[string]*atomic.Int32      // by Call-ID: 0 rings, 1 answered, 2 over
	talks   []*dialog                     // that it called and are up, for Replaces
	group   sync.WaitGroup
}

func (r *robot) put(m sip.Message) {
	if !r.happens(r.loss) {
		_ = r.write([]byte(m.String()))
	}
}

// run serves what comes in until ctx ends.
func (r *robot) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			r.group.Wait()
			return
		case m := <-r.in:
			if r.chance.happens(r.loss) {
				continue
			}
			switch m := m.(type) {
			case *sip.Request:
				r.serve(ctx, m)
			case *sip.Response:
				r.mu.Lock()
				to := r.calls[m.CallID().Value()]
				r.mu.Unlock()
				select {
				case to <- m:
				default:
				}
			}
		}
	}
}

func (r *robot) serve(ctx context.Context, m *sip.Request) {
	to, _ := m.To().Params.Get("tag")
	switch {
	case m.Method == sip.ACK:
	case m.Method == sip.INVITE && to == "":
		r.mu.Lock()
		state, again := r.invites[m.CallID().Value()]
		if !again {
			state = &atomic.Int32{}
			r.invites[m.CallID().Value()] = state
		}
		r.mu.Unlock()
		if !again {
			r.group.Go(func() { r.taken(ctx, m, state) })
		}
	case m.Method == sip.INVITE:
		switch p := r.n100(); {
		case p < 82:
			r.put(r.reply(m, 200, "OK", "", r.sdp([]string{"", "", "recvonly", "inactive"}[r.chance.n(4)])))
		case p < 88:
			r.put(r.reply(m, 491, "Request Pending", "", ""))
		case p < 92:
			r.put(r.reply(m, 488, "Not Acceptable Here", "", ""))
		case p < 94:
			r.put(r.reply(m, 481, "Call/Transaction Does Not Exist", "", ""))
		}
	case m.Method == sip.CANCEL:
		r.put(sip.NewResponseFromRequest(m, 200, "OK", nil))
		r.mu.Lock()
		state := r.invites[m.CallID().Value()]
		r.mu.Unlock()
		if state != nil && !r.happens(5) {
			state.CompareAndSwap(0, 2)
		}
	case r.happens(96):
		r.put(r.reply(m, 200, "OK", "", ""))
	}
}

func (r *robot) n100() int { return r.chance.n(100) }

// taken answers an INVITE in one of the ways that phones have.
func (r *robot) taken(ctx context.Context, m *sip.Request, state *atomic.Int32) {
	d := &dialog{a: r.agent, callID: m.CallID().Value(), remote: *m.From(), target: m.Contact().Address, taken: m, cseq: 100}
	d.local = m.To().AsFrom()
	d.local.Params.Add("tag", sip.GenerateTagN(8))
	say := func(status int, sdp string) {
		res := r.reply(m, status, phraseOf(status), d.tag(), sdp)
		if status < 300 || status > 302 {
			r.put(res)
			return
		}
		res.RemoveHeader("Contact")
		res.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:%d@patchbay>", 101+r.chance.n(r.size))))
		r.put(res)
	}
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		if state.CompareAndSwap(2, 3) {
			say(487, "")
		}
		return state.Load() == 0 && ctx.Err() == nil
	}
	var sdp string
	if len(m.Body()) > 0 {
		sdp = r.sdp("")
	}
	switch p := r.n100(); {
	case p < 5: // says nothing
		return
	case p < 13:
		say(486, "")
		return
	case p < 16:
		say(603, "")
		return
	case p < 20:
		say(302, "")
		return
	case p < 28:
		say(183, sdp)
	case p < 90:
		say(180, "")
	}
	if r.happens(70) && !wait(r.soon(60*time.Millisecond)) {
		return
	}
	if r.happens(6) { // rings longer than anybody waits
		for n := 0; n < 60 && wait(50*time.Millisecond); n++ {
		}
		return
	}
	if !state.CompareAndSwap(0, 1) {
		return
	}
	if sdp == "" {
		sdp = r.sdp("")
	}
	say(200, sdp)
	if r.happens(6) { // another one behind it answers too
		r.put(r.reply(m, 200, "OK", sip.GenerateTagN(8), sdp))
	}
	if r.happens(15) {
		select {
		case <-time.After(r.soon(80 * time.Millisecond)):
		case <-ctx.Done():
		}
		d.cseq++
		r.put(d.build(sip.BYE, d.cseq, ""))
	}
}

// call makes one call and does to it what comes to mind.
func (r *robot) call(ctx context.Context) {
	number := strconv.Itoa(101 + r.chance.n(r.size))
	switch p := r.n100(); {
	case p < 5:
		number = "**" + number
	case p < 8:
		number = "*88" + number
	case p < 9:
		number = "555"
	}
	answers := make(chan *sip.Response, 16)
	to := sip.Uri{Scheme: "sip", User: number, Host: "patchbay"}
	req := r.outOfDialog(sip.INVITE, to, 1, sip.GenerateTagN(12), sip.GenerateTagN(8))
	if r.happens(20) {
		req.AppendHeader(sip.NewHeader("Supported", "100rel"))
	}
	if !r.happens(8) {
		setSDP(req, []byte(r.sdp("")))
	}
	d := &dialog{a: r.agent, callID: req.CallID().Value(), local: *req.From(), invite: req, cseq: 1}
	r.mu.Lock()
	r.calls[d.callID] = answers
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.calls, d.callID)
		r.mu.Unlock()
	}()
	r.put(req)
	res := r.final(ctx, d, answers, 700*time.Millisecond)
	if res == nil || res.StatusCode != 407 {
		return
	}
	req = r.authorized(req, res)
	d.invite, d.cseq = req, req.CSeq().SeqNo
	r.put(req)
	if r.happens(20) { // on the heels of the INVITE, or a bit later
		if r.happens(50) {
			time.Sleep(r.soon(60 * time.Millisecond))
		}
		r.put(d.cancelRequest())
	}
	res = r.final(ctx, d, answers, 2*time.Second)
	switch {
	case res == nil:
		r.put(d.cancelRequest())
		if res = r.final(ctx, d, answers, 500*time.Millisecond); res == nil || !res.IsSuccess() {
			return
		}
	case !res.IsSuccess():
		r.put(ackFor(req, res))
		return
	}
	d.established(res)
	if r.happens(4) { // never acknowledged
		return
	}
	sdp := ""
	if len(req.Body()) == 0 {
		sdp = r.sdp("")
	}
	r.put(d.build(sip.ACK, d.lastInviteCSeq, sdp))
	r.talk(ctx, d, answers)
}

// talk is what happens in a call that is up.
func (r *robot) talk(ctx context.Context, d *dialog, answers chan *sip.Response) {
	r.mu.Lock()
	r.talks = append(r.talks[max(0, len(r.talks)-2):], d)
	other := r.talks[0]
	r.mu.Unlock()
	for range r.chance.n(3) {
		select {
		case <-time.After(r.soon(40 * time.Millisecond)):
		case <-ctx.Done():
			return
		}
		d.cseq++
		switch r.chance.n(6) {
		case 0, 1:
			r.put(d.build(sip.INVITE, d.cseq, r.sdp([]string{"sendonly", "", "inactive"}[r.chance.n(3)])))
			if res := r.final(ctx, d, answers, time.Second); res != nil && res.CSeq().MethodName == sip.INVITE && res.IsSuccess() {
				r.put(d.build(sip.ACK, res.CSeq().SeqNo, ""))
			}
		case 2:
			r.put(d.build(sip.UPDATE, d.cseq, ""))
		case 3, 4:
			refer := d.build(sip.REFER, d.cseq, "")
			target := strconv.Itoa(101 + r.chance.n(r.size))
			switch r.chance.n(4) {
			case 0:
				target = "*68" + target
			case 1:
				target += "@patchbay?Replaces=" + url.QueryEscape(other.replacesOf())
			}
			if !strings.Contains(target, "@") {
				target += "@patchbay"
			}
			refer.AppendHeader(sip.NewHeader("Refer-To", "<sip:"+target+">"))
			r.put(refer)
		case 5:
			r.put(d.build(sip.INFO, d.cseq, ""))
		}
	}
	if !r.happens(90) { // lost power
		return
	}
	d.cseq++
	bye := d.build(sip.BYE, d.cseq, "")
	for range 2 {
		r.put(bye)
		if r.final(ctx, d, answers, 300*time.Millisecond) != nil {
			return
		}
	}
}

// final waits for a final answer, and acknowledges what wants a PRACK.
func (r *robot) final(ctx context.Context, d *dialog, answers chan *sip.Response, limit time.Duration) *sip.Response {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case res := <-answers:
			if !res.IsProvisional() && res.CSeq().SeqNo == d.cseq && res.CSeq().MethodName != sip.CANCEL {
				return res
			}
			if h := res.GetHeader("RSeq"); h != nil && res.Contact() != nil && r.happens(90) {
				early := *d
				early.remote, early.target = res.To().AsFrom(), res.Contact().Address
				prack := early.build(sip.PRACK, d.cseq+100, "")
				prack.AppendHeader(sip.NewHeader("RAck", h.Value()+" "+res.CSeq().Value()))
				r.put(prack)
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

const usualChaos = 300

// chaosCalls is how many calls are made: enough to meet most moments, or as
// many as the soak asks for.
func chaosCalls() int {
	if n, err := strconv.Atoi(os.Getenv("PATCHBAY_CHAOS")); err == nil {
		return n
	}
	return usualChaos
}

// TestChaos makes calls with CANCEL, BYE, transfers and loss at random
// moments, among phones that misbehave in every way that the lab knows, and
// then looks whether anything is left: goroutines, ports, dialogs, slots. Each
// call has its row.
func TestChaos(t *testing.T) {
	const phones = 12
	total := chaosCalls()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("PATCHBAY_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("%d calls, seed %d", total, seed)
	dice := &chance{rng: rand.New(rand.NewPCG(seed, 1))}
	dir := &directory{}
	for n := range phones {
		id := int64(n + 1)
		dir.identities = append(dir.identities, Identity{
			Account: testAccount(byte(id)), Username: fmt.Sprintf("00005e0053%02x-1", id), Password: fmt.Sprintf("secret-%d", id), LineID: id,
		})
		dir.lines = append(dir.lines, Line{ID: id, AOR: fmt.Sprintf("sip:u%d@example.com", id), Number: fmt.Sprintf("+49301234%03d", id), Extension: strconv.Itoa(100 + n + 1)})
	}
	rig := newSiteRig(t, dir, false, func(c *ServerConfig) {
		c.Ring, c.Park = 600*time.Millisecond, 300*time.Millisecond
		c.Forward = wishes{3: {Busy: "104", NoAnswer: "105", After: 200 * time.Millisecond}, 5: {Also: []string{"106"}}, 7: {Always: "108"}}
	}, nil, func(c *callTimes) {
		*c = callTimes{
			first: 400 * time.Millisecond, firstEmergency: 400 * time.Millisecond, ack: 1500 * time.Millisecond,
			silence: 1500 * time.Millisecond, hold: 2 * time.Second, watch: 100 * time.Millisecond, mute: time.Hour,
			expires: 30 * time.Minute, minExpires: 90 * time.Second,
			cancel: time.Second, bye: time.Second, renegotiate: time.Second, linger: 100 * time.Millisecond,
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	robots := make([]*robot, phones)
	for n := range robots {
		a := newPhoneAgent(t, rig, "udp", byte(n+1))
		a.register(rig.ep.Addrs()[0])
		robots[n] = &robot{
			agent: a, chance: dice, n: n, loss: 3, size: phones,
			calls: make(map[string]chan *sip.Response), invites: make(map[string]*atomic.Int32),
		}
		running.Go(func() { robots[n].run(ctx) })
	}
	before := runtime.NumGoroutine()
	var next atomic.Int64
	var callers sync.WaitGroup
	pace := soakPace(t, rig, &total)
	for n := range 4 * phones {
		callers.Go(func() {
			for next.Add(1) <= int64(total) && ctx.Err() == nil {
				pace()
				robots[n%phones].call(ctx)
			}
		})
	}
	callers.Wait()
	if total <= usualChaos {
		before = 1 << 20 // the transaction of each answered INVITE has a goroutine for 32 s
	}
	leftovers(t, rig, before)
	stop()
	running.Wait()
	rig.mu.Lock()
	defer rig.mu.Unlock()
	began, moved := rig.server.counts()
	t.Logf("%d calls began, %d of them came into another one; %d rows", began, moved, rig.rows)
	if rig.rows < began-moved {
		t.Errorf("%d rows for %d calls", rig.rows, began-moved)
	}
	answered := 0
	for _, r := range rig.records {
		if !r.Answered.IsZero() {
			answered++
		}
		if r.End.IsZero() || r.ID == "" {
			t.Errorf("row: %+v", r)
		}
	}
	if answered < len(rig.records)/20 { // a busy machine answers late, and robots are impatient
		t.Errorf("only %d of %d calls were answered: the robots test nothing", answered, total)
	}
}

// soakPace slows the calls down to 20 a second for the time that PATCHBAY_SOAK
// says, and watches the memory: after the first tenth it stays what it is. The run has to
// take minutes for that.
func soakPace(t *testing.T, rig *callRig, total *int) func() {
	length, err := time.ParseDuration(os.Getenv("PATCHBAY_SOAK"))
	if err != nil {
		return func() {}
	}
	const perSecond = 20
	*total = int(length.Seconds()) * perSecond
	rig.mu.Lock()
	rig.keep = 1000
	rig.mu.Unlock()
	tick := time.NewTicker(time.Second / perSecond)
	t.Cleanup(tick.Stop)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var n, settled atomic.Int64
	return func() {
		<-tick.C
		switch i := n.Add(1); {
		case i == max(int64(*total)/10, 90*perSecond): // transactions live for 32 s
			settled.Store(int64(heap()))
		case i%(60*perSecond) == 0, i == int64(*total):
			now, first := heap(), settled.Load()
			t.Logf("%d calls: %d KiB of heap, %d goroutines", i, now>>10, runtime.NumGoroutine())
			if first > 0 && int64(now) > first+first/3+4<<20 {
				t.Errorf("%d KiB of heap, %d KiB after the first tenth", now>>10, first>>10)
			}
		}
	}
}

// leftovers waits until the server is as if no call had ever been.
func leftovers(t *testing.T, rig *callRig, goroutines int) {
	t.Helper()
	s := rig.server
	state := func() string {
		s.mu.Lock()
		calls, dialogs, parked := len(s.calls), len(s.dialogs), len(s.parked)
		s.mu.Unlock()
		s.loose.mu.Lock()
		loose := s.loose.n
		s.loose.mu.Unlock()
		open, _ := s.cfg.Ports.Usage()
		rig.ep.lamps.mu.Lock()
		lamps := len(rig.ep.lamps.inCall)
		rig.ep.lamps.mu.Unlock()
		for n := range rig.dir.identities {
			lamps += len(rig.ep.lamps.calls(rig.dir.identities[n].Account))
		}
		more := max(0, runtime.NumGoroutine()-goroutines-2)
		return fmt.Sprintf("%d calls, %d dialogs, %d slots, %d transactions, %d ports, %d lamps, %d goroutines", calls, dialogs, parked, loose, open, lamps, more)
	}
	const clean = "0 calls, 0 dialogs, 0 slots, 0 transactions, 0 ports, 0 lamps, 0 goroutines"
	for end := time.Now().Add(min(patience, 40*time.Second)); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if state() == clean {
			return
		}
	}
	var stacks bytes.Buffer
	buf := make([]byte, 1<<20)
	stacks.Write(buf[:runtime.Stack(buf, true)])
	t.Errorf("left over: %s", state())
	if name := os.Getenv("PATCHBAY_STACKS"); name != "" {
		_ = os.WriteFile(name, stacks.Bytes(), 0o600)
	}
}
