package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/sipedge"
)

// emergencies remembers what the page has to say about emergency calls, and
// tells the webhook. It is a task.
type emergencies struct {
	webhook string
	client  *http.Client
	log     *slog.Logger
	queue   chan sipedge.EmergencyCall

	mu     sync.Mutex
	failed sipedge.EmergencyCall // the last one that did not reach the emergency services
}

// webhookTries is how often a step is told; the pause doubles each time.
const webhookTries = 5

func newEmergencies(webhook string, log *slog.Logger) *emergencies {
	return &emergencies{
		webhook: webhook, client: &http.Client{Timeout: 10 * time.Second}, log: log.With("component", "emergency"),
		queue: make(chan sipedge.EmergencyCall, 64),
	}
}

// tell takes a step of an emergency call. It does not block.
func (e *emergencies) tell(c sipedge.EmergencyCall) {
	e.mu.Lock()
	if c.Stage == sipedge.HelpNotReached || c.Stage == sipedge.HelpOnSite {
		e.failed = c
	}
	e.mu.Unlock()
	select {
	case e.queue <- c:
	default:
		e.log.Error("too many steps of emergency calls wait for the webhook", "call", c.ID)
	}
}

// lately returns the last emergency call that did not reach the services, if
// it was within a day.
func (e *emergencies) lately(now time.Time) (sipedge.EmergencyCall, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed, !e.failed.Time.IsZero() && now.Sub(e.failed.Time) < 24*time.Hour
}

// String names the task.
func (e *emergencies) String() string { return "emergency webhook" }

// Run posts the steps in their order until ctx ends.
func (e *emergencies) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-e.queue:
			if e.webhook != "" {
				e.deliver(ctx, c)
			}
		}
	}
}

func (e *emergencies) deliver(ctx context.Context, c sipedge.EmergencyCall) {
	body, err := json.Marshal(notice(c))
	if err != nil {
		e.log.Error("webhook", "err", err)
		return
	}
	pause := time.Second
	for try := range webhookTries {
		if err = e.post(ctx, body); err == nil {
			return
		}
		e.log.Warn("the webhook was not told of an emergency call", "call", c.ID, "try", try+1, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause *= 2
		}
	}
}

func (e *emergencies) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.webhook, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address can't be used") // it may hold a secret
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(req)
	if err != nil {
		return errors.New("no answer")
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %d", res.StatusCode)
	}
	return nil
}

// webhookNotice is what the webhook gets.
type webhookNotice struct {
	Event    string        `json:"event"` // "emergency-call"
	Call     string        `json:"call"`
	Time     time.Time     `json:"time"`
	Stage    string        `json:"stage"` // dialled, reached, on-site, not-reached, given-up
	Way      string        `json:"way,omitempty"`
	Dialled  string        `json:"dialled"`
	Phone    string        `json:"phone,omitempty"`
	Name     string        `json:"name"`
	From     string        `json:"from"`
	Shown    string        `json:"shown,omitempty"`
	Location api.HelpPlace `json:"location"`
}

func notice(c sipedge.EmergencyCall) webhookNotice {
	n := webhookNotice{
		Event: "emergency-call", Call: c.ID, Time: c.Time, Stage: c.Stage, Way: c.Way, Dialled: c.Dialled, Name: c.Name, From: c.From,
		Shown: c.Shown, Location: helpPlace(c.Place),
	}
	if !c.Account.MAC.IsZero() {
		n.Phone = c.Account.MAC.String()
	}
	return n
}

func helpPlace(p sipedge.Place) api.HelpPlace {
	out := api.HelpPlace{Known: p.Known(), Name: p.Name, How: p.How}
	var words []string
	for _, c := range p.Civic {
		words = append(words, c.Element+" "+c.Value)
	}
	out.Address = strings.Join(words, ", ")
	if p.HasPoint {
		out.Point = fmt.Sprintf("%g, %g", p.Latitude, p.Longitude)
	}
	return out
}

// locator says where phones are, by the configuration and the inventory.
type locator struct{ a *Appliance }

// Locate implements sipedge.Locator. What the network says now counts more
// than what somebody wrote down once.
func (l locator) Locate(acc mac.Account, ip netip.Addr, reported string) sipedge.Place {
	a := l.a
	find := func(how string, fits func(Place) bool) (sipedge.Place, bool) {
		i := slices.IndexFunc(a.cfg.Locations, fits)
		if i < 0 {
			return sipedge.Place{}, false
		}
		return a.cfg.Locations[i].place(how), true
	}
	if reported != "" {
		if p, ok := find("the phone's own report", func(p Place) bool {
			return slices.ContainsFunc(p.AccessInfos, func(s string) bool { return s != "" && strings.Contains(reported, s) })
		}); ok {
			return p
		}
	}
	if circuit := a.ports.of(acc.MAC); circuit != "" {
		if p, ok := find("its switch port (option 82)", func(p Place) bool { return slices.Contains(p.CircuitIDs, circuit) }); ok {
			return p
		}
	}
	if port := a.switchPort(acc.MAC); port != "" {
		if p, ok := find("its switch port (SNMP)", func(p Place) bool {
			return slices.ContainsFunc(p.SwitchPorts, func(s string) bool { return atPort(s, port) })
		}); ok {
			return p
		}
	}
	if p, ok := find("the list of phones", func(p Place) bool { return slices.Contains(p.Phones, acc.MAC) }); ok {
		return p
	}
	if r, ok := a.directory.Account(acc); ok && r.Location != "" {
		if p, ok := find("the page of the phone", func(p Place) bool { return p.Name == r.Location }); ok {
			return p
		}
		return sipedge.Place{Name: r.Location, How: "the page of the phone"}
	}
	if r, ok := a.directory.Account(acc); ok {
		if name := a.directory.PolicyOf(a.lineOf(r.LineID)).Location; name != "" {
			if p, ok := find("the policy", func(p Place) bool { return p.Name == name }); ok {
				return p
			}
		}
	}
	if ip.IsValid() {
		p, _ := find("its network", func(p Place) bool {
			return slices.ContainsFunc(p.Subnets, func(n netip.Prefix) bool { return n.Contains(ip) })
		})
		return p
	}
	return sipedge.Place{}
}

// Help implements [api.Help].
func (b backend) Help(_ context.Context, m mac.Addr) ([]api.HelpView, error) {
	p, ok := b.a.directory.Phone(m)
	if !ok {
		return nil, api.ErrNotFound
	}
	var out []api.HelpView
	for _, acc := range p.Accounts {
		v := b.a.sip.EmergencyView(acc.Account)
		out = append(out, api.HelpView{
			Slot: int(acc.Slot), Numbers: v.Numbers, Ways: v.Ways, Line: v.Line, Shown: v.Shown, Location: helpPlace(v.Place), Test: v.Test, OnSite: v.OnSite,
		})
	}
	return out, nil
}
