package sipedge

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// RegState is how the registration of a line at the gateway stands.
type RegState string

// The states of an upstream registration.
const (
	RegWaiting    RegState = "waiting"    // the gateway is not connected
	RegTrying     RegState = "trying"     // the first answer is awaited
	RegRegistered RegState = "registered" // calls to the line arrive here
	RegRefused    RegState = "refused"    // the gateway said no; tried again later
)

// UpstreamStatus is one registration, for the page.
type UpstreamStatus struct {
	LineID  int64
	AOR     string
	State   RegState
	Since   time.Time
	Expires time.Time // end of the registration if it is not refreshed; zero if there is none
	Status  int       // last SIP status of the gateway, 0 if it did not answer
	Text    string    // its words
}

// Times of the upstream registrations.
const (
	upstreamExpires = 10 * time.Minute
	upstreamLeast   = 30 * time.Second // what a gateway grants below this is taken as this
	upstreamAnswer  = 8 * time.Second
	upstreamRefused = 5 * time.Minute // the longest wait after a refusal
)

// Upstream keeps the lines registered at the gateway: one registration for
// each line with credentials that somebody is signed in to, and always that of
// the site line. It is a task.
type Upstream struct {
	uplink   Uplink
	accounts Accounts
	register bool // lines other than the site line too
	log      *slog.Logger
	tick     func()
	changed  chan struct{}

	mu   sync.Mutex
	regs map[int64]*registration
}

func newUpstream(uplink Uplink, accounts Accounts, register bool, tick func(), log *slog.Logger) *Upstream {
	return &Upstream{
		uplink: uplink, accounts: accounts, register: register, log: log, tick: tick,
		changed: make(chan struct{}, 1), regs: make(map[int64]*registration),
	}
}

// String implements [Task].
func (u *Upstream) String() string { return "sip upstream" }

// Sync looks at the lines again. It returns at once.
func (u *Upstream) Sync() {
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// Status returns all registrations in the order of their lines.
func (u *Upstream) Status() []UpstreamStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]UpstreamStatus, 0, len(u.regs))
	for _, r := range u.regs {
		out = append(out, r.status())
	}
	slices.SortFunc(out, func(a, b UpstreamStatus) int { return int(a.LineID - b.LineID) })
	return out
}

// Run keeps the registrations in step with the lines until ctx ends; then
// they are taken back.
func (u *Upstream) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	u.reconcile(ctx, &all)
	for {
		if u.tick != nil {
			u.tick()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-u.changed:
			u.reconcile(ctx, &all)
		case <-tick.C:
		}
	}
}

// reconcile starts what is missing and stops what is no more, or changed.
func (u *Upstream) reconcile(ctx context.Context, all *sync.WaitGroup) {
	want := make(map[int64]Line)
	for _, l := range u.accounts.Lines() {
		own := u.register && (l.AuthUser != "" || l.Token)
		if l.Site || own && len(u.accounts.OnLine(l.ID)) > 0 { // who signed out is not called here
			want[l.ID] = l
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, r := range u.regs {
		if l, ok := want[id]; !ok || !r.same(l) {
			r.stop()
			delete(u.regs, id)
		}
	}
	spread := min(20*time.Second, time.Duration(len(want))*10*time.Millisecond)
	for id, l := range want {
		if u.regs[id] != nil {
			continue
		}
		r := newRegistration(l, u.uplink, spread, u.log)
		var own context.Context
		own, r.stop = context.WithCancel(ctx)
		u.regs[id] = r
		all.Go(func() { r.run(own) })
	}
}

// registration is that of one line.
type registration struct {
	line   Line
	uplink Uplink
	spread time.Duration
	log    *slog.Logger
	stop   context.CancelFunc
	callID string // the same for all REGISTERs (RFC 3261 §10.2)
	tag    string
	cseq   uint32
	expiry time.Duration // that is asked for

	mailbox mailboxWatch

	mu sync.Mutex
	st UpstreamStatus
}

func newRegistration(l Line, uplink Uplink, spread time.Duration, log *slog.Logger) *registration {
	return &registration{
		line: l, uplink: uplink, spread: spread, log: log,
		callID: sip.GenerateTagN(20), tag: sip.GenerateTagN(12), expiry: upstreamExpires,
		st: UpstreamStatus{LineID: l.ID, AOR: l.AOR, State: RegWaiting, Since: time.Now()},
	}
}

func (r *registration) same(l Line) bool {
	return r.line.AOR == l.AOR && r.line.AuthUser == l.AuthUser && r.line.AuthPassword == l.AuthPassword && r.line.Token == l.Token
}

func (r *registration) status() UpstreamStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.st
}

func (r *registration) set(state RegState, expires time.Time, status int, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.st.State != state {
		r.st.State, r.st.Since = state, time.Now()
	}
	r.st.Expires, r.st.Status, r.st.Text = expires, status, text
}

// run registers whenever there is a new connection, refreshes in time, and
// comes back after a refusal.
func (r *registration) run(ctx context.Context) {
	wait := backoff{first: 2 * time.Second, most: upstreamRefused}
	var registered uint64 // the flow that the gateway knows us by
	for ctx.Err() == nil {
		up, flow, changed := r.uplink.State()
		if !up {
			r.set(RegWaiting, time.Time{}, 0, "")
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if flow != registered {
			// All lines come back at once when the gateway does: spread them.
			r.set(RegTrying, time.Time{}, 0, "")
			wait.reset()
			if !sleep(ctx, jitter(r.spread), changed) {
				continue
			}
		}
		pause := wait.next()
		if granted := r.register(ctx, r.expiry); granted > 0 {
			registered = flow
			wait.reset()
			pause = granted*8/10 + jitter(granted/10)
			r.keepMailbox(ctx, flow)
		}
		sleep(ctx, pause, changed)
	}
	if registered != 0 && r.uplink.Up() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		r.register(last, 0)
	}
}

// sleep waits; it is false if it was woken before the time was over.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-wake:
	case <-ctx.Done():
	}
	return false
}

// register sends one REGISTER and returns what the gateway granted, 0 if it
// did not. An expiry of 0 takes the registration back.
func (r *registration) register(ctx context.Context, expires time.Duration) time.Duration {
	res, req, err := r.ask(ctx, r.request(expires))
	if req != nil && req.CSeq() != nil {
		r.cseq = req.CSeq().SeqNo
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return 0
	case err != nil:
		r.refused(0, err.Error())
		return 0
	case res.StatusCode == sip.StatusIntervalToBrief:
		if h := res.GetHeader("Min-Expires"); h != nil {
			if n, err := strconv.ParseUint(h.Value(), 10, 20); err == nil && n > 0 {
				r.expiry = time.Duration(n) * time.Second
			}
		}
		r.refused(res.StatusCode, printable(res.Reason))
		return 0
	case !res.IsSuccess():
		r.refused(res.StatusCode, printable(res.Reason))
		return 0
	case expires == 0:
		return 0
	}
	granted := r.granted(res, expires)
	r.set(RegRegistered, time.Now().Add(granted), res.StatusCode, "")
	return granted
}

func (r *registration) refused(status int, text string) {
	r.set(RegRefused, time.Time{}, status, text)
	r.log.Warn("line is not registered at the gateway", "aor", r.line.AOR, "status", status, "err", text)
}

// ask sends a request and answers the gateway's challenge. It returns the last
// request that went out, with its number.
func (r *registration) ask(ctx context.Context, req *sip.Request) (*sip.Response, *sip.Request, error) {
	res, err := r.exchange(ctx, req)
	for try := 0; err == nil && challenged(res) && (try == 0 || try == 1 && (staleNonce(res) || tokenRefused(res))); try++ {
		var next *sip.Request
		if next, err = r.uplink.Authorized(req, res, r.line); err == nil {
			req = next
			res, err = r.exchange(ctx, req)
		}
	}
	return res, req, err
}

func (r *registration) exchange(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamAnswer)
	defer cancel()
	tx, err := r.uplink.Send(ctx, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	return finalResponse(ctx, tx)
}

func (r *registration) request(expires time.Duration) *sip.Request {
	aor := aorURI(r.line.AOR, r.uplink.Domain())
	req := r.start(sip.REGISTER, sip.Uri{Scheme: "sip", Host: aor.Host})
	id := sip.CallIDHeader(r.callID)
	req.AppendHeader(&id)
	r.cseq++
	req.AppendHeader(&sip.CSeqHeader{SeqNo: r.cseq, MethodName: sip.REGISTER})
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(expires/time.Second))))
	return req
}

// start begins a request of the line about itself.
func (r *registration) start(method sip.RequestMethod, target sip.Uri) *sip.Request {
	aor := aorURI(r.line.AOR, r.uplink.Domain())
	req := sip.NewRequest(method, target)
	from := &sip.FromHeader{Address: aor}
	from.Params.Add("tag", r.tag)
	hops := sip.MaxForwardsHeader(70)
	for _, h := range []sip.Header{
		from, &sip.ToHeader{Address: aor}, &hops, r.uplink.Contact(aor.User), sip.NewHeader("User-Agent", "Patchbay"),
	} {
		req.AppendHeader(h)
	}
	return req
}

// granted reads what the registrar granted to our contact: its expires
// parameter, else the header (RFC 3261 §10.2.4).
func (r *registration) granted(res *sip.Response, asked time.Duration) time.Duration {
	out := asked
	if h := res.GetHeader("Expires"); h != nil {
		out = secondsOr(h.Value(), out)
	}
	own := r.uplink.Contact(aorURI(r.line.AOR, "").User).Address
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.User != own.User || c.Address.Host != own.Host || c.Address.Port != own.Port {
			continue
		}
		if v, ok := c.Params.Get("expires"); ok {
			out = secondsOr(v, out)
		}
	}
	return max(upstreamLeast, min(out, 24*time.Hour))
}

func secondsOr(v string, other time.Duration) time.Duration {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		return other
	}
	return time.Duration(n) * time.Second
}
