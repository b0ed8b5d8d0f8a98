package appliance

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/store"
	"patchbay/appliance/story"
	"patchbay/appliance/web"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
	"patchbay/sipedge"
)

// backend shows the box to page, API and command line. It translates between
// their views and the packages, and holds no state but what is cached.
type backend struct {
	a *Appliance
}

var _ web.Backend = backend{}

// Snapshot implements api.Backend.
func (b backend) Snapshot() api.Snapshot {
	a := b.a
	s := api.Snapshot{
		Name: a.cfg.Box.Name, Version: a.opt.Version, Now: a.now(), Started: a.started,
		Tunnel: b.tunnel(), Problems: problems(b.condition()), Calls: []api.Call{}, Pools: []api.Pool{}, Neighbors: a.neighbors(), Interfaces: b.interfaces(),
	}
	for _, p := range b.all() {
		s.Phones.Add(p.State)
	}
	for _, c := range a.sip.Calls() {
		s.Calls = append(s.Calls, api.Call{
			ID: c.ID, From: party(c.From), To: party(c.To), Via: c.Via, Start: c.Start, Answered: c.Answered, Emergency: c.Emergency,
			A: legQuality(c.A, c.From, c.Via), B: legQuality(c.B, c.To, c.Via),
		})
	}
	for _, d := range a.dhcp {
		for _, p := range d.server.Pools() {
			s.Pools = append(s.Pools, api.Pool{Interface: d.lan.Interface, First: p.Pool.First, Last: p.Pool.Last, Used: used(p), Size: p.Size - p.Kept})
		}
	}
	return s
}

// used counts the addresses of a pool that no new client can get.
func used(u dhcp.Usage) int { return u.Bound + u.Offered + u.Declined }

func party(p sipedge.Party) api.Party {
	return api.Party{MAC: p.Account.MAC, Number: p.Number, Name: p.Name}
}

func (b backend) tunnel() api.Tunnel {
	a := b.a
	t := api.Tunnel{Configured: a.uplink != nil, Gateway: a.cfg.Gateway.Address, Registrations: []api.Registration{}}
	if a.uplink == nil {
		return t
	}
	up, since, fault, public := a.uplink.Status()
	t.Up, t.Since, t.Detail = up, since, fault
	if up && public.IsValid() {
		t.Detail = "the gateway sees us at " + public.Addr().String()
	}
	for i, l := range a.uplink.Links() {
		switch {
		case l.Active && i > 0: // its name tells that it is not the usual one
			t.Gateway = l.Address
		case i == 0 && !l.Up && up:
			t.Detail = "instead of " + l.Address + ": " + l.Fault
		}
	}
	for _, r := range a.sip.Upstream() {
		name := r.AOR
		if l, ok := a.directory.Line(r.LineID); ok {
			name = l.Name()
		}
		t.Registrations = append(t.Registrations, api.Registration{
			Line: r.LineID, Name: name, AOR: r.AOR, OK: r.State == sipedge.RegRegistered, Since: r.Since, Detail: registrationWords(r),
		})
	}
	return t
}

func registrationWords(r sipedge.UpstreamStatus) string {
	switch r.State {
	case sipedge.RegRegistered:
		return ""
	case sipedge.RegWaiting:
		return "waiting for the connection"
	case sipedge.RegRefused:
		return "the gateway said: " + strings.TrimSpace(itoa(r.Status)+" "+r.Text)
	default:
		return "waiting for the gateway's answer"
	}
}

// condition gathers what problems are told from.
func (b backend) condition() condition {
	a := b.a
	c := condition{gatewayConfigured: a.uplink != nil, gateway: a.cfg.Gateway.Address, siteLineConfigured: a.siteLine != 0}
	if a.uplink != nil {
		c.gatewayUp, c.gatewaySince, c.gatewayDetail, _ = a.uplink.Status()
		for _, r := range a.sip.Upstream() {
			if r.LineID == a.siteLine {
				c.siteLineOK, c.siteLineSince, c.siteLineDetail = r.State == sipedge.RegRegistered, r.Since, registrationWords(r)
			}
		}
	}
	for _, d := range a.dhcp {
		use := poolUse{iface: d.lan.Interface}
		for _, p := range d.server.Pools() {
			use.used += used(p)
			use.size += p.Size - p.Kept
		}
		c.pools = append(c.pools, use)
		b.dhcpTrouble(&c, d)
	}
	if a.pnp != nil {
		for _, h := range a.pnp.Held() {
			c.pnpHeld = append(c.pnpHeld, pnpHeld{mac: h.MAC, ip: h.IP, reason: h.Reason, since: h.First})
		}
	}
	c.helpless, c.helplessKnown = a.help.lately(a.now())
	if t := a.sip.Trunk(); t.Configured {
		c.trunk, c.trunkUp = t.Address.String(), t.Up
	}
	c.onSite = len(a.cfg.Emergency.OnSite) > 0
	c.deaf = a.deaf()
	if d, ok := a.drills.last(); ok {
		c.drillFaults, c.drillBegan = d.Faults(), d.Began
	}
	if a.switches != nil {
		c.silentSwitches = a.switches.Faults()
	}
	c.stolen = a.sources.stolen(a.now())
	if a.order != nil {
		_, c.orderFault = a.order.last()
	}
	if leaf := a.doors.publicKey.leaf(); leaf != nil {
		c.publicEnds, c.uploaded = leaf.NotAfter, a.doors.publicKey.source() == certUploaded
	}
	c.now = a.now()
	c.walks, c.noHTTPS = a.provision.Walks(), a.doors.noHTTPS
	c.halted, c.tooOld = a.rollouts.Halted(), a.tooOld()
	stats := a.db.Stats()
	c.dropped = stats.StoryDropped + stats.CallsDropped
	if stats.LastError != nil && a.now().Sub(stats.LastFailure) < time.Minute {
		c.storeErr = stats.LastError.Error()
	}
	c.clockUnset = a.now().Before(notBefore)
	return c
}

// all returns every phone, ordered by MAC address.
func (b backend) all() []api.Phone {
	leases := map[mac.Addr]netip.Addr{}
	now := b.a.now()
	for _, d := range b.a.dhcp {
		for _, l := range d.server.Leases() {
			if (l.State == dhcp.Bound || l.State == dhcp.Relayed) && now.Before(l.Expires) {
				leases[l.MAC] = l.IP
			}
		}
	}
	phones := b.a.directory.Phones()
	out := make([]api.Phone, 0, len(phones))
	for _, p := range phones {
		out = append(out, b.view(p, leases[p.MAC]))
	}
	slices.SortFunc(out, func(x, y api.Phone) int { return x.MAC.Compare(y.MAC) })
	return out
}

// view is one phone as people see it. leased is the address of our lease, if
// there is one.
func (b backend) view(p enrol.PhoneSummary, leased netip.Addr) api.Phone {
	v := api.Phone{
		MAC: p.MAC, Vendor: b.a.vendorTitle(p.Vendor), Model: p.Model, Firmware: p.Firmware, FirmwareGap: b.a.gapWords(p.Vendor, p.Model, p.Firmware), FirstSeen: p.FirstSeen, LastSeen: p.LastSeen,
		IP: leased, Accounts: make([]api.Account, 0, len(p.Accounts)),
	}
	for _, acc := range p.Accounts {
		account := api.Account{
			Slot: acc.Account.Slot, Phase: string(acc.Phase), Location: acc.Location, SignedIn: acc.SignedIn, SignedOut: acc.SignedOut,
			By: acc.By, IdentityPending: acc.Pending,
		}
		if l, ok := b.a.directory.Line(acc.LineID); ok && acc.LineID != 0 {
			account.Line = &api.LineRef{ID: l.ID, Name: l.Name(), Number: l.Number, Extension: l.Extension}
		}
		binding, live := b.a.endpoint.Location().Binding(acc.Account)
		if live {
			account.Transport, account.Source, account.Expires, account.FlowLost = binding.Transport, binding.Source, binding.Expires, binding.FlowLost
			if !v.IP.IsValid() {
				v.IP = binding.Source.Addr()
			}
		}
		account.State = api.StateOf(b.a.ever.has(acc.Account), live && !binding.FlowLost, account.Line != nil)
		v.Accounts = append(v.Accounts, account)
	}
	if !v.IP.IsValid() {
		v.IP = p.Address
	}
	if v.IP.IsValid() {
		if m, evidence := b.a.whois.Whois(v.IP); m == p.MAC {
			v.Evidence = evidence.String()
		}
	}
	v.State = api.StateOfPhone(v.Accounts)
	b.enrolment(&v, p)
	return v
}

// Phones implements api.Inventory.
func (b backend) Phones(_ context.Context, q api.Query) (api.Phones, error) {
	var match []api.Phone
	for _, p := range b.all() {
		if (q.State == "" || p.State == q.State) && matches(p, strings.ToLower(q.Text)) {
			match = append(match, p)
		}
	}
	out := api.Phones{Total: len(match), Offset: q.Offset, Phones: []api.Phone{}}
	if q.Offset < len(match) {
		out.Phones = match[q.Offset:min(len(match), q.Offset+max(1, q.Limit))]
	}
	return out, nil
}

func matches(p api.Phone, text string) bool {
	if text == "" {
		return true
	}
	fields := []string{p.MAC.String(), p.MAC.Hex(), p.Vendor, p.Model, show(p.IP)}
	for _, a := range p.Accounts {
		if a.Line != nil {
			fields = append(fields, a.Line.Name, a.Line.Number, a.Line.Extension)
		}
	}
	return slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(strings.ToLower(f), text) })
}

// Phone implements api.Inventory.
func (b backend) Phone(_ context.Context, m mac.Addr) (api.Phone, error) {
	for _, p := range b.all() {
		if p.MAC == m {
			return p, nil
		}
	}
	return api.Phone{}, api.ErrNotFound
}

// PhonePasswords implements api.Inventory.
func (b backend) PhonePasswords(ctx context.Context, m mac.Addr) (api.Passwords, error) {
	if !b.a.directory.Known(m) {
		return api.Passwords{}, b.audited(ctx, "passwords", m.String(), "", api.ErrNotFound)
	}
	p := b.a.directory.Passwords(m)
	return api.Passwords{Admin: p.Admin, User: p.User}, b.audited(ctx, "passwords", m.String(), "", nil)
}

// Story implements api.Stories.
func (b backend) Story(ctx context.Context, m mac.Addr, before int64, limit int) ([]api.Entry, error) {
	page, err := b.a.db.Story().Page(ctx, m, before, limit)
	if err != nil {
		return nil, err
	}
	return entries(page), nil
}

func entries(page []store.Entry) []api.Entry {
	out := make([]api.Entry, len(page))
	for i, e := range page {
		out[i] = api.NewEntry(e.ID, e.Event)
	}
	return out
}

// Subscribe implements api.Stories.
func (b backend) Subscribe(m mac.Addr) (<-chan api.Entry, func()) {
	in, stop := b.a.db.Story().Subscribe(m)
	out := make(chan api.Entry)
	done := make(chan struct{})
	go func() {
		defer close(out)
		for e := range in {
			select {
			case out <- api.NewEntry(e.ID, e.Event):
			case <-done:
				return
			}
		}
	}()
	return out, sync.OnceFunc(func() { close(done); stop() })
}

// Lines implements api.Lines.
func (b backend) Lines(context.Context) ([]api.Line, error) {
	lines := b.a.directory.Lines()
	out := make([]api.Line, len(lines))
	for i, l := range lines {
		out[i] = b.line(l)
	}
	slices.SortFunc(out, func(x, y api.Line) int {
		return cmp.Or(cmp.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name)), cmp.Compare(x.ID, y.ID))
	})
	return out, nil
}

func (b backend) line(l enrol.Line) api.Line {
	on := b.a.directory.OnLine(l.ID)
	if on == nil {
		on = []mac.Account{}
	}
	return api.Line{
		ID: l.ID, Name: l.Name(), AOR: l.AOR, Number: l.Number, Extension: l.Extension, AuthUser: l.AuthUser,
		HasPassword: l.AuthPassword != "", Site: l.Site, Pinned: l.ID == b.a.siteLine, Accounts: on,
	}
}

// Line implements api.Lines.
func (b backend) Line(_ context.Context, id int64) (api.Line, error) {
	l, ok := b.a.directory.Line(id)
	if !ok {
		return api.Line{}, api.ErrNotFound
	}
	return b.line(l), nil
}

// noDomain stands in addresses of record while there is no gateway (RFC 2606).
const noDomain = "patchbay.invalid"

// PutLine implements api.Lines.
func (b backend) PutLine(ctx context.Context, e api.LineEdit) (api.Line, error) {
	if n := b.a.emergencyPrefix(e.Extension); n != "" {
		return api.Line{}, &api.Invalid{Field: "extension", Text: "choose another extension: phones dial at once what begins with the emergency number " + n}
	}
	if e.AOR == "" { // the gateway knows most lines by their number
		e.AOR = "sip:" + cmp.Or(e.Number, e.Extension) + "@" + cmp.Or(b.a.cfg.Gateway.Domain, noDomain)
	}
	l := enrol.Line{ID: e.ID, AOR: e.AOR, DisplayName: e.Name, Number: e.Number, Extension: e.Extension, AuthUser: e.AuthUser}
	if e.ID != 0 {
		old, ok := b.a.directory.Line(e.ID)
		if !ok {
			return api.Line{}, api.ErrNotFound
		}
		if old.ID == b.a.siteLine {
			return api.Line{}, &api.Invalid{Text: "the site line is set in patchbay.toml; change it there"}
		}
		l.Site, l.AuthPassword = old.Site, old.AuthPassword
	}
	if e.Password != nil {
		l.AuthPassword = *e.Password
	}
	stored, err := b.a.desk.PutLine(ctx, l)
	if err := b.audited(ctx, "put-line", "line "+itoa(int(stored.ID)), l.Name(), said(err)); err != nil {
		return api.Line{}, err
	}
	return b.line(stored), nil
}

// DeleteLine implements api.Lines.
func (b backend) DeleteLine(ctx context.Context, id int64) error {
	err := b.a.desk.DeleteLine(ctx, id)
	if err == nil { // the number may be given to another line one day
		b.a.settings.Forget(id)
	}
	return b.audited(ctx, "delete-line", "line "+itoa(int(id)), "", said(err))
}

// AddPhone implements api.Desk.
func (b backend) AddPhone(ctx context.Context, m mac.Addr, slots int) error {
	return b.audited(ctx, "add-phone", m.String(), "", said(b.addPhone(ctx, m, slots)))
}

func (b backend) addPhone(ctx context.Context, m mac.Addr, slots int) error {
	if _, err := b.a.directory.Enlist(ctx, provision.Sighting{MAC: m}); err != nil {
		return err
	}
	if err := b.a.desk.EnrolPhone(ctx, m); err != nil || slots == 0 {
		return err
	}
	return b.a.desk.SetSlots(ctx, m, slots)
}

// Assign implements api.Desk.
func (b backend) Assign(ctx context.Context, acc mac.Account, line int64) error {
	return b.audited(ctx, "sign-in", acc.String(), "line "+itoa(int(line)), said(b.a.desk.Assign(ctx, acc, line)))
}

// Unassign implements api.Desk.
func (b backend) Unassign(ctx context.Context, acc mac.Account) error {
	return b.audited(ctx, "sign-out", acc.String(), "", said(b.a.desk.Unassign(ctx, acc)))
}

// ApproveAddress implements api.Desk.
func (b backend) ApproveAddress(ctx context.Context, ip netip.Addr, m mac.Addr, once bool) error {
	return b.audited(ctx, "approve", m.String(), ip.String(), said(b.a.desk.Approve(ctx, ip, m, once)))
}

// OpenWindow implements api.Desk.
func (b backend) OpenWindow(ctx context.Context, m mac.Addr) error {
	if _, ok := b.a.directory.Phone(m); !ok {
		return b.audited(ctx, "window", m.String(), "", api.ErrNotFound)
	}
	b.a.windows.Open(m, netip.Addr{}, story.WindowByAdmin)
	return b.audited(ctx, "window", m.String(), "", nil)
}

// Resync implements api.Desk.
func (b backend) Resync(ctx context.Context, acc mac.Account) error {
	err := error(api.ErrOffline)
	if _, ok := b.a.directory.Account(acc); !ok {
		err = api.ErrNotFound
	} else if presence(b).Online(acc) {
		_, err = b.a.desk.Ask(acc, enrol.Resync)
		err = said(err)
	}
	return b.audited(ctx, "resync", acc.String(), "", err)
}

// fieldOf is how the sentences of enrol begin, and the field of the form that
// each is about.
var fieldOf = []struct{ prefix, field string }{
	{"address ", "aor"},
	{"name ", "name"},
	{"number ", "number"},
	{"extension ", "extension"},
	{"user name ", "auth_user"},
	{"password ", "password"},
}

// invalid says what is wrong without the words by which programs tell errors
// apart, and names the field if one alone is at fault.
func invalid(err error) *api.Invalid {
	text := err.Error()
	for _, mark := range []error{enrol.ErrConflict, enrol.ErrInvalid, enrol.ErrTransition} {
		text = strings.ReplaceAll(text, ", "+mark.Error(), "")
		text = strings.ReplaceAll(text, ": "+mark.Error(), "")
	}
	out := &api.Invalid{Text: strings.ReplaceAll(text, "\n", "; ")}
	if strings.Contains(text, "\n") {
		return out
	}
	for _, f := range fieldOf {
		if strings.HasPrefix(text, f.prefix) {
			out.Field = f.field
		}
	}
	return out
}

// The settings that guard the page.
const (
	settingSetUpCode = "page.set-up-code"
	settingPassword  = "page.password-hash"
)

// Access implements web.Gatekeeper.
func (b backend) Access(ctx context.Context) (web.Access, error) {
	hash, _, err := b.a.db.Settings().Get(ctx, settingPassword)
	if err != nil || hash != "" {
		// A password makes the code worthless, deleted or not.
		return web.Access{PasswordHash: hash}, err
	}
	code, _, err := b.a.db.Settings().Get(ctx, settingSetUpCode)
	return web.Access{SetUpCode: code}, err
}

// Claim implements web.Gatekeeper.
func (b backend) Claim(ctx context.Context, passwordHash string) error {
	return b.audited(ctx, "set-up", "", "", b.setUp(ctx, passwordHash))
}

func (b backend) setUp(ctx context.Context, passwordHash string) error {
	b.a.claim.Lock()
	defer b.a.claim.Unlock()
	access, err := b.Access(ctx)
	if err != nil {
		return err
	}
	if access.PasswordHash != "" {
		return errors.New("the box has a password already")
	}
	if err := b.a.db.Settings().PutSecret(ctx, settingPassword, passwordHash); err != nil {
		return err
	}
	return b.a.db.Settings().Delete(ctx, settingSetUpCode)
}

// accountSet remembers accounts that have registered since the start.
type accountSet struct {
	mu  sync.Mutex
	set map[mac.Account]bool
}

func (s *accountSet) add(a mac.Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = map[mac.Account]bool{}
	}
	s.set[a] = true
}

func (s *accountSet) has(a mac.Account) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set[a]
}
