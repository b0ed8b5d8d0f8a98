package web

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// fake is a box in memory. Every method of the backend works on it as on a
// real one, so that a test can do something on the page and look at it again.
type fake struct {
	mu       sync.Mutex
	now      func() time.Time
	snapshot api.Snapshot
	phones   map[mac.Addr]*api.Phone
	lines    map[int64]*api.Line
	nextLine int64
	stories  map[mac.Addr][]api.Entry
	watchers map[chan api.Entry]mac.Addr
	access   Access
	calls    []string // what was asked of the desk
	err      error    // what the next call of the desk returns
}

const testCode = "7K4M-PX9R"

func newFake(now func() time.Time) *fake {
	return &fake{
		now:      now,
		snapshot: api.Snapshot{Name: "office-12", Version: "0.1.0", Started: now().Add(-3 * time.Hour)},
		phones:   map[mac.Addr]*api.Phone{},
		lines:    map[int64]*api.Line{},
		stories:  map[mac.Addr][]api.Entry{},
		watchers: map[chan api.Entry]mac.Addr{},
		access:   Access{SetUpCode: testCode},
	}
}

func (f *fake) Snapshot() api.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.snapshot
	s.Now = f.now()
	for _, p := range f.phones {
		s.Phones.Add(p.State)
	}
	return s
}

func (f *fake) Phones(_ context.Context, q api.Query) (api.Phones, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []api.Phone
	for _, p := range f.phones {
		text := strings.ToLower(fmt.Sprint(p.MAC, p.IP, p.Vendor, p.Model))
		for _, a := range p.Accounts {
			if a.Line != nil {
				text += strings.ToLower(a.Line.Name + a.Line.Number)
			}
		}
		if strings.Contains(text, strings.ToLower(q.Text)) && (q.State == "" || q.State == p.State) {
			all = append(all, clone(p))
		}
	}
	slices.SortFunc(all, func(a, b api.Phone) int { return a.MAC.Compare(b.MAC) })
	page := api.Phones{Total: len(all), Offset: q.Offset}
	page.Phones = all[min(q.Offset, len(all)):min(q.Offset+q.Limit, len(all))]
	return page, nil
}

func clone(p *api.Phone) api.Phone {
	c := *p
	c.Accounts = slices.Clone(p.Accounts)
	return c
}

func (f *fake) Phone(_ context.Context, m mac.Addr) (api.Phone, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.phones[m]
	if !ok {
		return api.Phone{}, fmt.Errorf("phone %v: %w", m, api.ErrNotFound)
	}
	return clone(p), nil
}

func (f *fake) Story(_ context.Context, m mac.Addr, before int64, limit int) ([]api.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.Entry
	for _, e := range slices.Backward(f.stories[m]) {
		if (before == 0 || e.Seq < before) && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (f *fake) Subscribe(m mac.Addr) (<-chan api.Entry, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan api.Entry, 16)
	f.watchers[c] = m
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, c)
	}
}

// record adds an event to the story of a phone.
func (f *fake) record(m mac.Addr, e story.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = f.now()
	}
	entry := api.NewEntry(int64(len(f.stories[m])+1), e)
	f.stories[m] = append(f.stories[m], entry)
	for c, of := range f.watchers {
		if of == m {
			c <- entry
		}
	}
}

// watching is the number of open subscriptions.
func (f *fake) watching() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers)
}

func (f *fake) Lines(context.Context) ([]api.Line, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.Line
	for id := range f.lines {
		out = append(out, f.lineLocked(id))
	}
	slices.SortFunc(out, func(a, b api.Line) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (f *fake) lineLocked(id int64) api.Line {
	l := *f.lines[id]
	l.Accounts = nil
	for _, p := range f.phones {
		for _, a := range p.Accounts {
			if a.Line != nil && a.Line.ID == id {
				l.Accounts = append(l.Accounts, mac.Account{MAC: p.MAC, Slot: a.Slot})
			}
		}
	}
	slices.SortFunc(l.Accounts, mac.Account.Compare)
	return l
}

func (f *fake) Line(_ context.Context, id int64) (api.Line, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lines[id] == nil {
		return api.Line{}, fmt.Errorf("line %d: %w", id, api.ErrNotFound)
	}
	return f.lineLocked(id), nil
}

func (f *fake) PutLine(_ context.Context, e api.LineEdit) (api.Line, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return api.Line{}, f.err
	}
	for _, l := range f.lines {
		if l.ID != e.ID && e.Extension != "" && l.Extension == e.Extension {
			return api.Line{}, &api.Invalid{Field: "extension", Text: "extension " + e.Extension + " belongs to " + l.Name + " already"}
		}
	}
	l := f.lines[e.ID]
	if l == nil {
		f.nextLine++
		l = &api.Line{ID: f.nextLine}
		f.lines[l.ID] = l
	}
	l.Name, l.AOR, l.Number, l.Extension, l.AuthUser = e.Name, e.AOR, e.Number, e.Extension, e.AuthUser
	if e.Password != nil {
		l.HasPassword = *e.Password != ""
	}
	return *l, nil
}

func (f *fake) DeleteLine(_ context.Context, id int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if f.lines[id] == nil {
		return api.ErrNotFound
	}
	delete(f.lines, id)
	for _, p := range f.phones {
		for i := range p.Accounts {
			if l := p.Accounts[i].Line; l != nil && l.ID == id {
				p.Accounts[i].Line = nil
			}
		}
	}
	return nil
}

// desk notes a call and returns the error that the test asked for.
func (f *fake) desk(format string, args ...any) error {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) AddPhone(_ context.Context, m mac.Addr, slots int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("add %v %d", m, slots); err != nil {
		return err
	}
	f.phones[m] = &api.Phone{MAC: m, State: api.Seen, FirstSeen: f.now()}
	for i := range slots {
		f.phones[m].Accounts = append(f.phones[m].Accounts, api.Account{Slot: uint8(i + 1), State: api.Seen})
	}
	return nil
}

func (f *fake) Assign(_ context.Context, a mac.Account, line int64) error {
	e, err := f.assign(a, line)
	if err == nil {
		f.record(a.MAC, e)
	}
	return err
}

func (f *fake) assign(a mac.Account, line int64) (e story.Event, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("assign %v %d", a, line); err != nil {
		return e, err
	}
	acc, l := f.account(a), f.lines[line]
	if acc == nil || l == nil {
		return e, api.ErrNotFound
	}
	acc.Line = &api.LineRef{ID: l.ID, Name: l.Name, Number: l.Number, Extension: l.Extension}
	acc.State = api.StateOf(!acc.Registered.IsZero(), !acc.Registered.IsZero(), true)
	f.phones[a.MAC].State = api.StateOfPhone(f.phones[a.MAC].Accounts)
	return story.Event{Proto: story.Admin, Code: story.LineAssigned, Args: story.Args{Account: a, Name: l.Name, Number: l.Number}}, nil
}

func (f *fake) account(a mac.Account) *api.Account {
	p := f.phones[a.MAC]
	if p == nil || int(a.Slot) > len(p.Accounts) {
		return nil
	}
	return &p.Accounts[a.Slot-1]
}

func (f *fake) Unassign(_ context.Context, a mac.Account) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("unassign %v", a); err != nil {
		return err
	}
	acc := f.account(a)
	if acc == nil {
		return api.ErrNotFound
	}
	acc.Line = nil
	return nil
}

func (f *fake) ApproveAddress(_ context.Context, ip netip.Addr, m mac.Addr, once bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desk("approve %v %v %v", ip, m, once)
}

func (f *fake) OpenWindow(_ context.Context, m mac.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desk("window %v", m)
}

func (f *fake) Resync(_ context.Context, a mac.Account) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desk("resync %v", a)
}

func (f *fake) Access(context.Context) (Access, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.access, nil
}

func (f *fake) Claim(_ context.Context, hash string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.access.PasswordHash != "" {
		return fmt.Errorf("there is a password already")
	}
	f.access = Access{PasswordHash: hash}
	return nil
}

// did returns what was asked of the desk since the last call.
func (f *fake) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.calls
	f.calls = nil
	return out
}

// The phones of furnish.
var (
	yealink = mac.Addr{0x00, 0x15, 0x65, 0x4a, 0xa9, 0x37}
	poly    = mac.Addr{0x00, 0x04, 0xf2, 0x1c, 0x20, 0x11}
	cisco   = mac.Addr{0x00, 0x3a, 0x9c, 0x77, 0x10, 0x5e}
	static  = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x44}
	unborn  = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x45}
)

// furnish puts an office into the box: phones of several vendors in every
// state, lines, calls and problems.
func (f *fake) furnish() {
	now := f.now()
	f.snapshot.Tunnel = api.Tunnel{
		Configured: true, Up: true, Gateway: "gw.example.com:5061", Since: now.Add(-2 * time.Hour),
		Registrations: []api.Registration{
			{Line: 1, Name: "Anna Beispiel", AOR: "sip:anna@example.com", OK: true, Since: now.Add(-2 * time.Hour)},
			{Line: 2, Name: "Reception", AOR: "sip:reception@example.com", Detail: "403 Forbidden: wrong password"},
		},
	}
	f.snapshot.Problems = api.Problems{
		{
			Code: "line-refused", Severity: health.Warning, Since: now.Add(-time.Hour),
			Text: "The gateway refuses the line Reception.", Fix: "Write its password at the gateway again, on the page of the line.",
		},
		{
			Code: "no-fallback", Severity: health.Critical,
			Text: "No fallback trunk is fitted: when the gateway can't be reached, emergency calls do not go out.",
			Fix:  "Fit one, or make sure that a mobile phone is at hand.",
		},
	}
	f.snapshot.Pools = []api.Pool{{
		Interface: "eth1", First: netip.MustParseAddr("192.0.2.100"), Last: netip.MustParseAddr("192.0.2.199"), Used: 23, Size: 100,
	}}
	f.snapshot.Calls = []api.Call{
		{
			ID: "c1", Via: "gateway", Start: now.Add(-190 * time.Second), Answered: now.Add(-183 * time.Second),
			From: api.Party{MAC: yealink, Number: "201", Name: "Anna Beispiel"}, To: api.Party{Number: "+493012345678"},
		},
		{
			ID: "c2", Via: "local", Start: now.Add(-8 * time.Second),
			From: api.Party{MAC: poly, Number: "202", Name: "Reception"}, To: api.Party{MAC: yealink, Number: "201", Name: "Anna Beispiel"},
		},
	}
	f.lines = map[int64]*api.Line{
		1: {ID: 1, Name: "Anna Beispiel", AOR: "sip:anna@example.com", Number: "+493012345671", Extension: "201", AuthUser: "anna", HasPassword: true},
		2: {ID: 2, Name: "Reception", AOR: "sip:reception@example.com", Number: "+493012345672", Extension: "202", AuthUser: "reception", HasPassword: true},
		3: {ID: 3, Name: "Site", AOR: "sip:site@example.com", Number: "+493012345670", AuthUser: "site", HasPassword: true, Site: true, Pinned: true},
	}
	f.nextLine = 3
	f.furnishPhones(now)
	f.furnishStories(now)
}

func (f *fake) furnishPhones(now time.Time) {
	anna := &api.LineRef{ID: 1, Name: "Anna Beispiel", Number: "+493012345671", Extension: "201"}
	registered := func(slot uint8, line *api.LineRef, ip string) api.Account {
		return api.Account{
			Slot: slot, State: api.StateOf(true, true, line != nil), Line: line, Transport: "UDP",
			Source: netip.MustParseAddrPort(ip + ":5060"), Registered: now.Add(-40 * time.Minute), Expires: now.Add(6 * time.Minute),
		}
	}
	for _, p := range []api.Phone{
		{
			MAC: yealink, Vendor: "Yealink", Model: "SIP-T46U", Firmware: "108.86.0.70", IP: netip.MustParseAddr("192.0.2.101"), Evidence: "own lease",
			Accounts:  []api.Account{registered(1, anna, "192.0.2.101"), registered(2, nil, "192.0.2.101")},
			FirstSeen: now.Add(-72 * time.Hour), LastSeen: now.Add(-20 * time.Second),
		},
		{
			MAC: poly, Vendor: "Poly", Model: "VVX 450", Firmware: "6.4.6.2453", IP: netip.MustParseAddr("192.0.2.102"), Evidence: "own lease",
			Accounts:  []api.Account{registered(1, nil, "192.0.2.102")},
			FirstSeen: now.Add(-72 * time.Hour), LastSeen: now.Add(-time.Minute),
		},
		{
			MAC: cisco, Vendor: "Cisco", Model: "CP-8851-3PCC", Firmware: "sip88xx.12-0-3", IP: netip.MustParseAddr("192.0.2.103"), Evidence: "own lease",
			Accounts:  []api.Account{{Slot: 1, State: api.Offline}},
			FirstSeen: now.Add(-72 * time.Hour), LastSeen: now.Add(-26 * time.Hour),
		},
		{
			MAC: static, Vendor: "Yealink", Model: "SIP-T42S", Accounts: []api.Account{{Slot: 1, State: api.Seen}},
			FirstSeen: now.Add(-10 * time.Minute), LastSeen: now.Add(-2 * time.Minute),
		},
		{MAC: unborn, Accounts: []api.Account{{Slot: 1, State: api.Seen}}},
	} {
		p.State = api.StateOfPhone(p.Accounts)
		f.phones[p.MAC] = &p
	}
	for i := range 57 {
		m := mac.Addr{0x80, 0x5e, 0xc0, 0x00, 0x53, byte(i)}
		f.phones[m] = &api.Phone{
			MAC: m, Vendor: "Yealink", Model: "SIP-T31P", State: api.Onboarded, LastSeen: now.Add(-time.Duration(i) * time.Minute),
			IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(110 + i)}), Evidence: "own lease", Accounts: []api.Account{registered(1, nil, "192.0.2.110")},
		}
	}
}

func (f *fake) furnishStories(now time.Time) {
	for i, e := range f.boot(yealink, netip.MustParseAddr("192.0.2.101")) {
		e.Time = now.Add(-41*time.Minute + time.Duration(i)*1300*time.Millisecond)
		f.record(yealink, e)
	}
	for i := range 230 {
		f.record(poly, story.Event{
			Time: now.Add(time.Duration(i-230) * 5 * time.Minute), Proto: story.SIP, Dir: story.In, Code: story.Refreshed,
			Args: story.Args{Account: mac.Account{MAC: poly, Slot: 1}},
		})
	}
	f.record(static, story.Event{Time: now.Add(-10 * time.Minute), Proto: story.Admin, Code: story.Enlisted, Args: story.Args{Vendor: "Yealink", Model: "SIP-T42S"}})
	f.record(static, story.Event{
		Time: now.Add(-2 * time.Minute), Proto: story.HTTP, Dir: story.In, Code: story.Refused,
		Args: story.Args{IP: netip.MustParseAddr("192.0.2.44"), File: "/00005e005344.cfg", Via: "http", Reason: story.AddressUnknown},
	})
}

// boot is what a phone does from power to its first call.
func (f *fake) boot(m mac.Addr, ip netip.Addr) []story.Event {
	a := mac.Account{MAC: m, Slot: 1}
	return []story.Event{
		{Proto: story.DHCP, Dir: story.In, Code: story.Discover, Args: story.Args{Vendor: "Yealink", Model: "SIP-T46U"}},
		{Proto: story.DHCP, Dir: story.Out, Code: story.Offer, Args: story.Args{IP: ip}},
		{Proto: story.DHCP, Dir: story.In, Code: story.Request, Args: story.Args{IP: ip}},
		{Proto: story.DHCP, Dir: story.Out, Code: story.Ack, Args: story.Args{IP: ip, Seconds: 43200, URL: "http://192.0.2.1/"}},
		{Proto: story.HTTP, Dir: story.Local, Code: story.Window, Args: story.Args{Duration: 5 * time.Minute, Reason: story.WindowByLease}},
		{Proto: story.HTTP, Dir: story.In, Code: story.NotFound, Args: story.Args{File: "/y000000000108.boot", Via: "http"}},
		{Proto: story.HTTP, Dir: story.Out, Code: story.Served, Args: story.Args{File: "/" + m.Hex() + ".cfg", Via: "http", Bytes: 3184, Evidence: mac.OwnLease}},
		{Proto: story.SIP, Dir: story.In, Code: story.Registered, Args: story.Args{Account: a, IP: ip, Via: "udp", Seconds: 600}},
		{Proto: story.Admin, Dir: story.Local, Code: story.LineAssigned, Args: story.Args{Account: a, Name: "Anna Beispiel", Number: "+493012345671"}},
		{Proto: story.SIP, Dir: story.In, Code: story.CallOut, Args: story.Args{Number: "+493012345678", Via: "gateway", Call: "c1"}},
		{Proto: story.SIP, Dir: story.Local, Code: story.CallAnswered, Args: story.Args{Number: "+493012345678", Call: "c1"}},
	}
}
