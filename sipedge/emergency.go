package sipedge

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
)

// EmergencyConfig is what is particular to emergency calls.
type EmergencyConfig struct {
	// Locator says where phones are; nil: nobody knows.
	Locator Locator
	// OnSite are the extensions of the people on site who are told of each
	// emergency call, and who get it where nobody else can be reached.
	OnSite []string
	// Test are numbers that speak what would be sent, without a call to the
	// emergency services; nil: 933 in North America.
	Test []string
	// Alarm is told of each step of an emergency call; it must not block. May
	// be nil.
	Alarm func(EmergencyCall)
}

// The stages of an emergency call.
const (
	HelpDialled    = "dialled"
	HelpReached    = "reached"     // the emergency services answered, by Way
	HelpOnSite     = "on-site"     // somebody of the site answered, not the services
	HelpNotReached = "not-reached" // nobody did
	HelpGivenUp    = "given-up"    // the caller hung up before
)

// The ways of an emergency call.
const (
	WayGateway = "gateway"
	WayTrunk   = "trunk"
	WayOnSite  = "on-site"
)

// EmergencyCall is a step of an emergency call, for those on site.
type EmergencyCall struct {
	ID      string
	Time    time.Time
	Stage   string      // one of the Help constants
	Way     string      // one of the Way constants; empty while none is taken
	Dialled string      // the emergency number
	Account mac.Account // of the phone; zero if it is not known
	Name    string      // of the caller's line
	From    string      // extension of the caller, or number
	Shown   string      // number that the emergency services see
	Place   Place
}

// callBackTime is how long a phone that called for help is called back past
// all settings (NENA 08-003: half an hour).
const callBackTime = 30 * time.Minute

// onSiteRing is how long the people on site are rung.
const onSiteRing = 90 * time.Second

var errPreempted = &StatusError{Status: 503, Phrase: "Ended For An Emergency Call", Reason: story.Preempted}

// CallBack is a phone that called for help: calls to the number ring there
// until then.
type CallBack struct {
	Number  string // in the form of the dial plan
	Account mac.Account
	Until   time.Time
}

// CallBackStore keeps them over a restart. PutCallBack must not block.
type CallBackStore interface {
	PutCallBack(CallBack)
}

// isEmergency says whether who calls an address calls for help: then nothing is
// asked.
func (s *Server) isEmergency(to sip.Uri) bool {
	return s.router.plan.Read(dialledUser(to)).Emergency
}

// Identify says which account a request comes from, as well as can be told
// without a password: by the address that it registered from, else by whose
// address it is. The zero Identity is a phone that nobody knows.
func (e *Endpoint) Identify(r *Request) Identity {
	user := r.From().Address.User
	owner, _ := e.whois.Whois(r.Flow.Remote.Addr())
	if id, ok := e.accounts.Identity(user); ok && id.Account.MAC == owner && !owner.IsZero() {
		return id
	}
	var near Identity
	for _, b := range e.location.Bindings() {
		if b.Source.Addr() != r.Flow.Remote.Addr() {
			continue
		}
		id, ok := e.accounts.Account(b.Account)
		if ok && (b.Source == r.Flow.Remote || near.Account.MAC.IsZero()) {
			near = id
		}
	}
	if !near.Account.MAC.IsZero() {
		return near
	}
	if !owner.IsZero() {
		a := mac.Account{MAC: owner, Slot: 1}
		if id, ok := e.accounts.Account(a); ok {
			return id
		}
		return Identity{Account: a}
	}
	return Identity{}
}

// placeOf asks where the phone of an account is.
func (s *Server) placeOf(a mac.Account, ip netip.Addr, reported string) Place {
	if s.cfg.Emergency.Locator == nil {
		return Place{}
	}
	if b, ok := s.router.binding(a); ok && !ip.IsValid() {
		ip = b.Source.Addr()
	}
	return s.cfg.Emergency.Locator.Locate(a, ip, reported)
}

// callForHelp tries every way to reach somebody who can help.
func (c *call) callForHelp() error {
	c.place = c.s.placeOf(c.identity.Account, c.r.Flow.Remote.Addr(), c.reported())
	c.s.rememberCallBack(c.helpShown(), c.line.Number, c.identity.Account)
	c.alarm(HelpDialled, "")
	c.s.notifySite(c)
	err := error(errNoEmergencyPath)
	ways := c.s.helpWays(c.route.As)
	for _, way := range ways {
		c.mu.Lock()
		c.record.Via = way
		c.mu.Unlock()
		err = c.helpBy(way)
		switch {
		case err == nil && way == WayOnSite:
			c.alarm(HelpOnSite, way)
			return nil
		case err == nil:
			c.alarm(HelpReached, way)
			return nil
		case statusOf(err).Reason == story.Cancelled, statusOf(err).Reason == story.Stopping:
			c.alarm(HelpGivenUp, way)
			return err
		case way == WayOnSite: // that is not what the caller asked for
			err = errNoEmergencyPath.because(err)
		}
		c.log.Warn("emergency call: no success", "by", way, "err", err)
	}
	c.alarm(HelpNotReached, "")
	return err
}

// helpWays orders the ways for an emergency call: first what works now.
func (s *Server) helpWays(lines []Line) (ways []string) {
	gateway := s.uplink != nil && len(lines) > 0
	if gateway && (s.uplink.Up() || s.trunk == nil) {
		ways = append(ways, WayGateway)
	}
	if s.trunk != nil {
		ways = append(ways, WayTrunk)
	}
	if gateway && !slices.Contains(ways, WayGateway) {
		ways = append(ways, WayGateway)
	}
	if len(s.cfg.Emergency.OnSite) > 0 {
		ways = append(ways, WayOnSite)
	}
	return ways
}

// helpBy tries one way.
func (c *call) helpBy(way string) error {
	switch way {
	case WayGateway:
		return c.byGateway()
	case WayTrunk:
		return c.byTrunk()
	}
	t := c.newTry(c.a, c.offer, c.route)
	t.from.Name = "EMERGENCY " + c.callerName()
	t.from.Number = c.callerNumber()
	t.route.Targets = c.s.peopleOnSite(c.identity.Account)
	if len(t.route.Targets) == 0 {
		return errNobodyThere
	}
	// The caller has to know that it is not the emergency services who answer.
	if err := c.announceEarly("emergency-on-site"); err != nil {
		return err
	}
	t.phones()
	return c.ring(t, onSiteRing)
}

// peopleOnSite are the phones of the ring group that can be reached.
func (s *Server) peopleOnSite(caller mac.Account) []Binding {
	var out []Binding
	for _, extension := range s.cfg.Emergency.OnSite {
		l, ok := s.accounts.Dialled(extension)
		if !ok {
			s.log.Warn("nobody on site has this extension", "extension", extension)
			continue
		}
		targets, _ := s.router.targets(l, caller)
		for _, b := range targets {
			if !slices.ContainsFunc(out, func(o Binding) bool { return o.Account == b.Account }) {
				out = append(out, b)
			}
		}
	}
	return out
}

// helpShown is the number that the emergency services see and call back: that
// of the place, else that of the line, else that of the site line.
func (c *call) helpShown() string { return c.s.helpShown(c.place, c.line) }

func (s *Server) helpShown(p Place, own Line) string {
	switch {
	case p.ELIN != "":
		return p.ELIN
	case own.Number != "":
		return own.Number
	}
	for _, l := range s.accounts.Lines() {
		if l.Site && l.Number != "" {
			return l.Number
		}
	}
	return ""
}

func (c *call) callerName() string {
	switch {
	case c.line.DisplayName != "":
		return c.line.DisplayName
	case c.place.Name != "":
		return c.place.Name
	}
	return "unknown phone"
}

// callerNumber is the number of the caller on site: where to call back.
func (c *call) callerNumber() string {
	if c.line.Extension != "" {
		return c.line.Extension
	}
	return shownNumber(Party{Number: c.line.Number})
}

func (c *call) alarm(stage, way string) {
	c.log.Warn("emergency call", "stage", stage, "by", way, "number", c.route.Dialled.Number, "account", c.identity.Account.String(),
		"from", c.callerNumber(), "shown", c.helpShown(), "place", c.place.Name)
	if c.s.cfg.Emergency.Alarm == nil {
		return
	}
	c.s.cfg.Emergency.Alarm(EmergencyCall{
		ID: c.id, Time: c.s.now(), Stage: stage, Way: way, Dialled: c.route.Dialled.Number, Account: c.identity.Account,
		Name: c.callerName(), From: c.callerNumber(), Shown: c.helpShown(), Place: c.place,
	})
}

// reported is where the phone says that it is.
func (c *call) reported() string {
	if h := c.r.GetHeader("P-Access-Network-Info"); h != nil {
		return printable(h.Value())
	}
	return ""
}

// rememberCallBack lets calls to these numbers ring at the phone that called
// for help, whatever its user has set.
func (s *Server) rememberCallBack(shown, own string, a mac.Account) {
	if a.MAC.IsZero() {
		return
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, b := range s.callBacks {
		if now.After(b.Until) {
			delete(s.callBacks, n)
		}
	}
	for _, n := range []string{shown, own} {
		if n = s.router.plan.Read(n).Number; n != "" {
			b := CallBack{n, a, now.Add(callBackTime)}
			s.callBacks[n] = b
			if s.cfg.CallBackStore != nil {
				s.cfg.CallBackStore.PutCallBack(b)
			}
		}
	}
}

// calledBack changes the route of a call that comes in to a number under which
// somebody called for help lately: it goes to that phone.
func (c *call) calledBack() bool {
	numbers := []string{
		c.s.router.plan.Read(c.r.Recipient.User).Number, c.s.router.plan.Read(c.r.To().Address.User).Number,
		c.s.router.plan.Read(c.route.Line.Number).Number,
	}
	c.s.mu.Lock()
	var back CallBack
	for _, n := range numbers {
		if b, ok := c.s.callBacks[n]; ok && n != "" && !c.s.now().After(b.Until) {
			back = b
			break
		}
	}
	c.s.mu.Unlock()
	b, ok := c.s.router.binding(back.Account)
	if back.Account.MAC.IsZero() || !ok || b.FlowLost {
		return false
	}
	c.route.Targets, c.route.CallBack = []Binding{b}, true
	if id, ok := c.s.accounts.Account(back.Account); ok && c.route.Line.ID == 0 {
		c.route.Line, _ = c.s.router.line(id)
	}
	c.log.Warn("call back to a phone that called for help", "account", back.Account.String())
	return true
}

// openLeg opens the media of a leg. An emergency call takes ports that rest,
// and if there are none, those of another call.
func (c *call) openLeg(l *leg) error {
	if !c.route.Emergency {
		return l.open(c.s.cfg.Ports)
	}
	for {
		err := l.open(c.s.cfg.Ports.Urgent())
		if !errors.Is(err, media.ErrNoPorts) || !c.s.preempt() {
			return err
		}
	}
}

// preempt ends a call that is no emergency call, the youngest, and waits until
// its ports are back. It is false if there is none.
func (s *Server) preempt() bool {
	s.mu.Lock()
	var victim *call
	for _, c := range s.calls {
		c.mu.Lock()
		usable := !c.record.Emergency && !c.preempted
		c.mu.Unlock()
		if usable && (victim == nil || c.began.After(victim.began)) {
			victim = c
		}
	}
	s.mu.Unlock()
	if victim == nil {
		return false
	}
	victim.mu.Lock()
	victim.preempted = true
	victim.mu.Unlock()
	victim.log.Warn("ended for an emergency call")
	s.loose.Go(func() { victim.post(func() { victim.end(errPreempted) }) })
	select {
	case <-victim.over:
	case <-time.After(2 * time.Second):
	}
	return true
}

// locate adds to an emergency call where it comes from (RFC 6442, RFC 7315
// §5.4). It returns the body in place of the description.
func (c *call) locate(req *sip.Request, sdp []byte, entity string) {
	if !c.place.Known() {
		setSDP(req, sdp)
		return
	}
	cid := c.id + "@location.invalid"
	kind, body := joinParts(sdp, c.place.pidf(entity, c.s.now()), "part-"+c.id, cid)
	req.AppendHeader(sip.NewHeader("Geolocation", "<cid:"+cid+">"))
	req.AppendHeader(sip.NewHeader("Geolocation-Routing", "yes"))
	req.AppendHeader(sip.NewHeader("MIME-Version", "1.0"))
	req.AppendHeader(sip.NewHeader("Content-Type", kind))
	req.SetBody(body)
}

// networkInfo is the P-Access-Network-Info of an emergency call: the name of
// the place, no address of the LAN.
func (p Place) networkInfo() string {
	name := quoteName(p.Name)
	if name == "" {
		return "IEEE-802.3"
	}
	return `IEEE-802.3;eth-location="` + name + `"`
}

// EmergencyView is what an emergency call of a phone would send now.
type EmergencyView struct {
	Numbers []string // that may be dialled
	Ways    []string // in the order in which they are tried; empty: nobody would be reached
	Line    string   // address of record that the gateway sees; empty: it would not go there
	Shown   string   // number that is shown and called back
	Place   Place
	Test    []string // numbers for test calls
	OnSite  []string // extensions that are told
}

// EmergencyView says what an emergency call of an account would send now.
func (s *Server) EmergencyView(a mac.Account) EmergencyView {
	id, _ := s.accounts.Account(a)
	line, signedIn := s.router.line(id)
	as := s.router.emergencyLines(line, signedIn)
	p := s.placeOf(a, netip.Addr{}, "")
	v := EmergencyView{
		Numbers: s.router.plan.Emergency(), Ways: s.helpWays(as), Shown: s.helpShown(p, line), Place: p,
		Test: s.router.test, OnSite: s.cfg.Emergency.OnSite,
	}
	if len(as) > 0 {
		v.Line = as[0].AOR
	}
	return v
}

// emergencyTest says what an emergency call of this phone would send.
func (c *call) emergencyTest() Outcome {
	c.place = c.s.placeOf(c.identity.Account, c.r.Flow.Remote.Addr(), c.reported())
	out := Outcome{Say: []string{"emergency-test"}, OK: true, Display: c.place.Name}
	if n := c.helpShown(); n != "" {
		out.Say = append(out.Say, "emergency-number", "spell:"+n)
	} else {
		out.Say = append(out.Say, "emergency-no-number")
	}
	location := "emergency-no-location"
	if c.place.Known() {
		location = "emergency-location"
	}
	way := "emergency-no-way"
	for _, w := range c.s.helpWays(c.s.router.emergencyLines(c.line, c.line.ID != 0)) {
		if w == WayTrunk && c.s.trunk.up.Load() || w == WayGateway && c.s.uplink.Up() {
			way = "emergency-way"
		}
	}
	out.Say = append(out.Say, location, way)
	return out
}
