package appliance

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
	"patchbay/sipedge"
)

// phoneWay lets the desk reach phones by SIP, in the words of their vendor.
type phoneWay struct{ a *Appliance }

// Resync implements enrol.Notifier.
func (w phoneWay) Resync(acc mac.Account, restart bool) error {
	event := ""
	if p, ok := w.a.directory.Phone(acc.MAC); ok {
		if v, ok := w.a.catalog.Vendor(p.Vendor); ok {
			event = v.Notify.Resync
			if restart {
				event = v.Notify.Reboot
			}
		}
	}
	if event == "" && restart {
		event = "check-sync;reboot=true"
	}
	return reachable(w.a.endpoint.Resync(acc, event))
}

// Alive implements enrol.Notifier.
func (w phoneWay) Alive(acc mac.Account) error { return reachable(w.a.endpoint.Alive(acc)) }

// InCall implements enrol.Notifier.
func (w phoneWay) InCall(m mac.Addr) bool {
	return slices.ContainsFunc(w.a.sip.Calls(), func(c sipedge.ActiveCall) bool { return c.From.Account.MAC == m || c.To.Account.MAC == m })
}

// reachable says in the words of enrol that there is no way to a phone.
func reachable(err error) error {
	if errors.Is(err, sipedge.ErrNotRegistered) || errors.Is(err, sipedge.ErrFlowLost) {
		return errors.Join(enrol.ErrOffline, err)
	}
	return err
}

// twoSourcesFor is how long a device identity that was used from two addresses
// counts as stolen, and within how long it must have gone back and forth: a
// phone that moves comes from another address once, and never from the old one
// again.
const twoSourcesFor = time.Hour

// sources remembers from which addresses each account registered, to notice
// that two devices use one identity.
type sources struct {
	mu   sync.Mutex
	seen map[mac.Account][]sighting // newest first, three at most
	two  map[mac.Account]twoSources
}

type sighting struct {
	ip netip.Addr
	at time.Time
}

// twoSources is an account that is used from two addresses.
type twoSources struct {
	account mac.Account
	ip      netip.Addr
	other   netip.Addr
	since   time.Time
	last    time.Time
}

// saw notes a registration. It returns the other address if the account has
// just come back from the one that it used before that.
func (s *sources) saw(a mac.Account, ip netip.Addr, now time.Time) (other netip.Addr, twice bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen, s.two = map[mac.Account][]sighting{}, map[mac.Account]twoSources{}
	}
	list := s.seen[a]
	if len(list) > 0 && list[0].ip == ip {
		list[0].at = now
		return netip.Addr{}, false
	}
	list = slices.Insert(list, 0, sighting{ip, now})
	s.seen[a] = list[:min(3, len(list))]
	if len(list) < 3 || list[2].ip != ip || now.Sub(list[2].at) > twoSourcesFor {
		return netip.Addr{}, false
	}
	t, known := s.two[a]
	if !known || now.Sub(t.last) > twoSourcesFor {
		t = twoSources{account: a, ip: ip, other: list[1].ip, since: now}
	}
	t.last = now
	s.two[a] = t
	return list[1].ip, true
}

// stolen returns the accounts that are used from two addresses now.
func (s *sources) stolen(now time.Time) []twoSources {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []twoSources
	for a, t := range s.two {
		if now.Sub(t.last) > twoSourcesFor {
			delete(s.two, a)
			continue
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(x, y twoSources) int { return x.account.Compare(y.account) })
	return out
}

// of returns the addresses of an account if they are more than one now.
func (s *sources) of(a mac.Account, now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.two[a]
	if !ok || now.Sub(t.last) > twoSourcesFor {
		return nil
	}
	return []string{t.ip.String(), t.other.String()}
}

// noteSource raises the alarm when two devices use one identity.
func (a *Appliance) noteSource(acc mac.Account, ip netip.Addr) {
	now := a.now()
	if other, twice := a.sources.saw(acc, ip, now); twice {
		a.tell(acc.MAC, story.Event{Time: now, Proto: story.SIP, Code: story.TwoSources, Args: story.Args{Account: acc, IP: ip, Peer: other}})
	}
}

// presence tells the desk which accounts can be reached.
type presence struct{ a *Appliance }

// Online implements enrol.Presence.
func (p presence) Online(acc mac.Account) bool {
	b, ok := p.a.endpoint.Location().Binding(acc)
	return ok && !b.FlowLost
}

// Sources implements enrol.Presence.
func (p presence) Sources(acc mac.Account) []string { return p.a.sources.of(acc, p.a.now()) }
