package enrol

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol/lineapi"
)

// gatewayLines is the line API of a gateway, whose answers a test chooses.
type gatewayLines struct {
	*httptest.Server
	mu     sync.Mutex
	line   map[string]any
	status int
	asked  int
	etag   string
	faults []string
}

func newGatewayLines(t *testing.T) *gatewayLines {
	g := &gatewayLines{status: 200, etag: `"1"`, line: map[string]any{
		"id": "line-7", "aor": "sip:anna@example.com", "display_name": "Anna", "number": "+4930123", "extension": "21",
		"credentials": map[string]string{"username": "anna", "password": "line-secret"},
		"policy":      map[string]any{"sip_devices": true, "language": "de", "codes": []string{"*43"}, "emergency": []string{"19222"}},
	}}
	g.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asked++
		if r.Header.Get("Authorization") != "Bearer box-token" || r.URL.RawQuery != "" || r.URL.EscapedPath() != "/patchbay/v1/lines/anna@example.com%2Fx" {
			g.faults = append(g.faults, r.Method+" "+r.URL.String())
		}
		switch {
		case g.status == 200 && r.Header.Get("If-None-Match") == g.etag:
			w.WriteHeader(304)
		case g.status == 200:
			w.Header().Set("ETag", g.etag)
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(g.line)
		case g.status == 404:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(404)
		default:
			w.WriteHeader(g.status)
		}
	}))
	t.Cleanup(g.Close)
	return g
}

const remoteUser = "anna@example.com/x"

// remoteOffice has one enrolled phone and lines that come from a gateway.
func remoteOffice(t *testing.T) (*office, *gatewayLines, *RemoteLines) {
	o := newOffice(t)
	code := o.code(t, phoneMAC(1))
	if err := o.Redeem(t.Context(), slot(1, 1), code); err != nil {
		t.Fatal(err)
	}
	g := newGatewayLines(t)
	pool := x509.NewCertPool()
	pool.AddCert(g.Certificate())
	c, err := lineapi.NewClient(g.URL+"/patchbay", "box-token", pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return o, g, NewRemoteLines(o.Desk, c)
}

func (o *office) signIn(t *testing.T, r *RemoteLines) Line {
	t.Helper()
	l, err := r.LineOf(t.Context(), remoteUser)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = o.SignInUser(t.Context(), slot(1, 1), l, "anna", nil); err != nil {
		t.Fatal(err)
	}
	r.refresh(t.Context(), l.ID, refreshEvery) // its number here is known now
	return l
}

// TestLineFromGateway signs in to a line of the gateway, follows its changes
// by a refresh and hourly, and signs out who may no longer.
func TestLineFromGateway(t *testing.T) {
	o, g, r := remoteOffice(t)
	ctx := t.Context()
	l := o.signIn(t, r)
	if l.ID <= 0 || l.AuthPassword != "line-secret" || l.Source != "line-7" || l.Policy.Language != "de" || l.Policy.SIPDevices != Allowed || l.Policy.Codes != "*43" || l.Policy.Emergency != "19222" {
		t.Errorf("line %+v", l)
	}
	if !o.MayDial(l, "*43") || o.MayDial(l, "*44") || !o.MayDial(l, "*57") {
		t.Error("the codes of the policy do not hold")
	}
	if p, _ := o.Phone(phoneMAC(1)); p.Language != "de" {
		t.Errorf("the phone speaks %q", p.Language)
	}
	set := func(status int, etag string, policy map[string]any) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.status, g.etag = status, etag
		if policy != nil {
			g.line["policy"] = policy
		}
	}
	asked := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.asked
	}
	// A refresh of the registration brings a change, but not every second.
	set(200, `"2"`, map[string]any{"sip_devices": true, "language": "fr"})
	r.refresh(ctx, l.ID, refreshEvery)
	if now, _ := o.Line(l.ID); now.Policy.Language != "de" {
		t.Error("asked again within a minute")
	}
	o.pass(refreshEvery)
	r.refresh(ctx, l.ID, refreshEvery)
	if now, _ := o.Line(l.ID); now.Policy.Language != "fr" || now.User != remoteUser {
		t.Errorf("after a refresh: %+v", now)
	}
	// What was not changed is not written, and a gateway that is away changes nothing.
	writes := o.store.writes
	for _, status := range []int{200, 500, 401, 302} {
		set(status, `"2"`, nil)
		o.pass(refreshEvery)
		r.refresh(ctx, l.ID, refreshEvery)
	}
	if p, _ := o.Phase(slot(1, 1)); p != SignedIn || o.store.writes != writes {
		t.Errorf("phase %s, %d writes", p, o.store.writes-writes)
	}
	// Nobody refreshes: the hourly round finds it within the hour.
	set(200, `"3"`, map[string]any{"sip_devices": false})
	n, waited := asked(), time.Duration(0)
	for ; waited < 2*time.Hour; waited += refreshEvery {
		o.pass(refreshEvery)
		r.round(ctx)
		if p, _ := o.Phase(slot(1, 1)); p == SignedOut {
			break
		}
	}
	if waited > time.Hour || asked() != n+1 {
		t.Errorf("noticed after %v and %d questions", waited, asked()-n)
	}
	if len(g.faults) > 0 {
		t.Errorf("asked wrongly: %v", g.faults)
	}
}

// TestRevokedAtGateway: without a line, or with one that may not, the user is
// signed out.
func TestRevokedAtGateway(t *testing.T) {
	for _, status := range []int{403, 404} {
		o, g, r := remoteOffice(t)
		l := o.signIn(t, r)
		g.mu.Lock()
		g.status = status
		g.mu.Unlock()
		o.pass(refreshEvery)
		r.refresh(t.Context(), l.ID, refreshEvery)
		if p, _ := o.Phase(slot(1, 1)); p != SignedOut {
			t.Errorf("after %d it is %s", status, p)
		}
		want := ErrUnknownLine
		if status == 403 {
			want = ErrNotAllowed
		}
		if _, err := r.LineOf(t.Context(), remoteUser); !errors.Is(err, want) {
			t.Errorf("after %d: %v", status, err)
		}
	}
	o, g, r := remoteOffice(t)
	g.Close()
	if _, err := r.LineOf(t.Context(), remoteUser); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "box-token") {
		t.Errorf("a gateway that is away: %v", err)
	}
	_ = o
}

// TestRemoteLinesRun wakes by a refresh and ends with its context.
func TestRemoteLinesRun(t *testing.T) {
	o, g, r := remoteOffice(t)
	o.signIn(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- r.Run(ctx) }()
	g.mu.Lock()
	g.status = 403
	g.mu.Unlock()
	o.pass(refreshEvery)
	r.Refreshed(slot(1, 1))
	r.Refreshed(mac.Account{MAC: phoneMAC(9), Slot: 1})
	for range 3000 {
		if p, _ := o.Phase(slot(1, 1)); p == SignedOut {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if p, _ := o.Phase(slot(1, 1)); p != SignedOut {
		t.Errorf("phase %s", p)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
