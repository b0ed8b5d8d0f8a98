package sipedge

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// directory is the Accounts of the tests.
type directory struct {
	mu         sync.Mutex // guards lines
	identities []Identity
	lines      []Line
}

func (d *directory) Identity(username string) (Identity, bool) {
	for _, id := range d.identities {
		if id.Username == username {
			return id, true
		}
	}
	return Identity{}, false
}

func (d *directory) Account(a mac.Account) (Identity, bool) {
	for _, id := range d.identities {
		if id.Account == a {
			return id, true
		}
	}
	return Identity{}, false
}

func (d *directory) Line(id int64) (Line, bool) {
	for _, l := range d.Lines() {
		if l.ID == id {
			return l, true
		}
	}
	return Line{}, false
}

func (d *directory) Dialled(number string) (Line, bool) {
	for _, l := range d.Lines() {
		if number != "" && (l.Number == number || l.Extension == number || aorUser(l.AOR) == number) {
			return l, true
		}
	}
	return Line{}, false
}

func (d *directory) OnLine(id int64) []mac.Account {
	var out []mac.Account
	for _, i := range d.identities {
		if i.LineID == id {
			out = append(out, i.Account)
		}
	}
	return out
}

func (d *directory) Lines() []Line {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lines
}

func testAccount(n byte) mac.Account {
	return mac.Account{MAC: mac.Addr{0, 0, 0x5e, 0, 0x53, n}, Slot: 1}
}

func testDirectory() *directory {
	return &directory{
		identities: []Identity{
			{Account: testAccount(1), Username: "00005e005301-1", Password: "secret-1", LineID: 1},
			{Account: testAccount(2), Username: "00005e005302-1", Password: "secret-2", LineID: 2},
			{Account: testAccount(3), Username: "00005e005303-1", Password: "secret-3"},
			{Account: testAccount(4), Username: "00005e005304-1", Password: "secret-4", LineID: 2},
			{Account: testAccount(5), Username: "00005e005305-1", Password: "secret-5", LineID: 5},
			{Account: testAccount(6), Username: "00005e005306-1", Password: "secret-6", LineID: 6},
		},
		lines: []Line{
			{ID: 1, AOR: "sip:alice@example.com", DisplayName: "Alice Ärzte", Number: "+4930123451", Extension: "101", AuthUser: "alice", AuthPassword: "pw-alice"},
			{ID: 2, AOR: "sip:bob@example.com", DisplayName: "Bob", Number: "+4930123452", Extension: "102", AuthUser: "bob", AuthPassword: "pw-bob"},
			{ID: 3, AOR: "sip:site@example.com", DisplayName: "Office", Number: "+4930123450", AuthUser: "site", AuthPassword: "pw-site", Site: true},
			{ID: 4, AOR: "sip:empty@example.com", Number: "+4930123459", Extension: "109"},
			{ID: 5, AOR: "sip:carol@example.com", DisplayName: "Carol", Number: "+4930123455", Extension: "105"},
			{ID: 6, AOR: "sip:dan@example.com", DisplayName: "Dan", Number: "+4930123456", Extension: "106"},
		},
	}
}

func TestRouterFromPhone(t *testing.T) {
	dir := testDirectory()
	at := func(n byte, lost bool) Binding {
		return Binding{Account: testAccount(n), Transport: "udp", Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 5060), FlowLost: lost}
	}
	up, down := func() bool { return true }, func() bool { return false }
	all := []Binding{at(1, false), at(2, false), at(3, false), at(4, false)}
	tests := []struct {
		name     string
		caller   byte
		dialled  string
		bindings []Binding
		gateway  func() bool
		targets  []mac.Account
		as       []int64
		status   int
		reason   story.Reason
	}{
		{"extension rings all phones of the line", 1, "102", all, up, []mac.Account{testAccount(2), testAccount(4)}, nil, 0, ""},
		{"own number of the site stays local", 1, "030123452", all, up, []mac.Account{testAccount(2), testAccount(4)}, nil, 0, ""},
		{"user part of an address of record", 1, "bob", all, up, []mac.Account{testAccount(2), testAccount(4)}, nil, 0, ""},
		{"the caller's own phone does not ring", 2, "102", all, up, []mac.Account{testAccount(4)}, nil, 0, ""},
		{"own number and no other phone", 1, "101", all, up, nil, nil, 486, story.Busy},
		{"local call with the gateway down", 1, "102", all, down, []mac.Account{testAccount(2), testAccount(4)}, nil, 0, ""},
		{"a lost flow is skipped", 1, "102", []Binding{at(2, true), at(4, false)}, up, []mac.Account{testAccount(4)}, nil, 0, ""},
		{"all flows lost", 1, "102", []Binding{at(2, true)}, up, nil, nil, 480, story.NobodyThere},
		{"nobody registered", 1, "102", nil, up, nil, nil, 480, story.NobodyThere},
		{"nobody on the line", 1, "109", all, up, nil, nil, 480, story.NobodyThere},
		{"out by the gateway", 1, "0301112223", all, up, nil, []int64{1}, 0, ""},
		{"gateway down", 1, "0301112223", all, down, nil, nil, 503, story.GatewayDown},
		{"no gateway at all", 1, "0301112223", all, nil, nil, nil, 404, story.NumberUnknown},
		{"emergency of a signed-in phone: own line, then the site's", 1, "112", all, up, nil, []int64{1, 3}, 0, ""},
		{"emergency of a phone that nobody is signed in to", 3, "110", all, up, nil, []int64{3}, 0, ""},
		{"emergency is tried though the gateway seems down", 3, "112", all, down, nil, []int64{3}, 0, ""},
		{"emergency without a gateway", 3, "112", all, nil, nil, nil, 0, ""},
		{"nobody signed in: extension", 3, "102", all, up, nil, nil, 403, story.NotSignedIn},
		{"nobody signed in: outside", 3, "0301112223", all, up, nil, nil, 403, story.NotSignedIn},
		{"nothing dialled", 1, "", all, up, nil, nil, 484, story.NumberUnknown},
		{"feature code that nobody serves", 1, "*99", all, up, nil, nil, 404, story.NumberUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Router{policy: func(Line) LinePolicy { return LinePolicy{} }, plan: mustPlan(t, "DE"), accounts: dir, gateway: tt.gateway, binding: lookup(tt.bindings)}
			id, _ := dir.Account(testAccount(tt.caller))
			route, err := r.FromPhone(id, tt.dialled)
			checkRefusal(t, err, tt.status, tt.reason)
			var targets []mac.Account
			for _, b := range route.Targets {
				targets = append(targets, b.Account)
			}
			var as []int64
			for _, l := range route.As {
				as = append(as, l.ID)
			}
			if diff := cmp.Diff(tt.targets, targets); diff != "" {
				t.Error("targets (-want +got)\n" + diff)
			}
			if diff := cmp.Diff(tt.as, as); diff != "" {
				t.Error("lines (-want +got)\n" + diff)
			}
		})
	}
}

func TestRouterFromGateway(t *testing.T) {
	dir := testDirectory()
	tests := []struct {
		name, user, to string
		line           int64
		status         int
	}{
		{"number", "+4930123452", "+4930123452", 2, 0},
		{"national form", "030123452", "", 2, 0},
		{"registered contact", "bob", "+4930123452", 2, 0},
		{"trunk: contact of the site line, number in To", "site", "+4930123452", 2, 0},
		{"unknown", "+493099999", "+493099999", 0, 404},
		{"never back out", "+43158858", "+43158858", 0, 404},
		{"site line itself has no phone", "site", "site", 3, 480},
		{"nothing", "", "", 0, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Router{
				plan: mustPlan(t, "DE"), accounts: dir, gateway: func() bool { return true },
				binding: lookup([]Binding{{Account: testAccount(2)}}),
			}
			route, err := r.FromGateway(tt.user, tt.to)
			checkRefusal(t, err, tt.status, "")
			if route.Line.ID != tt.line || route.Outward() {
				t.Errorf("got line %d, outward %v; want line %d", route.Line.ID, route.Outward(), tt.line)
			}
		})
	}
}

func lookup(all []Binding) func(mac.Account) (Binding, bool) {
	return func(a mac.Account) (Binding, bool) {
		for _, b := range all {
			if b.Account == a {
				return b, true
			}
		}
		return Binding{}, false
	}
}

func checkRefusal(t *testing.T, err error, status int, reason story.Reason) {
	t.Helper()
	if status == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var se *StatusError
	if !errors.As(err, &se) || se.Status != status || reason != "" && se.Reason != reason {
		t.Errorf("got error %v, want status %d and reason %q", err, status, reason)
	}
}
