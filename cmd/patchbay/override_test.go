package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"patchbay/appliance/lab"
	"patchbay/appliance/web/api"
)

// overrideKeys are settings that the box does not write, in the words of each
// vendor that can be overridden.
var overrideKeys = map[string]struct{ scope, key string }{
	"Yealink":     {"vendor/yealink", "phone_setting.backlight_time"},
	"Poly":        {"vendor/poly", "up.backlight.timeout"},
	"Cisco":       {"vendor/cisco-mpp", "Back_Light_Timer"},
	"AudioCodes":  {"vendor/audiocodes", "personal_settings/backlight_timeout"},
	"Algo":        {"vendor/algo", "audio.page.vol"},
	"snom":        {"vendor/snom", "backlight_idle"},
	"Grandstream": {"vendor/grandstream", "P334"},
}

// TestOverridesReachPhones: a phone of each dialect is asked to fetch when an
// override changes, has the setting after that, and loses it when the override
// is rolled back; both count as done only because they were seen.
func TestOverridesReachPhones(t *testing.T) {
	phones, err := lab.Personalities()
	if err != nil {
		t.Fatal(err)
	}
	box, places := fleetBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var group errgroup.Group
	tried := map[string]bool{}
	for _, p := range phones {
		o, ok := overrideKeys[p.Vendor]
		if !ok || tried[p.Vendor] {
			continue
		}
		tried[p.Vendor] = true
		group.Go(func() error {
			if err := overridden(ctx, box.Backend(), p, places["en"], o.scope, o.key); err != nil {
				t.Errorf("%s: %v", p, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	if len(tried) != len(overrideKeys) {
		t.Errorf("phones of %d vendors, want %d", len(tried), len(overrideKeys))
	}
}

func overridden(ctx context.Context, box api.Backend, p lab.Personality, at place, scope, key string) error {
	phone := lab.NewPhone(p, lab.PhoneConfig{DHCP: at.server, Retry: 50 * time.Millisecond})
	if err := phone.Boot(ctx); err != nil {
		return err
	}
	defer phone.Close()
	o, err := box.PutOverride(ctx, api.OverrideEdit{Scope: scope, Values: map[string]string{key: "30"}})
	if err == nil && o.Asked != 1 {
		err = errors.New("no phone was asked")
	}
	if err == nil {
		err = settles(ctx, phone, key, "30")
	}
	if err != nil {
		return fmt.Errorf("set: %w", err)
	}
	if o, err = box.RollbackOverride(ctx, scope); err == nil && o.Asked != 1 {
		err = errors.New("no phone was asked")
	}
	if err == nil {
		err = settles(ctx, phone, key, "")
	}
	if err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return actionsDone(ctx, box, phone)
}

// settles waits until the phone has a setting.
func settles(ctx context.Context, phone *lab.Phone, key, want string) error {
	for phone.Setting(key) != want {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s = %q, want %q: %w", key, phone.Setting(key), want, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return phone.WaitReachable(ctx)
}

// actionsDone waits until nothing that a phone was asked to do is under way.
func actionsDone(ctx context.Context, box api.Backend, phone *lab.Phone) error {
	for {
		list, err := box.Actions(ctx)
		if err != nil {
			return err
		}
		states := map[string]int{}
		for _, a := range list {
			if a.Account.MAC == phone.MAC() {
				states[a.State]++
			}
		}
		if states["failed"] > 0 {
			return errors.New("an action failed")
		}
		if states["done"] > 0 && len(states) == 1 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("actions are %v: %w", states, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
