package lab

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCalls(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			b := newTestBox(t, transport)
			one, two := booted(t, b, YealinkT46U()), booted(t, b, PolyEdgeE450())
			b.routeTo("12", "482567450a02-1")
			b.routeTo("22", "805ec0460a01-2")
			for _, tc := range []struct {
				name         string
				from, to     *Phone
				number       string
				mute         *Phone
				pass         bool
				slot         int
				calleeHangup bool
			}{
				{name: "by extension", from: one, to: two, number: "12", pass: true, slot: 1},
				{name: "back, to the second account", from: two, to: one, number: "22", pass: true, slot: 2},
				{name: "the caller is muted", from: one, to: two, number: "12", mute: one, slot: 1},
				{name: "the called is muted", from: one, to: two, number: "12", mute: two, slot: 1},
				{name: "the called hangs up", from: one, to: two, number: "12", pass: true, slot: 1, calleeHangup: true},
			} {
				t.Run(tc.name, func(t *testing.T) {
					ctx := inTime(t)
					if tc.mute != nil {
						tc.mute.Mute(true)
						defer tc.mute.Mute(false)
					}
					talk := 600 * time.Millisecond
					if tc.calleeHangup {
						talk = 0
					}
					there, err := tc.from.Dial(ctx, 1, tc.number, talk)
					if err != nil {
						t.Fatal(err)
					}
					here, err := tc.to.NextCall(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if tc.calleeHangup {
						for here.HeardFor() < 600*time.Millisecond || there.HeardFor() < 600*time.Millisecond {
							if !sleep(ctx, frameTime) {
								t.Fatal("no audio")
							}
						}
						here.Hangup()
					}
					if err := errors.Join(there.Wait(ctx), here.Wait(ctx)); err != nil {
						t.Fatal(err)
					}
					if here.Slot != tc.slot || !here.Incoming || there.Incoming {
						t.Errorf("rang account %d, incoming %v and %v", here.Slot, here.Incoming, there.Incoming)
					}
					forth, err := Measure(there, here)
					if err != nil {
						t.Fatal(err)
					}
					back, err := Measure(here, there)
					if err != nil {
						t.Fatal(err)
					}
					t.Logf("there %v, back %v", forth, back)
					if got := forth.OK(500*time.Millisecond) && back.OK(500*time.Millisecond); got != tc.pass {
						t.Errorf("passes: %v, want %v", got, tc.pass)
					}
					// What each end hears of itself must not pass: a swapped leg.
					if self, _ := Measure(there, there); self.OK(0) {
						t.Errorf("the caller heard himself: %v", self)
					}
				})
			}
		})
	}
}

func TestCallsThatFail(t *testing.T) {
	b := newTestBox(t, "udp")
	busy := b.phone(t, PolyEdgeE450(), func(c *PhoneConfig) {
		c.Answer = func(int, string) int { return 486 }
	})
	slow := b.phone(t, CiscoCP8841(), func(c *PhoneConfig) { c.Ring = time.Hour })
	ctx := inTime(t)
	one := booted(t, b, YealinkT46U())
	for _, p := range []*Phone{busy, slow} {
		if err := p.Boot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ name, number, want string }{
		{"unknown number", "99", "404"},
		{"busy", "482567450a02-1", "486"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := one.Dial(inTime(t), 1, tc.number, time.Second)
			if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want %s", err, tc.want)
			}
		})
	}
	t.Run("nobody answers and the caller gives up", func(t *testing.T) {
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := one.Dial(short, 1, "00562b884104-2", time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v, want the end of the context", err)
		}
	})
	if _, err := one.Dial(ctx, 7, "12", 0); !errors.Is(err, ErrNotReady) {
		t.Errorf("dial from an account that is not there: %v, want ErrNotReady", err)
	}
}

func TestPowerCutInACall(t *testing.T) {
	t.Parallel()
	b := newTestBox(t, "udp")
	one, two := booted(t, b, YealinkT46U()), booted(t, b, PolyEdgeE450())
	ctx := inTime(t)
	there, err := one.Dial(ctx, 1, "482567450a02-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	here, err := two.NextCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	one.PowerOff()
	if err := there.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the call of a phone without power: %v", err)
	}
	select {
	case <-here.Done():
		t.Error("the other phone was told of a power cut")
	case <-time.After(100 * time.Millisecond):
	}
	two.Close() // hangs up into the void
	if err := here.Wait(ctx); err == nil {
		t.Error("hanging up was answered by nobody and is no error")
	}
}
