package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	at    = time.Date(2025, 11, 20, 9, 30, 0, 0, time.UTC)
	known = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x01}
	other = mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, 0x99}
)

// fake is a box with one phone and one line, which notes what it is asked.
type fake struct {
	mu    sync.Mutex
	calls []string
	err   error
	past  []Entry // oldest first
	live  chan Entry
	empty bool // lists are nil
}

func newFake() *fake {
	f := &fake{live: make(chan Entry, 16)}
	for i, e := range []story.Event{
		{Proto: story.DHCP, Dir: story.In, Code: story.Discover, Args: story.Args{Vendor: "Yealink", Model: "SIP-T46U"}},
		{Proto: story.DHCP, Dir: story.Out, Code: story.Ack, Args: story.Args{IP: netip.MustParseAddr("192.0.2.101"), Seconds: 600}},
		{Proto: story.SIP, Dir: story.In, Code: story.Registered, Args: story.Args{Account: mac.Account{MAC: known, Slot: 1}, Via: "udp", IP: netip.MustParseAddr("192.0.2.101")}},
	} {
		e.Time = at.Add(time.Duration(i) * time.Second)
		f.past = append(f.past, NewEntry(int64(10*(i+1)), e))
	}
	return f
}

func (f *fake) Snapshot() Snapshot {
	if f.empty {
		return Snapshot{}
	}
	s := Snapshot{
		Name: "office-12", Version: "0.1.0", Now: at, Started: at.Add(-26 * time.Hour),
		Tunnel: Tunnel{
			Configured: true, Gateway: "gw.example.com:5061", Since: at.Add(-90 * time.Second), Detail: "no route to host",
			Registrations: []Registration{{Line: 7, Name: "Anna", AOR: "sip:anna@example.com", Detail: "403 Forbidden"}},
		},
		Problems: Problems{{Code: "gateway-down", Severity: health.Critical, Since: at, Text: "The gateway can't be reached.", Fix: "Check the way to the Internet."}},
		Calls:    []Call{{ID: "c1", From: Party{MAC: known, Number: "201", Name: "Anna\x1b[2J"}, To: Party{Number: "112"}, Via: "gateway", Start: at.Add(-5 * time.Second), Emergency: true}},
		Pools:    []Pool{{Interface: "eth1", First: netip.MustParseAddr("192.0.2.100"), Last: netip.MustParseAddr("192.0.2.199"), Used: 1, Size: 100}},
		Interfaces: []Interface{{
			Name: "eth1", Mode: "serve", Address: netip.MustParsePrefix("192.0.2.1/24"), Stopped: true,
			Others: []OtherServer{{IP: netip.MustParseAddr("192.0.2.254"), MAC: other, Vendor: "Example\x1b[2J", Seen: at}, {IP: netip.MustParseAddr("192.0.2.253"), Seen: at}},
		}},
	}
	s.Phones.Add(SignedIn)
	return s
}

func (f *fake) phone() Phone {
	return Phone{
		MAC: known, Vendor: "Yealink", Model: "SIP-T46U\x07", IP: netip.MustParseAddr("192.0.2.101"), Evidence: "own lease", State: SignedIn, LastSeen: at,
		Accounts: []Account{{
			Slot: 1, State: SignedIn, Line: &LineRef{ID: 7, Name: "Anna", Number: "+49301234567", Extension: "201"},
			Transport: "udp", Source: netip.MustParseAddrPort("192.0.2.101:5060"), Expires: at.Add(time.Minute),
		}},
	}
}

func (f *fake) line() Line {
	return Line{ID: 7, Name: "Anna", AOR: "sip:anna@example.com", Number: "+49301234567", Extension: "201", AuthUser: "anna", HasPassword: true, Accounts: []mac.Account{{MAC: known, Slot: 1}}}
}

// note records a call; the error is the one that the test asked for.
func (f *fake) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) Phones(_ context.Context, q Query) (Phones, error) {
	if f.empty {
		return Phones{}, nil
	}
	err := f.note("phones %+v", q)
	return Phones{Phones: []Phone{f.phone()}, Total: 1, Offset: q.Offset}, err
}

func (f *fake) PhonePasswords(_ context.Context, m mac.Addr) (Passwords, error) {
	if _, err := f.Phone(context.Background(), m); err != nil {
		return Passwords{}, err
	}
	return Passwords{Admin: "Adm1nOfPhone", User: "Us3rOfPhone"}, nil
}

func (f *fake) Phone(_ context.Context, m mac.Addr) (Phone, error) {
	if m != known {
		return Phone{}, fmt.Errorf("phone %v: %w", m, ErrNotFound)
	}
	return f.phone(), nil
}

func (f *fake) Story(_ context.Context, m mac.Addr, before int64, limit int) ([]Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Entry
	for i := len(f.past) - 1; i >= 0 && len(out) < limit; i-- {
		if before == 0 || f.past[i].Seq < before {
			out = append(out, f.past[i])
		}
	}
	return out, f.err
}

func (f *fake) Subscribe(mac.Addr) (<-chan Entry, func()) { return f.live, func() {} }

func (f *fake) Lines(context.Context) ([]Line, error) {
	if f.empty {
		return nil, nil
	}
	return []Line{f.line()}, f.note("lines")
}

func (f *fake) Line(_ context.Context, id int64) (Line, error) {
	if id != 7 {
		return Line{}, ErrNotFound
	}
	return f.line(), nil
}

func (f *fake) PutLine(_ context.Context, e LineEdit) (Line, error) {
	password := "kept"
	if e.Password != nil {
		password = *e.Password
	}
	e.Password = nil
	err := f.note("put %+v password %s", e, password)
	return Line{ID: 7, Name: e.Name}, err
}

func (f *fake) DeleteLine(_ context.Context, id int64) error { return f.note("delete %d", id) }
func (f *fake) AddPhone(_ context.Context, m mac.Addr, slots int) error {
	return f.note("add %v %d", m, slots)
}

func (f *fake) Assign(_ context.Context, a mac.Account, line int64) error {
	return f.note("assign %v %d", a, line)
}
func (f *fake) Unassign(_ context.Context, a mac.Account) error { return f.note("unassign %v", a) }
func (f *fake) ApproveAddress(_ context.Context, ip netip.Addr, m mac.Addr, once bool) error {
	return f.note("approve %v %v %v", ip, m, once)
}
func (f *fake) OpenWindow(_ context.Context, m mac.Addr) error { return f.note("window %v", m) }
func (f *fake) Resync(_ context.Context, a mac.Account) error  { return f.note("resync %v", a) }

func (f *fake) Waiting(context.Context) ([]WaitingPhone, error) {
	if f.empty {
		return nil, nil
	}
	p := f.phone()
	return []WaitingPhone{{MAC: other, Vendor: p.Vendor, Model: p.Model, IP: p.IP, SwitchPort: "Gi1/0/7", Since: at, Onboarded: true, CodeExpires: at.Add(time.Hour)}}, f.note("waiting")
}

func (f *fake) Enrol(_ context.Context, e EnrolEdit) error {
	return f.note("enrol %v at %q", e.Phones, e.Location)
}
func (f *fake) Retire(_ context.Context, m mac.Addr) error    { return f.note("retire %v", m) }
func (f *fake) Forget(_ context.Context, m mac.Addr) error    { return f.note("forget %v", m) }
func (f *fake) Rotate(_ context.Context, a mac.Account) error { return f.note("rotate %v", a) }
func (f *fake) WithdrawCode(_ context.Context, m mac.Addr) error {
	return f.note("withdraw %v", m)
}

func (f *fake) IssueCodes(_ context.Context, e CodeEdit) ([]IssuedCode, error) {
	return []IssuedCode{{MAC: e.Phones[0], Code: "12345670", Dial: "*55*12345670", Expires: at.Add(time.Hour)}}, f.note("codes %v for %d hours", e.Phones, e.Hours)
}

func (f *fake) EnrolSheet(_ context.Context, text []byte, dry bool) (SheetReport, error) {
	return f.sheet("enrol", text, dry)
}

func (f *fake) SignInSheet(_ context.Context, text []byte, dry bool) (SheetReport, error) {
	return f.sheet("sign in", text, dry)
}

// sheet finds a fault in a file with the word bad.
func (f *fake) sheet(what string, text []byte, dry bool) (SheetReport, error) {
	rep := SheetReport{Rows: []SheetRow{{Row: 2, Device: known.String(), OK: true, Reason: "enrol", Text: "will be enrolled"}}, Applied: !dry}
	if strings.Contains(string(text), "bad") {
		rep.Rows = append(rep.Rows, SheetRow{Row: 3, Device: "bad", Reason: "mac-invalid", Text: "not a MAC address"})
		rep.Faults, rep.Applied = 1, false
	}
	return rep, f.note("%s sheet of %d bytes, dry %v", what, len(text), dry)
}

func (f *fake) PhoneSheet(_ context.Context, w io.Writer, waiting bool) error {
	_, _ = io.WriteString(w, "MAC ID\r\n")
	return f.note("phone sheet, waiting %v", waiting)
}
func (f *fake) SignOut(_ context.Context, a []mac.Account) error { return f.note("sign out %v", a) }
func (f *fake) Restart(_ context.Context, a []mac.Account) error { return f.note("restart %v", a) }
func (f *fake) SetLocation(_ context.Context, a mac.Account, location string) error {
	return f.note("%v at %q", a, location)
}

func (f *fake) Replace(_ context.Context, from, to mac.Addr) error {
	return f.note("replace %v by %v", from, to)
}

func (f *fake) Actions(context.Context) ([]Action, error) {
	if f.empty {
		return nil, nil
	}
	return []Action{{ID: 3, Account: mac.Account{MAC: known, Slot: 1}, Kind: "resync", State: "queued", Text: "somebody talks on it", Created: at, Changed: at}}, nil
}

func (f *fake) Audit(_ context.Context, before int64, limit int, target string) ([]AuditEntry, error) {
	if f.empty {
		return nil, nil
	}
	list := []AuditEntry{{ID: 2, Time: at, Actor: "administrator", Via: "cli", Action: "enrol", Target: known.String()}, {ID: 1, Time: at, Actor: "box", Via: "box", Action: "sign-out", Fault: "not found"}}
	return list[:min(limit, len(list))], f.note("audit before %d of %q", before, target)
}

func (f *fake) ServeAnyway(_ context.Context, name string) error { return f.note("serve %v", name) }

func (f *fake) Troubles() []Trouble {
	if f.empty {
		return nil
	}
	return []Trouble{{MAC: known, Phone: true, Code: story.NoOffer, Words: "got no offer", First: at, Last: at.Add(time.Minute), Times: 12}}
}

// did returns what was asked since the last call.
func (f *fake) did() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := strings.Join(f.calls, "; ")
	f.calls = nil
	return out
}

var errDisk = errors.New("disk I/O error")

// ask sends one request to the handler of a box.
func ask(t testing.TB, f *fake, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, Prefix+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	Handler(f, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	return w
}

var _ http.Handler = Handler(newFake(), slog.New(slog.DiscardHandler))

func (f *fake) Help(_ context.Context, m mac.Addr) ([]HelpView, error) {
	if m != known {
		return nil, ErrNotFound
	}
	return []HelpView{{Slot: 1, Numbers: []string{"112"}, Ways: []string{"gateway"}, Shown: "+4930123450", Location: HelpPlace{Known: true, Name: "Attic <3>", How: "its network"}}}, nil
}

func (f *fake) Wish(_ context.Context, id int64) (Wish, error) {
	if id != 7 {
		return Wish{}, ErrNotFound
	}
	return Wish{Number: "102", NoAnswer: true}, nil
}

func (f *fake) PutWish(_ context.Context, id int64, w Wish) (Wish, error) {
	if id != 7 {
		return Wish{}, ErrNotFound
	}
	return w, nil
}

func (f *fake) Drills() []Drill {
	return []Drill{{Began: at, Noticed: 4400, Local: 4600, Ways: []string{"trunk"}, Back: 900, Signed: 1200, Lines: 12, Score: 100}}
}

func (f *fake) StartDrill(context.Context) error { return nil }
