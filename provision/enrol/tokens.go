package enrol

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// ErrGrantOver: the identity provider gives no more tokens for this user, who
// was locked out there, or whose session ended (RFC 6749 §5.2, invalid_grant).
var ErrGrantOver = errors.New("the identity provider gives no more tokens for this user")

// The times of access tokens.
const (
	tokenLook    = 10 * time.Second // how often they are looked at
	tokenAhead   = time.Minute      // a new one is there before the old one ends
	tokenRetry   = 30 * time.Second // after the provider was not reached
	tokenLife    = 5 * time.Minute  // of one that does not tell (RFC 6749 §5.1 only recommends it)
	tokensAtOnce = 4                // requests to the provider at a time
)

// renewed is what a provider gives for a refresh token.
type renewed struct {
	access  string
	refresh string // the same, or the one that replaces it
	life    time.Duration
}

// lifeOf is how long an access token is good from now.
func lifeOf(t *oauth2.Token) time.Duration {
	if t.Expiry.IsZero() {
		return tokenLife
	}
	return time.Until(t.Expiry)
}

// renew asks for a new access token (RFC 6749 §6). The error wraps
// [ErrGrantOver] or [ErrUnreachable], or [ErrProvider] for any other refusal.
func (p *Provider) renew(ctx context.Context, refresh string) (renewed, error) {
	cfg, _, err := p.config(ctx)
	if err != nil {
		return renewed{}, err
	}
	t, err := cfg.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, p.http), &oauth2.Token{RefreshToken: refresh}).Token()
	if err != nil {
		if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.ErrorCode == "invalid_grant" && e.Response != nil && e.Response.StatusCode < http.StatusInternalServerError {
			return renewed{}, ErrGrantOver
		}
		return renewed{}, judge(err)
	}
	return renewed{access: t.AccessToken, refresh: cmp.Or(t.RefreshToken, refresh), life: lifeOf(t)}, nil
}

// serves reports whether a token of this provider is meant for an
// authorization server that somebody names; an empty name means any.
func (p *Provider) serves(server string) bool {
	if server == "" {
		return true
	}
	theirs, err := url.Parse(server)
	ours, fault := url.Parse(p.cfg.Issuer)
	return err == nil && fault == nil && theirs.Scheme == ours.Scheme && strings.EqualFold(theirs.Host, ours.Host)
}

// Tokens keeps the access tokens of the users who are signed in, for a gateway
// whose lines register with them (RFC 8898). They are in memory only; what
// they are renewed with is sealed on disk. It is a task.
type Tokens struct {
	desk     *Desk
	provider *Provider
	wake     chan struct{}

	mu   sync.Mutex
	next map[mac.Account]time.Time // not before: the provider was not reached
}

// NewTokens makes the keeper of a desk's tokens; nothing is asked before Run.
func NewTokens(d *Desk, p *Provider) *Tokens {
	return &Tokens{desk: d, provider: p, wake: make(chan struct{}, 1), next: make(map[mac.Account]time.Time)}
}

// Has reports whether somebody is signed in to a line whose tokens can be
// renewed. It does not block.
func (x *Tokens) Has(line int64) bool {
	_, ok := x.desk.grantOn(line)
	return ok
}

// Token returns the access token of the user who is signed in to a line.
// server is the authorization server that a gateway named, refused says that
// it did not take the last one, which is thrown away then. It does not block:
// while there is none, the error says that one is asked for.
func (x *Tokens) Token(line int64, server string, refused bool) (string, error) {
	if !x.provider.serves(server) {
		return "", fmt.Errorf("the gateway wants tokens of %s; those of %s are not for it", clip(server), x.provider.cfg.Issuer)
	}
	g, ok := x.desk.grantOn(line)
	if !ok {
		return "", errors.New("nobody is signed in to the line by the identity provider")
	}
	if refused {
		x.desk.spend(g)
		g.Access = ""
	}
	if g.Access == "" || !x.desk.now().Before(g.Expires) {
		x.Look()
		return "", errors.New("a new access token is asked for")
	}
	return g.Access, nil
}

// Look has the tokens looked at now: somebody signed in, or a token is spent.
func (x *Tokens) Look() { put(x.wake) }

// String names the task.
func (x *Tokens) String() string { return "access tokens" }

// Run renews tokens until ctx ends.
func (x *Tokens) Run(ctx context.Context) error {
	ticker := time.NewTicker(tokenLook)
	defer ticker.Stop()
	for {
		x.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-x.wake:
		}
	}
}

// round renews all tokens that end soon, some at a time.
func (x *Tokens) round(ctx context.Context) {
	var all sync.WaitGroup
	places := make(chan struct{}, tokensAtOnce)
	for _, g := range x.desk.grantList() {
		if !x.due(g) {
			continue
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-places }()
			x.renew(ctx, g)
		})
	}
	all.Wait()
}

func (x *Tokens) due(g Grant) bool {
	now := x.desk.now()
	x.mu.Lock()
	defer x.mu.Unlock()
	return !now.Before(x.next[g.Account]) && (g.Access == "" || g.Expires.Sub(now) < tokenAhead)
}

// renew gets a new token for a user. Where the provider gives none any more,
// a line that has no password can't register: its phones are signed out
// rather than left signed in and deaf. Other lines go on without a token.
func (x *Tokens) renew(ctx context.Context, g Grant) {
	got, err := x.provider.renew(ctx, g.Refresh)
	if err == nil {
		next := g
		next.Access, next.Refresh, next.Expires = got.access, got.refresh, x.desk.now().Add(got.life)
		err = x.desk.putGrant(ctx, g, next)
	}
	x.mu.Lock()
	delete(x.next, g.Account)
	if err != nil {
		x.next[g.Account] = x.desk.now().Add(tokenRetry)
	} else if got.life < tokenAhead { // a provider whose tokens are that short
		x.next[g.Account] = x.desk.now().Add(min(tokenRetry, got.life/2))
	}
	x.mu.Unlock()
	switch {
	case err == nil:
		x.desk.change()
	case errors.Is(err, ErrGrantOver):
		x.over(ctx, g)
	}
}

func (x *Tokens) over(ctx context.Context, g Grant) {
	a, ok := x.desk.Account(g.Account)
	if l, known := x.desk.Line(a.LineID); ok && known && l.AuthUser == "" {
		_ = x.desk.SignOutAll(ctx, []mac.Account{g.Account}, story.GrantOver)
		return
	}
	_ = x.desk.dropGrant(ctx, g)
}

// grantOn finds a grant with a refresh token among those who are signed in to
// a line: the one whose access token is good for longest.
func (d *Directory) grantOn(line int64) (best Grant, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for key, g := range d.grants {
		if a, have := d.account(key); have && a.LineID == line && g.Refresh != "" && (!ok || g.Expires.After(best.Expires)) {
			best, ok = g, true
		}
	}
	return best, ok
}

// grantList returns the grants that can be renewed.
func (d *Directory) grantList() []Grant {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]Grant, 0, len(d.grants))
	for _, g := range d.grants {
		if g.Refresh != "" {
			out = append(out, g)
		}
	}
	return out
}

// spend throws an access token away, if it is still that one.
func (d *Directory) spend(g Grant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have := d.grants[g.Account]; have.Access == g.Access {
		have.Access, have.Expires = "", time.Time{}
		d.grants[g.Account] = have
	}
}

// putGrant puts a newer grant in the place of one, unless somebody else signed
// in meanwhile. The disk is touched only if the refresh token is another one.
func (d *Desk) putGrant(ctx context.Context, old, next Grant) error {
	return d.inTurn(ctx, old.Account.MAC, func() error {
		d.mu.Lock()
		have, ok := d.grants[old.Account]
		same := ok && have.Refresh == old.Refresh
		if same && next.Refresh == old.Refresh {
			d.grants[old.Account] = next
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		if !same {
			return nil
		}
		_, err := d.apply(ctx, Change{Grants: []Grant{next}})
		return err
	})
}

// dropGrant forgets a grant that is over.
func (d *Desk) dropGrant(ctx context.Context, g Grant) error {
	return d.inTurn(ctx, g.Account.MAC, func() error {
		d.mu.RLock()
		same := d.grants[g.Account].Refresh == g.Refresh
		d.mu.RUnlock()
		if !same {
			return nil
		}
		_, err := d.apply(ctx, Change{DropGrant: []mac.Account{g.Account}})
		return err
	})
}
