package sipedge

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
)

// ServerConfig is what a [Server] has to know beforehand.
type ServerConfig struct {
	Country string          // ISO 3166-1 alpha-2: dial plan and emergency numbers
	Ports   *media.PortPool // for all legs
	SRTP    SRTPPolicy      // of the audio on the LAN
	// DirectMedia has two phones of one network send their audio to each other
	// once they talk, where both do so in the clear. What is not seen is not
	// measured, and nobody notices one-way audio.
	DirectMedia bool
	Register    bool             // register lines that have credentials at the gateway; the site line always is
	Ring        time.Duration    // how long a call may ring; 0: 3 minutes (Timer C of RFC 3261 §16.6)
	Forward     Forwarding       // where calls to a line go instead; nil: nowhere
	Park        time.Duration    // how long a parked call waits before it rings at who parked it; 0: 3 minutes
	Now         func() time.Time // nil means time.Now
	Tick        func()           // called at least every 2 s while all loops live; may be nil

	Codes         []FeatureCode         // what people dial for features; nil: [DefaultFeatureCodes]
	Features      FeatureCodes          // serves those that are not the server's own; nil: they are refused
	Settings      *Settings             // of lines, for do not disturb and forwarding; nil: there are none
	Policy        func(Line) LinePolicy // of a line, or of the site for the zero Line; nil: everything is allowed
	Emergency     EmergencyConfig
	CallBacks     []CallBack               // of before a restart
	CallBackStore CallBackStore            // nil: they are forgotten
	Trunk         TrunkConfig              // fallback; the zero value is none
	Prompts       Prompts                  // nil: calls are refused without a word
	Language      func(mac.Account) string // in which a phone is spoken to, ISO 639-1; nil: English
}

// drainLimit is how long calls have for their end when the task ends.
const drainLimit = 4 * time.Second

// callTimes are the limits of time within a call; tests shorten them.
type callTimes struct {
	// A phone on the LAN and a gateway say at least 100 at once. One that
	// says nothing for so long is not there (Timer B would take 32 s).
	first          time.Duration
	firstEmergency time.Duration // then the next way out is tried
	ack            time.Duration // RFC 3261 §13.3.1.4: 64*T1 without ACK ends the call
	// Without a packet on either leg for so long the call is dead: both
	// phones lost power, or both BYEs got lost.
	silence time.Duration
	hold    time.Duration // on hold silence is what was agreed
	watch   time.Duration // how often that is looked at
	mute    time.Duration // how long audio that is due may stay away before it is said
	// RFC 4028 §4 and §5: what we ask for, and the least that we grant.
	expires, minExpires time.Duration

	drill, drillBack time.Duration // how long the gateway is away in a drill, and has to come back

	cancel      time.Duration // RFC 3261 §9.1: a cancelled INVITE without a final answer is over after 64*T1
	bye         time.Duration // a BYE or CANCEL that is not answered by then is forgotten
	renegotiate time.Duration // how long the answer to an offer of ours within a call may take
	linger      time.Duration // a dialog is known after its end, for a BYE that crossed ours
}

var usualTimes = callTimes{
	first: 8 * time.Second, firstEmergency: 5 * time.Second, ack: 32 * time.Second,
	drill: 20 * time.Second, drillBack: time.Minute, silence: 2 * time.Minute, hold: time.Hour, watch: time.Second, mute: 3 * time.Second,
	expires: 30 * time.Minute, minExpires: 90 * time.Second,
	cancel: 34 * time.Second, bye: 8 * time.Second, renegotiate: 34 * time.Second, linger: 8 * time.Second,
}

// Server routes and carries the calls of the site, between the phones of an
// [Endpoint] and the gateway behind an [Uplink].
type Server struct {
	cfg      ServerConfig
	ep       *Endpoint
	accounts Accounts
	uplink   Uplink // nil: none
	upstream *Upstream
	trunk    *trunk // nil: none
	router   *Router
	store    CallStore
	record   func(mac.Addr, story.Event)
	log      *slog.Logger
	now      func() time.Time
	times    callTimes

	ctx    context.Context // ends when nothing may be sent any more
	cancel context.CancelFunc
	loose  tracker // transactions that outlive their call
	past   *call   // the owner of all legs whose call is over
	ids    recentCalls

	mu        sync.Mutex
	draining  bool
	calls     map[string]*call
	dialogs   map[dialogKey]*leg
	callBacks map[string]CallBack // by number
	parked    map[string]*call    // by slot
	drill     *drilling           // under way; nil: none
	began     int                 // calls since the start
	movedOn   int                 // of these, calls that came into another one
}

// dialogKey is how a request within a dialog names it: the peer's tag is
// checked apart, since an early answer may not have told it.
type dialogKey struct{ callID, localTag string }

func (l *leg) dialog() dialogKey { return dialogKey{l.callID, l.localTag} }

// NewServer adds calls to an endpoint, and to the uplink unless that is nil.
// It must be called before their tasks run. The uplink is no task of the
// server: it has to outlive it, so that a BYE still finds the gateway.
func NewServer(cfg ServerConfig, ep *Endpoint, accounts Accounts, uplink Uplink, calls CallStore,
	record func(mac.Addr, story.Event), log *slog.Logger,
) (*Server, error) {
	if cfg.Ports == nil {
		return nil, errors.New("sip server: no media ports")
	}
	if cfg.Ring == 0 {
		cfg.Ring = 3 * time.Minute
	}
	if cfg.Park == 0 {
		cfg.Park = 3 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	plan, ok := NewDialPlan(cfg.Country)
	if !ok {
		log.Warn("country is not in the dial plan: 112 and 911 are emergency numbers, other numbers go out as dialled", "country", cfg.Country)
	}
	s := &Server{
		cfg: cfg, ep: ep, accounts: accounts, uplink: uplink, store: calls, record: record,
		log: log.With("component", "sip"), now: cfg.Now, times: usualTimes,
		calls: make(map[string]*call), dialogs: make(map[dialogKey]*leg), parked: make(map[string]*call),
		callBacks: make(map[string]CallBack),
	}
	for _, b := range cfg.CallBacks {
		s.callBacks[b.Number] = b
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if cfg.Codes == nil {
		s.cfg.Codes = DefaultFeatureCodes()
	}
	s.router = &Router{plan: plan, accounts: accounts, binding: ep.Location().Binding, codes: slices.DeleteFunc(slices.Clone(s.cfg.Codes), func(f FeatureCode) bool { return slices.Contains(CallCodes(), f.Feature) })}
	if uplink != nil {
		s.router.gateway = uplink.Up
		s.upstream = newUpstream(uplink, accounts, cfg.Register, cfg.Tick, s.log)
	}
	if s.router.policy = cfg.Policy; cfg.Policy == nil {
		s.router.policy = func(Line) LinePolicy { return LinePolicy{} }
	}
	s.router.test = cfg.Emergency.Test
	if s.router.test == nil && plan.plan.code == "1" {
		s.router.test = []string{"933"}
	}
	if cfg.Trunk.Address.IsValid() {
		var err error
		if s.trunk, err = newTrunk(s, cfg.Trunk); err != nil {
			return nil, err
		}
		s.router.trunk = true
	}
	s.past = &call{s: s, over: make(chan struct{})}
	close(s.past.over)
	s.handle()
	return s, nil
}

// languageOf is the language in which a phone is spoken to.
func (s *Server) languageOf(a mac.Account) string {
	if s.cfg.Language == nil || a.MAC.IsZero() {
		return "en"
	}
	return s.cfg.Language(a)
}

// handle registers the handlers of both sides.
func (s *Server) handle() {
	s.ep.Handle(sip.PUBLISH, s.publish)
	s.ep.asks, s.ep.late = s.asks, s.lateAnswer
	if s.uplink != nil {
		s.uplink.Handle("NOTIFY", s.gatewayNotify)
	}
	for _, m := range []sip.RequestMethod{sip.INVITE, sip.ACK, sip.BYE, sip.INFO, sip.UPDATE, sip.PRACK, sip.REFER} {
		s.ep.Handle(m, func(r *Request) { s.serve(r, false) })
		if s.uplink != nil {
			s.uplink.Handle(string(m), func(r *Request) { s.serve(r, true) })
		}
		if s.trunk != nil && s.trunk.link != nil {
			s.trunk.link.Handle(string(m), func(r *Request) {
				r.link = s.trunk.link
				s.serve(r, false)
			})
		}
	}
}

// serve takes a request of either side.
func (s *Server) serve(r *Request, gateway bool) {
	r.outside = gateway
	if to := r.To(); to != nil && to.Params.Has("tag") {
		s.inDialog(r, gateway)
		return
	}
	switch r.Method {
	case sip.INVITE:
		s.invite(r, gateway)
	case sip.ACK:
	case sip.REFER:
		s.referOutside(r, gateway)
	default:
		s.refuse(r, errNoDialog)
	}
}

// inDialog hands a request to the call that its dialog belongs to, and waits
// until the call has answered it.
func (s *Server) inDialog(r *Request, gateway bool) {
	l := s.find(r, gateway)
	if l == nil {
		if r.Method != sip.ACK {
			s.refuse(r, errNoDialog)
		}
		return
	}
	s.hand(l, r)
}

// hand gives a request to the call that owns a leg, and waits until it is answered.
func (s *Server) hand(l *leg, r *Request) {
	in := &inbound{leg: l, r: r, done: make(chan struct{})}
	for {
		c := l.owner.Load()
		select {
		case c.inbox <- in:
			r.Release()
			select {
			case <-in.done:
			case <-c.over:
				in.tooLate()
			}
			return
		case <-c.over:
			if l.owner.Load() == c {
				in.tooLate()
				return
			}
			// A transfer has moved the leg to another call.
		}
	}
}

// find looks for the dialog of a request. A request that comes from elsewhere
// than the dialog's peer finds nothing.
func (s *Server) find(r *Request, gateway bool) *leg {
	tag, _ := r.To().Params.Get("tag")
	s.mu.Lock()
	l := s.dialogs[dialogKey{r.CallID().Value(), tag}]
	s.mu.Unlock()
	if l == nil || l.gateway != gateway {
		return nil
	}
	if !gateway && l.home != r.Flow.Remote.Addr() {
		return nil
	}
	from, _ := r.From().Params.Get("tag")
	if known := l.peerTag(); known != "" && known != from {
		return nil
	}
	return l
}

// lateAnswer takes an answer of a phone whose transaction is over: a 2xx that
// comes again, because our ACK was lost, or of another phone behind the same
// address (RFC 3261 §13.2.2.4).
func (s *Server) lateAnswer(res *sip.Response) {
	cseq, from, id := res.CSeq(), res.From(), res.CallID()
	if !res.IsSuccess() || cseq == nil || cseq.MethodName != sip.INVITE || from == nil || id == nil {
		return
	}
	tag, _ := from.Params.Get("tag")
	s.mu.Lock()
	l := s.dialogs[dialogKey{id.Value(), tag}]
	s.mu.Unlock()
	source, _ := netip.ParseAddrPort(res.Source())
	if l == nil || l.gateway || l.trunk || l.extra == nil || l.home != unmap(source).Addr() {
		return
	}
	l.extra.take(res)
}

// adopt makes a dialog findable.
func (s *Server) adopt(l *leg) {
	s.ids.add(l.callID, l.account, l.owner.Load().id, s.now())
	s.mu.Lock()
	defer s.mu.Unlock()
	l.home = l.peer.Remote.Addr()
	s.dialogs[l.dialog()] = l
}

// bury leaves of a dialog that has ended what answers a late request.
func (s *Server) bury(l, remains *leg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := l.dialog(); s.dialogs[key] == l {
		s.dialogs[key] = remains
	}
}

func (s *Server) forget(dialogs ...dialogKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range dialogs {
		delete(s.dialogs, key)
	}
}

// refuse answers a request with an error.
func (s *Server) refuse(r *Request, e *StatusError, extra ...sip.Header) {
	if context.Cause(r.Context()) == ErrCancelled {
		return // answered 487 already
	}
	phrase := e.Phrase
	if r.outside {
		phrase = phraseOf(e.Status)
	}
	if err := r.Respond(e.Status, phrase, append(extra, e.Headers...)...); err != nil {
		s.log.Debug("answer", "method", string(r.Method), "status", e.Status, "err", err)
	}
}

// do sends a request that is no INVITE in a dialog, or a re-INVITE, and waits
// for its final answer; the gateway's challenge is answered.
func (s *Server) do(ctx context.Context, l *leg, req *sip.Request) (*sip.Response, *sip.Request, error) {
	for try := 0; ; try++ {
		tx, err := l.way.Send(ctx, req)
		if err != nil {
			return nil, req, err
		}
		if req.Method == sip.INVITE {
			tx.OnRetransmission(func(res *sip.Response) {
				if res.IsSuccess() {
					l.reAcknowledge()
				}
			})
		}
		res, err := finalResponse(ctx, tx)
		if req.Method != sip.INVITE || err != nil {
			tx.Terminate()
		}
		if err != nil || !l.gateway && !l.trunk || !challenged(res) || try > 1 || try == 1 && !staleNonce(res) {
			return res, req, err
		}
		next, err := s.authorized(l, req, res)
		if err != nil {
			return res, req, nil
		}
		next.CSeq().SeqNo = l.nextCSeq()
		req = next
	}
}

// authorized answers a challenge to a leg of the gateway or the trunk.
func (s *Server) authorized(l *leg, req *sip.Request, res *sip.Response) (*sip.Request, error) {
	if l.trunk {
		return authorized(req, res, l.line.AuthUser, l.line.AuthPassword)
	}
	return s.uplink.Authorized(req, res, l.line)
}

// bye ends a dialog. The answer is waited for elsewhere.
func (s *Server) bye(l *leg, extra ...sip.Header) {
	if l.ended {
		return
	}
	l.ended = true
	req := l.request(sip.BYE)
	for _, h := range extra {
		req.AppendHeader(h)
	}
	s.loose.Go(func() {
		ctx, stop := context.WithTimeout(s.ctx, s.times.bye)
		defer stop()
		if _, _, err := s.do(ctx, l, req); err != nil {
			s.log.Debug("hang up", "leg", l.who(), "err", err)
		}
	})
}
