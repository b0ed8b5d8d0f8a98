package enrol

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/oauth2"
)

// The box's own page, where users enter the code of their phone.
const (
	ownCodeDigits = 6
	ownCodeLife   = 10 * time.Minute
	stateLife     = 10 * time.Minute // at the identity provider
	maxOwnCodes   = 2 * maxPairings
)

// The cost of a guess at a PIN, and how many are allowed: OWASP's choice for
// argon2id with 19 MiB.
const (
	pinTime, pinMemory, pinThreads = 2, 19 * 1024, 1
	pinSalt, pinKey                = 16, 32
	pinTries                       = 5 // of a line
	pinPeriod                      = 15 * time.Minute
	MinPIN                         = 6 // digits
	MaxPIN                         = 12
)

// The refusals of the box's own page.
var (
	ErrUnknownCode = errors.New("this code is wrong or over; dial *56 on the phone for a new one")
	ErrWrongPIN    = errors.New("extension or PIN is wrong")
	ErrManyPINs    = errors.New("too many wrong PINs; wait a quarter of an hour")
)

// OwnPage is an [Authenticator] for which users open a page of the box itself:
// with extension and PIN, or to be sent on to an identity provider by the
// authorization code flow. It is safe for concurrent use.
type OwnPage struct {
	url      string    // of the page, without the code
	provider *Provider // nil: by PIN
	desk     *Desk
	hashing  chan struct{} // one hash at a time, for its memory

	mu     sync.Mutex
	codes  map[string]ownCode
	states map[string]ownState
	wrong  map[int64][]time.Time // PINs, by line
}

type ownCode struct {
	expires time.Time
	done    chan Who
}

// ownState is a browser that was sent to the identity provider.
type ownState struct {
	code, nonce, verifier string
	expires               time.Time
}

// NewOwnPage makes the page's side of pairing. url is where people open it.
// provider is nil where users have a PIN.
func NewOwnPage(d *Desk, url string, provider *Provider) *OwnPage {
	return &OwnPage{
		url: url, provider: provider, desk: d, hashing: make(chan struct{}, 1),
		codes: make(map[string]ownCode), states: make(map[string]ownState), wrong: make(map[int64][]time.Time),
	}
}

// Begin implements [Authenticator].
func (o *OwnPage) Begin(context.Context) (Prompt, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for k, c := range o.codes {
		if now.After(c.expires) {
			delete(o.codes, k)
		}
	}
	if len(o.codes) >= maxOwnCodes {
		return Prompt{}, ErrBusy
	}
	code := newDigits(ownCodeDigits)
	for _, taken := o.codes[code]; taken; _, taken = o.codes[code] {
		code = newDigits(ownCodeDigits)
	}
	c := ownCode{expires: now.Add(ownCodeLife), done: make(chan Who, 1)}
	o.codes[code] = c
	return Prompt{Code: code, URL: o.url, Complete: o.url + "/" + code, Expires: c.expires, done: c.done}, nil
}

// Wait implements [Authenticator].
func (o *OwnPage) Wait(ctx context.Context, p Prompt) (Who, error) {
	over := time.NewTimer(time.Until(p.Expires))
	defer over.Stop()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.codes, p.Code)
	}()
	select {
	case who := <-p.done:
		return who, nil
	case <-over.C:
		return Who{}, ErrExpired
	case <-ctx.Done():
		return Who{}, ctx.Err()
	}
}

// Knows reports whether a code can be entered now.
func (o *OwnPage) Knows(code string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.codes[cleanCode(code)]
	return ok && time.Now().Before(c.expires)
}

// complete tells the pairing of a code who entered it, once.
func (o *OwnPage) complete(code string, who Who) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.codes[code]
	if !ok || !time.Now().Before(c.expires) {
		return ErrUnknownCode
	}
	delete(o.codes, code)
	c.done <- who // has room for one, and takes one
	return nil
}

// EnterPIN pairs the phone that shows a code with the line of an extension, if
// the PIN is the line's. A wrong extension takes as long as a wrong PIN.
func (o *OwnPage) EnterPIN(ctx context.Context, code, extension, pin string) (Line, error) {
	code = cleanCode(code)
	if o.provider != nil || !o.Knows(code) {
		return Line{}, ErrUnknownCode
	}
	l, known := o.desk.Dialled(extension)
	known = known && l.PIN != "" && !l.Site
	if known {
		if err := o.admit(l.ID); err != nil {
			return Line{}, err
		}
	}
	hash := l.PIN
	if !known {
		hash = decoyPIN
	}
	ok, err := o.check(ctx, hash, pin)
	switch {
	case err != nil:
		return Line{}, err
	case !ok || !known:
		return Line{}, ErrWrongPIN
	case !o.desk.Allowed(l):
		return Line{}, ErrNotAllowed
	}
	o.mu.Lock()
	delete(o.wrong, l.ID)
	o.mu.Unlock()
	return l, o.complete(code, Who{LineID: l.ID})
}

// admit counts a try, before its outcome is known, so that parallel guesses
// count too.
func (o *OwnPage) admit(line int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	list := o.wrong[line]
	for len(list) > 0 && now.Sub(list[0]) > pinPeriod {
		list = list[1:]
	}
	if len(list) >= pinTries {
		o.wrong[line] = list
		return ErrManyPINs
	}
	o.wrong[line] = append(list, now)
	return nil
}

// decoyPIN is no PIN's hash, and takes as long to check.
const decoyPIN = "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func (o *OwnPage) check(ctx context.Context, hash, pin string) (bool, error) {
	salt, want, ok := strings.Cut(hash, "$")
	if !ok {
		return false, nil
	}
	s, err := base64.RawStdEncoding.DecodeString(salt)
	if err != nil {
		return false, nil
	}
	select {
	case o.hashing <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-o.hashing }()
	return subtle.ConstantTimeCompare([]byte(hashPIN(withoutSigns(pin), s)), []byte(want)) == 1, nil
}

func hashPIN(pin string, salt []byte) string {
	return base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(pin), salt, pinTime, pinMemory, pinThreads, pinKey))
}

// newPIN is the stored form of a PIN.
func newPIN(pin string) string {
	salt := make([]byte, pinSalt)
	rand.Read(salt) // never fails
	return base64.RawStdEncoding.EncodeToString(salt) + "$" + hashPIN(pin, salt)
}

// SetPIN gives a line a PIN by which its user pairs a phone; empty takes it
// away. It is kept as an argon2id hash.
func (d *Desk) SetPIN(ctx context.Context, line int64, pin string) error {
	pin = withoutSigns(pin)
	if pin != "" && (!isDigits(pin, MinPIN, MaxPIN) || !ValidCode(pin[:min(len(pin), MaxDigits)])) {
		return fmt.Errorf("PIN: use %d to %d digits, not all the same and not in a row: %w", MinPIN, MaxPIN, ErrInvalid)
	}
	l, ok := d.Line(line)
	if !ok {
		return ErrUnknownLine
	}
	if l.PIN = ""; pin != "" {
		l.PIN = newPIN(pin)
	}
	_, err := d.PutLine(ctx, l)
	return err
}

// SendOn begins the authorization code flow for the phone that shows a code:
// it returns where to send the browser, and a state by which the browser is
// known again when it comes back.
func (o *OwnPage) SendOn(ctx context.Context, code string) (url, state string, err error) {
	code = cleanCode(code)
	if o.provider == nil || !o.Knows(code) {
		return "", "", ErrUnknownCode
	}
	s := ownState{code: code, nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), expires: time.Now().Add(stateLife)}
	state = rand.Text()
	if url, err = o.provider.AuthCodeURL(ctx, state, s.nonce, s.verifier); err != nil {
		return "", "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for k, old := range o.states {
		if now.After(old.expires) {
			delete(o.states, k)
		}
	}
	if len(o.states) >= maxOwnCodes {
		return "", "", ErrBusy
	}
	o.states[state] = s
	return url, state, nil
}

// ComeBack ends the authorization code flow: a browser came back with a code
// of the provider.
func (o *OwnPage) ComeBack(ctx context.Context, state, code string) (Who, error) {
	o.mu.Lock()
	s, ok := o.states[state]
	delete(o.states, state)
	o.mu.Unlock()
	if !ok || o.provider == nil || time.Now().After(s.expires) {
		return Who{}, ErrUnknownCode
	}
	who, err := o.provider.Exchange(ctx, code, s.nonce, s.verifier)
	if err != nil {
		return Who{}, err
	}
	return who, o.complete(s.code, who)
}
