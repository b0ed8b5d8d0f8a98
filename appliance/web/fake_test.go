package web

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// fake is a box in memory. Every method of the backend works on it as on a
// real one, so that a test can do something on the page and look at it again.
type fake struct {
	wishes   map[int64]api.Wish
	drills   []api.Drill
	mu       sync.Mutex
	now      func() time.Time
	snapshot api.Snapshot
	phones   map[mac.Addr]*api.Phone
	lines    map[int64]*api.Line
	nextLine int64
	stories  map[mac.Addr][]api.Entry
	watchers map[chan api.Entry]mac.Addr
	access   Access
	troubles []api.Trouble
	leases   []api.Lease
	ended    []api.EndedCall // newest first
	reserved []api.Reservation
	uploads  []api.Upload

	firmware  api.FirmwareView
	overrides map[string]api.Override
	sources   map[string]api.Source
	shown     api.Certificate
	text      string   // what the settings for other servers and their answers are made of; empty: what they should be
	calls     []string // what was asked of the desk
	err       error    // what the next call of the desk returns
	method    string   // of pairing
	paired    mac.Account
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

func (f *fake) PhonePasswords(_ context.Context, m mac.Addr) (api.Passwords, error) {
	if _, err := f.Phone(context.Background(), m); err != nil {
		return api.Passwords{}, err
	}
	return api.Passwords{Admin: "Adm1nOfPhone", User: "Us3rOfPhone"}, nil
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
	acc.State = api.StateOf(acc.Transport != "", acc.Transport != "", true)
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

func (f *fake) ServeAnyway(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.desk("serve %v", name); err != nil {
		return err
	}
	i := slices.IndexFunc(f.snapshot.Interfaces, func(x api.Interface) bool { return x.Name == name })
	if i < 0 {
		return api.ErrNotFound
	}
	f.snapshot.Interfaces[i].Stopped = false
	return nil
}

func (f *fake) Resync(_ context.Context, a mac.Account) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desk("resync %v", a)
}

func (f *fake) Troubles() []api.Trouble {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.troubles)
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

func (f *fake) ChangePassword(_ context.Context, from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.access.PasswordHash != from || from == "" {
		return ErrPasswordChanged
	}
	f.access.PasswordHash = to
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

func (f *fake) Help(_ context.Context, m mac.Addr) ([]api.HelpView, error) {
	return []api.HelpView{{Slot: 1, Ways: []string{"gateway", "trunk"}, Shown: "+4930123450", Location: api.HelpPlace{Known: true, Name: "Attic", How: "its network"}}}, nil
}

func (f *fake) Wish(_ context.Context, id int64) (api.Wish, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wishes[id], nil
}

func (f *fake) PutWish(_ context.Context, id int64, w api.Wish) (api.Wish, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.Number == "112" {
		return w, &api.Invalid{Field: "number", Text: "calls are not forwarded to the emergency number 112"}
	}
	if f.wishes == nil {
		f.wishes = map[int64]api.Wish{}
	}
	f.wishes[id] = w
	return w, nil
}

func (f *fake) Drills() []api.Drill { return f.drills }

func (f *fake) StartDrill(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desk("drill")
}
