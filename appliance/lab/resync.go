package lab

import (
	"context"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// notified answers a NOTIFY outside a dialog: the events by which a vendor's
// phones are told to fetch their configuration again.
func (r *run) notified(a *agent, req *sip.Request, tx sip.ServerTransaction) {
	event, params := "", ""
	if h := req.GetHeader("Event"); h != nil {
		event, params, _ = strings.Cut(h.Value(), ";")
		event = strings.ToLower(strings.TrimSpace(event))
	}
	reboot, known := r.asks(event, params)
	if !known {
		a.respond(req, tx, 489, "Bad Event")
		return
	}
	if !r.trusts(a, req, tx, event) {
		return
	}
	a.respond(req, tx, sip.StatusOK, "OK")
	if !r.claim() {
		return
	}
	r.p.step("sip", "is asked to look for a new configuration (%s)", event)
	r.wg.Go(func() { r.resync(reboot) })
}

// asks reads an event in the vendor's dialect.
func (r *run) asks(event, params string) (reboot, known bool) {
	switch {
	case event == "check-sync":
		return strings.Contains(params, "reboot=true"), true
	case r.p.p.dialect == cisco && event == "resync":
		return false, true
	case r.p.p.dialect == cisco && (event == "reboot" || event == "restart_now" || event == "reboot_now"):
		return true, true
	}
	return false, false
}

// trusts challenges the sender where the vendor does (Cisco, unless
// Auth_Resync-Reboot says No): who knows the password of the account may ask.
func (r *run) trusts(a *agent, req *sip.Request, tx sip.ServerTransaction, event string) bool {
	if r.p.p.dialect != cisco {
		return true
	}
	r.mu.Lock()
	values := r.values
	r.mu.Unlock()
	var reg *registration
	for _, candidate := range r.regs() {
		if candidate.a == a {
			reg = candidate
		}
	}
	if reg == nil || !ciscoChallenges(values, reg.account.Slot) {
		return true
	}
	user, stale, err := r.door.check(req, func(user string) (string, bool) {
		return reg.account.Password, user == reg.account.AuthUser
	})
	switch {
	case err != nil:
		r.p.step("sip", "does not obey %s: %v", event, err)
		a.respond(req, tx, sip.StatusForbidden, "Forbidden")
	case user == "" || stale:
		res := r.door.challenge(req, stale)
		_ = tx.Respond(res)
	default:
		return true
	}
	return false
}

// claim lets one resync run at a time.
func (r *run) claim() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy || r.ctx.Err() != nil {
		return false
	}
	r.busy = true
	return true
}

// resync fetches again and applies what is new, or starts the phone anew
// where its vendor's phones would. Never during a call.
func (r *run) resync(reboot bool) {
	release := func() {
		r.mu.Lock()
		r.busy = false
		r.mu.Unlock()
	}
	for r.calls.any() {
		if !sleep(r.ctx, pause()) {
			return
		}
	}
	r.mu.Lock()
	values := r.values
	r.mu.Unlock()
	policy := resyncFetch
	switch r.p.p.dialect {
	case yealink:
		policy = yealinkResync(values, reboot)
	case cisco:
		policy = ciscoResync(values, reboot)
	case poly: // decided by what the files hold
	default:
		if reboot {
			policy = resyncReboot
		}
	}
	if policy == resyncIgnore {
		release()
		return
	}
	if policy == resyncReboot {
		r.restart()
		return
	}
	s, changed, err := r.fetch.fetch(r.ctx)
	if err != nil {
		r.p.step("http", "can't fetch its configuration again: %v", err)
		release()
		return
	}
	version, err := r.fetch.load(r.ctx, s.values)
	if err != nil {
		r.p.step("http", "can't load its firmware: %v", err)
	}
	if version != "" {
		r.flash(version)
		r.restart()
		return
	}
	if r.p.p.dialect == poly && polyResync(s.values, changed) == resyncReboot {
		r.restart()
		return
	}
	if changed && !r.apply(s) {
		r.restart()
		return
	}
	release()
}

// apply takes over what changes nothing about the registrations; it is false
// if more is needed.
func (r *run) apply(s settings) bool {
	r.mu.Lock()
	if len(s.accounts) != len(r.lines) {
		r.mu.Unlock()
		return false
	}
	for i, reg := range r.lines {
		was, is := reg.account, s.accounts[i]
		was.Label, was.Display, was.Transport = is.Label, is.Display, is.Transport
		if was != is {
			r.mu.Unlock()
			return false
		}
	}
	for i, reg := range r.lines {
		reg.relabel(s.accounts[i].Label, s.accounts[i].Display)
		r.p.step("http", "shows account %d as %q now", s.accounts[i].Slot, s.accounts[i].Label)
	}
	r.values = s.values
	r.mu.Unlock()
	r.p.bump()
	return true
}

// restart starts the phone anew. A run can't wait for its own end, so the
// phone does it.
func (r *run) restart() {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != r || p.life.Err() != nil {
		return // switched off meanwhile
	}
	p.step("sip", "restarts")
	p.run = nil
	life := p.life
	p.restarts.Go(func() { p.revive(life, r) })
}

// revive ends a run and begins another, as often as it takes.
func (p *Phone) revive(life context.Context, old *run) {
	old.stop(false)
	for pause := p.cfg.Retry; ; pause = min(2*pause, 30*p.cfg.Retry) {
		r := newRun(p)
		err := r.start(life)
		if err == nil && p.adopt(life, r) {
			return
		}
		r.stop(false)
		if life.Err() != nil {
			return
		}
		p.step("sip", "can't start: %v; tries again", err)
		if !sleep(life, pause) {
			return
		}
	}
}

// adopt makes r the run of the phone, unless it was switched off meanwhile.
func (p *Phone) adopt(life context.Context, r *run) bool {
	p.mu.Lock()
	ok := life.Err() == nil
	if ok {
		p.run = r
	}
	p.mu.Unlock()
	if ok {
		p.bump()
	}
	return ok
}
