package enrol

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// codes issues a code for a phone, which becomes known by it.
func (o *office) code(t *testing.T, m mac.Addr) string {
	t.Helper()
	list, err := o.IssueCodes(t.Context(), []mac.Addr{m}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return list[0].Code
}

func TestRedeem(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	a, other := slot(1, 1), slot(2, 1)
	code := o.code(t, a.MAC)
	if len(code) != CodeDigits || strings.Trim(code, "0123456789") != "" {
		t.Fatalf("code %q", code)
	}
	for _, c := range o.store.codes {
		if strings.Contains(string(c.Hash), code) {
			t.Error("the code is stored as it is")
		}
	}
	o.code(t, other.MAC)
	if err := o.Redeem(ctx, other, code); !errors.Is(err, ErrWrongCode) {
		t.Errorf("the code of another phone: %v", err)
	}
	if err := o.Redeem(ctx, a, code[:4]+" "+code[4:]); err != nil {
		t.Errorf("the code: %v", err)
	}
	if err := o.Redeem(ctx, a, code); !errors.Is(err, ErrTransition) {
		t.Errorf("the code again: %v", err)
	}
	if err := o.Retire(ctx, a.MAC); err != nil {
		t.Fatal(err)
	}
	if err := o.Redeem(ctx, a, code); !errors.Is(err, ErrWrongCode) {
		t.Errorf("a used code: %v", err)
	}

	t.Run("expired", func(t *testing.T) {
		code := o.code(t, phoneMAC(3))
		o.pass(CodeLife)
		if err := o.Redeem(ctx, slot(3, 1), code); !errors.Is(err, ErrWrongCode) {
			t.Errorf("an old code: %v", err)
		}
	})
	t.Run("withdrawn", func(t *testing.T) {
		code := o.code(t, phoneMAC(4))
		if err := o.WithdrawCode(ctx, phoneMAC(4)); err != nil {
			t.Fatal(err)
		}
		if err := o.Redeem(ctx, slot(4, 1), code); !errors.Is(err, ErrWrongCode) {
			t.Errorf("a withdrawn code: %v", err)
		}
	})
	t.Run("a newer one", func(t *testing.T) {
		old, newer := o.code(t, phoneMAC(5)), o.code(t, phoneMAC(5))
		if err := o.Redeem(ctx, slot(5, 1), old); !errors.Is(err, ErrWrongCode) {
			t.Errorf("the old code: %v", err)
		}
		if err := o.Redeem(ctx, slot(5, 1), newer); err != nil {
			t.Errorf("the new code: %v", err)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		code := o.code(t, phoneMAC(6))
		after := reopen(t, o.store)
		after.clock = o.clock
		if err := after.Redeem(ctx, slot(6, 1), code); err != nil {
			t.Error(err)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		if err := o.Redeem(ctx, slot(9, 1), "12345678"); !errors.Is(err, ErrUnknownPhone) {
			t.Error(err)
		}
		for _, nonsense := range []string{"", "abc", "１２３４５６７８", strings.Repeat("1", 100), "12345678#"} {
			o.code(t, phoneMAC(7))
			if err := o.Redeem(ctx, slot(7, 1), nonsense); !errors.Is(err, ErrWrongCode) {
				t.Errorf("%q: %v", nonsense, err)
			}
		}
	})
}

// otherThan is a code of the same length that is not this one.
func otherThan(code string) string {
	return string('0'+(code[0]-'0'+1)%10) + code[1:]
}

// TestGuessesOfAPhone: so many a day, over a restart too, and never at the
// cost of another phone.
func TestGuessesOfAPhone(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	code, other := o.code(t, phoneMAC(1)), o.code(t, phoneMAC(2))
	wrong := otherThan(code)
	for range guessesADay {
		if err := o.Redeem(ctx, slot(1, 1), wrong); !errors.Is(err, ErrWrongCode) {
			t.Fatal(err)
		}
	}
	if err := o.Redeem(ctx, slot(1, 1), code); !errors.Is(err, ErrTooMany) {
		t.Errorf("the right code after too many wrong ones: %v", err)
	}
	after := reopen(t, o.store)
	if err := after.Redeem(ctx, slot(1, 1), code); !errors.Is(err, ErrTooMany) {
		t.Errorf("after a restart: %v", err)
	}
	if err := o.Redeem(ctx, slot(2, 1), other); err != nil {
		t.Errorf("another phone: %v", err)
	}
	if err := o.Redeem(ctx, slot(1, 1), o.code(t, phoneMAC(1))); err != nil {
		t.Errorf("a new code: %v", err)
	}
	code = o.code(t, phoneMAC(3))
	wrong = otherThan(code)
	for range guessesADay {
		_ = o.Redeem(ctx, slot(3, 1), wrong)
	}
	o.pass(guessPeriod)
	if err := o.Redeem(ctx, slot(3, 1), code); err != nil {
		t.Errorf("the day after: %v", err)
	}
}

// TestChanceOfTheSite guesses on every phone of a site all day, at the
// throttle, and adds up the chance of a hit.
func TestChanceOfTheSite(t *testing.T) {
	for _, tc := range []struct {
		name   string
		digits int
	}{{"codes made here", CodeDigits}, {"short codes of a sheet", MinDigits}} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOffice(t)
			ctx := t.Context()
			const phones = 1000
			account := func(n int) mac.Account {
				return mac.Account{MAC: mac.Addr{0, 0, 0x5e, 1, byte(n >> 8), byte(n)}, Slot: 1}
			}
			sheet := "MAC ID,Verification Code\n"
			var list []mac.Addr
			for n := range phones {
				list = append(list, account(n).MAC)
				sheet += account(n).MAC.String() + "," + "8" + newDigits(MinDigits-2) + "1\n"
			}
			if tc.digits == CodeDigits {
				if _, err := o.IssueCodes(ctx, list, 0); err != nil {
					t.Fatal(err)
				}
			} else if rep, err := o.EnrolSheet(ctx, []byte(sheet), false); err != nil || !rep.Applied {
				t.Fatalf("%v: %+v", err, rep.Rows[:1])
			}
			tries, unblocked := 0, 0
			for hour := range 4 {
				for n := range phones {
					err := o.Redeem(ctx, account(n), strings.Repeat("0", tc.digits))
					switch {
					case errors.Is(err, ErrWrongCode):
						tries++
						if hour == 0 {
							unblocked++
						}
					case !errors.Is(err, ErrTooMany):
						t.Fatal(err)
					}
				}
				o.pass(5*time.Hour + 59*time.Minute)
			}
			chance := 1 - math.Pow(1-math.Pow10(-tc.digits), float64(tries))
			t.Logf("%d guesses, chance of any hit %.2g", tries, chance)
			if chance >= 1e-4 || tries == 0 {
				t.Errorf("%d guesses in a day, chance %v, want below 1e-4", tries, chance)
			}
			if tc.digits == CodeDigits && unblocked != phones {
				t.Errorf("%d of %d phones could try: one blocked another", unblocked, phones)
			}
		})
	}
}

// TestRedeemDiskFirst: what can't be written has not happened, a wrong code
// included.
func TestRedeemDiskFirst(t *testing.T) {
	o := newOffice(t)
	code := o.code(t, phoneMAC(1))
	o.store.fail = errors.New("disk is gone")
	for _, dialled := range []string{code, "00000000"} {
		if err := o.Redeem(t.Context(), slot(1, 1), dialled); err == nil || errors.Is(err, ErrWrongCode) {
			t.Errorf("%v", err)
		}
	}
	if p, _ := o.Phase(slot(1, 1)); p != Waiting {
		t.Errorf("phase %s", p)
	}
	o.store.fail = nil
	if err := o.Redeem(t.Context(), slot(1, 1), code); err != nil {
		t.Error(err)
	}
}

func TestIssueCodesRefuses(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	if _, err := o.Enlist(ctx, provision.Sighting{MAC: phoneMAC(2)}); err != nil {
		t.Fatal(err)
	}
	if err := o.EnrolPhone(ctx, phoneMAC(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.IssueCodes(ctx, []mac.Addr{phoneMAC(1), phoneMAC(2)}, 0); !errors.Is(err, ErrTransition) {
		t.Errorf("for an enrolled phone: %v", err)
	}
	if _, ok := o.CodeOf(phoneMAC(1)); ok {
		t.Error("half of the codes were made")
	}
	for _, life := range []time.Duration{time.Second, -time.Hour, MaxCodeLife + 1} {
		if _, err := o.IssueCodes(ctx, []mac.Addr{phoneMAC(1)}, life); !errors.Is(err, ErrInvalid) {
			t.Errorf("good for %v: %v", life, err)
		}
	}
	if _, err := o.IssueCodes(ctx, []mac.Addr{{0xff}}, 0); !errors.Is(err, ErrNotAPhone) {
		t.Errorf("for a group address: %v", err)
	}
}

func TestValidCode(t *testing.T) {
	for s, want := range map[string]bool{
		"482913": true, "4829 1300": true, "0048291300": true, "12345": false, "48291300000": false, "123456": false, "987654": false,
		"000000": false, "111111": false, "48291a": false, "": false, "890123": false,
	} {
		if got := ValidCode(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
