package enrol

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// The bounds of verification codes. A code is bound to one phone, so a guess
// can meet one code only. With codes of eight digits and five guesses a day,
// a thousand phones that guess all day hit one with a chance of
// 1000 · 5 · 10⁻⁸ = 5 · 10⁻⁵, and no phone ever has to wait for another.
// Shorter codes, which an administrator may upload, are kept below the same
// chance by siteRisk.
const (
	CodeDigits   = 8                  // of a code that is made here
	MinDigits    = 6                  // of a code that is uploaded
	MaxDigits    = 10                 //
	CodeLife     = 7 * 24 * time.Hour // if nothing else is asked for
	MaxCodeLife  = 90 * 24 * time.Hour
	guessesADay  = 5              // wrong codes of one phone in guessPeriod
	guessPeriod  = 24 * time.Hour //
	siteRisk     = 0.9e-4         // chance of a hit by wrong codes of all phones in guessPeriod
	pepperLength = 32             // bytes
)

// The refusals of a verification code.
var (
	ErrWrongCode = errors.New("the code is wrong or over")
	ErrTooMany   = errors.New("too many wrong codes; wait, or ask the administrator for a new one")
)

// Code is a verification code as it is kept. The digits themselves are shown
// once, when they are made, and are nowhere after that.
type Code struct {
	MAC     mac.Addr
	Hash    []byte // HMAC-SHA-256 of MAC address and digits under the pepper
	Digits  int    // how many
	Created time.Time
	Expires time.Time
	LineID  int64 // what the phone is signed in to with it; 0: nothing
}

// Failure is one wrong code. A zero MAC means that it counts against the site
// alone, since the phone got a new code meanwhile.
type Failure struct {
	MAC  mac.Addr
	At   time.Time
	Risk float64 // chance that this guess was right
}

// IssuedCode is a new code, the only time that its digits are told.
type IssuedCode struct {
	MAC     mac.Addr
	Code    string
	Expires time.Time
}

// hashCode binds digits to a phone.
func (d *Directory) hashCode(m mac.Addr, digits string) []byte {
	h := hmac.New(sha256.New, d.pepper)
	h.Write(m[:])
	h.Write([]byte(digits))
	return h.Sum(nil)
}

// newDigits draws n digits evenly from crypto/rand, which never fails.
func newDigits(n int) string {
	top := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	v, err := rand.Int(rand.Reader, top)
	if err != nil {
		panic(err) // crypto/rand.Reader never returns an error (Go 1.24)
	}
	return fmt.Sprintf("%0*d", n, v)
}

// IssueCodes makes a code for each of the phones, in the place of one that
// there is, good for life (0: [CodeLife]). All are on disk when it returns, or
// none. A phone that is not known is put into the inventory. The wrong codes
// of a phone are forgiven, since somebody looks after it now.
func (d *Desk) IssueCodes(ctx context.Context, phones []mac.Addr, life time.Duration) ([]IssuedCode, error) {
	if life == 0 {
		life = CodeLife
	}
	if life < time.Minute || life > MaxCodeLife {
		return nil, fmt.Errorf("%v: a code is good for a minute to %d days: %w", life, MaxCodeLife/(24*time.Hour), ErrInvalid)
	}
	if err := d.enlistAll(ctx, phones); err != nil {
		return nil, err
	}
	done, err := d.takeAll(ctx, phones)
	if err != nil {
		return nil, err
	}
	defer done()
	var c Change
	var out []IssuedCode
	now := d.now()
	seen := make(map[mac.Addr]bool, len(phones))
	for _, m := range phones {
		if seen[m] {
			continue
		}
		seen[m] = true
		if err := d.may(mac.Account{MAC: m, Slot: 1}, IssueCode); err != nil {
			return nil, fmt.Errorf("code for %v: %w", m, err)
		}
		digits := newDigits(CodeDigits)
		c.Codes = append(c.Codes, Code{MAC: m, Hash: d.hashCode(m, digits), Digits: CodeDigits, Created: now, Expires: now.Add(life)})
		c.Forgive = append(c.Forgive, m)
		out = append(out, IssuedCode{MAC: m, Code: digits, Expires: now.Add(life)})
	}
	if _, err := d.apply(ctx, c); err != nil {
		return nil, fmt.Errorf("write codes: %w", err)
	}
	for _, one := range out {
		d.tell(one.MAC, story.CodeIssued, story.Args{Seconds: int64(life / time.Second)})
	}
	return out, nil
}

// WithdrawCode makes the code of a phone worthless. A phone without one is no
// error.
func (d *Desk) WithdrawCode(ctx context.Context, m mac.Addr) error {
	had := false
	err := d.inTurn(ctx, m, func() error {
		if _, had = d.CodeOf(m); !had {
			return nil
		}
		_, err := d.apply(ctx, Change{DropCodes: []mac.Addr{m}})
		return err
	})
	if err != nil {
		return fmt.Errorf("withdraw the code of %v: %w", m, err)
	}
	if had {
		d.tell(m, story.CodeWithdrawn, story.Args{})
	}
	return nil
}

// CodeOf returns the code of a phone that is still good.
func (d *Directory) CodeOf(m mac.Addr) (Code, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	c, ok := d.codes[m]
	return c, ok && d.now().Before(c.Expires)
}

// cleanCode takes out what people write between digits; empty if it is no code.
func cleanCode(s string) string {
	s = withoutSigns(s)
	if !isDigits(s, 1, 16) {
		return ""
	}
	return s
}

// Redeem takes the code that was dialled on a phone, and enrols it if the code
// is the phone's own. It needs nobody but this box. The error wraps
// [ErrTransition] (enrolled already), [ErrTooMany] or [ErrWrongCode]; a wrong
// code is on disk before it is called wrong, so that pulling the plug gains no
// guesses.
func (d *Desk) Redeem(ctx context.Context, a mac.Account, dialled string) error {
	done, err := d.takeAll(ctx, []mac.Addr{a.MAC})
	if err != nil {
		return err
	}
	defer done()
	if err := d.may(a, Redeem); err != nil {
		return err
	}
	digits := cleanCode(dialled)
	code, live := d.CodeOf(a.MAC)
	risk := 0.0
	if live {
		risk = math.Pow10(-code.Digits)
	}
	if err := d.admit(a.MAC, risk); err != nil {
		d.tell(a.MAC, story.CodeRefused, story.Args{Account: a, Reason: story.CodeTooMany})
		return err
	}
	// The same work whether there is a code or not.
	match := hmac.Equal(d.hashCode(a.MAC, digits), code.Hash)
	if !live || !match || digits == "" {
		_, err := d.apply(ctx, Change{Failures: []Failure{{MAC: a.MAC, At: d.now(), Risk: risk}}})
		if err != nil {
			return fmt.Errorf("write a wrong code: %w", err)
		}
		d.tell(a.MAC, story.CodeRefused, story.Args{Account: a, Reason: story.CodeWrong, Free: guessesADay - d.guessed(a.MAC), Total: guessesADay})
		return ErrWrongCode
	}
	return d.redeemed(ctx, a, code)
}

// redeemed carries out what a right code says.
func (d *Desk) redeemed(ctx context.Context, a mac.Account, code Code) error {
	c := Change{DropCodes: []mac.Addr{a.MAC}, Forgive: []mac.Addr{a.MAC}}
	rec, acc, err := d.records(a)
	if err != nil {
		return err
	}
	rec.Enrolled = d.now()
	c.Phones = []PhoneRecord{rec}
	fresh := d.accepted(rec)
	c.Accounts = fresh
	line, on := d.Line(code.LineID)
	if on {
		c.Accounts = append(c.Accounts, d.signedIn(acc, code.LineID, "code"))
	}
	if _, err := d.apply(ctx, c); err != nil {
		return fmt.Errorf("enrol %v: %w", a.MAC, err)
	}
	d.tell(a.MAC, story.CodeTaken, story.Args{Account: a})
	if on {
		d.told(a, line)
		d.resync(a)
		d.change()
	} else {
		d.fetchAnew(fresh)
	}
	return nil
}

// records returns copies of a phone and one of its accounts.
func (d *Directory) records(a mac.Account) (PhoneRecord, AccountRecord, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, ok := d.phones[a.MAC]
	if !ok {
		return PhoneRecord{}, AccountRecord{}, ErrUnknownPhone
	}
	rec := p.account(a.Slot)
	if rec == nil {
		return PhoneRecord{}, AccountRecord{}, ErrUnknownAccount
	}
	return p.rec, *rec, nil
}

// guessed counts the wrong codes of a phone that still weigh.
func (d *Directory) guessed(m mac.Addr) int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	n, since := 0, d.now().Add(-guessPeriod)
	for _, f := range d.failures {
		if f.MAC == m && f.At.After(since) {
			n++
		}
	}
	return n
}

// admit says whether one more guess is allowed: of the phone by number, of the
// site by the chance that it all adds up to. Guesses where there is no code
// have no chance and cost the site nothing.
func (d *Directory) admit(m mac.Addr, risk float64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := d.now().Add(-guessPeriod)
	d.failures = slices.DeleteFunc(d.failures, func(f Failure) bool { return !f.At.After(since) })
	n, sum := 0, 0.0
	for _, f := range d.failures {
		sum += f.Risk
		if f.MAC == m {
			n++
		}
	}
	if n >= guessesADay || risk > 0 && sum+risk > siteRisk {
		return ErrTooMany
	}
	return nil
}

// ValidCode reports whether a code of an upload can be one: digits, six to
// ten, and not one that everybody tries first.
func ValidCode(s string) bool {
	s = withoutSigns(s)
	if !isDigits(s, MinDigits, MaxDigits) {
		return false
	}
	return !strings.Contains("01234567890123456789", s) && !strings.Contains("98765432109876543210", s) && strings.Trim(s, s[:1]) != ""
}
