package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"patchbay/appliance/lab"
)

// commonAreaBar is how long it may take from the upload of a sheet until all
// of a hundred phones show who is signed in to them, seen to be so.
const commonAreaBar = 30 * time.Second

// TestCommonArea signs in a hundred phones of three vendors from one sheet.
// Each of them is asked in its vendor's words, fetches its configuration again,
// starts anew where its vendor's phones would, and registers with the identity
// that came with it; the box says done only when it saw all of that.
func TestCommonArea(t *testing.T) {
	const count = 100
	box, places := fleetBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	kinds := []lab.Personality{lab.YealinkT46U(), lab.PolyVVX450(), lab.CiscoCP8841()}
	phones := make([]*lab.Phone, count)
	var group errgroup.Group
	group.SetLimit(16)
	for n := range count {
		p := kinds[n%len(kinds)]
		m := p.MAC
		m[4], m[5] = 0xca, byte(n)
		phones[n] = lab.NewPhone(p.WithMAC(m), lab.PhoneConfig{DHCP: places["en"].server, Retry: 50 * time.Millisecond})
		group.Go(func() error { return phones[n].Boot(ctx) })
	}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, p := range phones {
			all.Go(p.Close)
		}
		all.Wait()
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	lines, users := "Name,Extension,Username\n", "Username,HardwareId\n"
	for n, p := range phones {
		lines += fmt.Sprintf("Hall %d,%d,hall%d@example.com\n", n, 2000+n, n)
		users += fmt.Sprintf("hall%d@example.com,%s\n", n, strings.ToUpper(strings.ReplaceAll(p.MAC().String(), ":", "-")))
	}
	admin := box.Backend()
	if rep, err := admin.LineSheet(ctx, []byte(lines), false); err != nil || !rep.Applied {
		t.Fatalf("lines: %d faults, %v", rep.Faults, err)
	}
	begun := time.Now()
	rep, err := admin.SignInSheet(ctx, []byte(users), false)
	if err != nil || !rep.Applied || len(rep.Rows) != count {
		t.Fatalf("signed in: %d rows, %d faults, %v", len(rep.Rows), rep.Faults, err)
	}
	applied := time.Since(begun)
	for n, p := range phones {
		group.Go(func() error { return p.WaitLabel(ctx, 1, fmt.Sprintf("Hall %d", n)) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	shown := time.Since(begun)
	for {
		done, failed := 0, ""
		actions, err := admin.Actions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			switch a.State {
			case "done":
				done++
			case "failed":
				failed = fmt.Sprintf("%v: %s", a.Account, a.Text)
			}
		}
		if failed != "" {
			t.Fatalf("an action failed: %s", failed)
		}
		if done == count {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d of %d actions are done", done, count)
		}
	}
	took := time.Since(begun)
	t.Logf("measured: %d phones signed in from one sheet: on disk after %v, shown by all phones after %v, seen to be done after %v",
		count, applied.Round(time.Millisecond), shown.Round(10*time.Millisecond), took.Round(10*time.Millisecond))
	if took > commonAreaBar {
		t.Errorf("took %v, want %v at most", took, commonAreaBar)
	}
	for n, p := range phones {
		v, err := admin.Phone(ctx, p.MAC())
		if err != nil || len(v.Accounts) == 0 || v.Accounts[0].State != "signed-in" || v.Accounts[0].Line == nil || v.Accounts[0].Line.Name != fmt.Sprintf("Hall %d", n) {
			t.Errorf("%v: %+v, %v", p.MAC(), v.Accounts, err)
		}
	}
}
