package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// enrolChild is the role of a process that takes phones through enrolment and
// pairing until it is killed, and prints each step that it was told was done.
const enrolChild = "enrol"

func enrolling(path string) error {
	ctx := context.Background()
	db, err := Open(ctx, path, testKey, quiet)
	if err != nil {
		return err
	}
	d, err := enrol.NewDirectory(ctx, db.Inventory(), nil, nil)
	if err != nil {
		return err
	}
	desk := enrol.NewDesk(d, nil, nil, nil)
	for n := d.Len(); ; n++ {
		m := mac.Addr{0, 0, 0x5e, 2, byte(n >> 8), byte(n)}
		a := mac.Account{MAC: m, Slot: 1}
		codes, err := desk.IssueCodes(ctx, []mac.Addr{m}, 0)
		if err != nil {
			return err
		}
		if err := desk.Redeem(ctx, a, codes[0].Code); err != nil {
			return err
		}
		fmt.Println("enrolled", m)
		user := fmt.Sprintf("user%d", n)
		l := enrol.Line{ID: -1, AOR: "sip:" + user + "@example.com", User: user, Source: user, AuthUser: user, AuthPassword: "line-secret"}
		if _, err := desk.SignInUser(ctx, a, l, user, &enrol.Grant{Subject: user, Refresh: "refresh-secret", Since: time.Now()}); err != nil {
			return err
		}
		fmt.Println("signed-in", m)
		if n%2 == 0 {
			if err := desk.SignOutAll(ctx, []mac.Account{a}, ""); err != nil {
				return err
			}
			fmt.Println("signed-out", m)
		}
	}
}

// TestKilledWhileEnrolling kills the process at any instant of enrolment and
// pairing: every phone is in the state before or after a step, and what was
// acknowledged has happened.
func TestKilledWhileEnrolling(t *testing.T) {
	path := filepath.Join(t.TempDir(), "patchbay.db")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]string) // the last step of each phone
	for range 8 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childRole+"="+enrolChild, childFile+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		steps := 0
		for lines := bufio.NewScanner(out); lines.Scan(); steps++ {
			if steps == 0 {
				time.AfterFunc(rand.N(80*time.Millisecond), func() { _ = cmd.Process.Kill() })
			}
			if step, m, ok := strings.Cut(lines.Text(), " "); ok && len(m) == 17 {
				told[m] = step
			}
		}
		_ = cmd.Wait() // killed, which is an error by design
		if steps == 0 {
			t.Fatal("the child did nothing")
		}
		judgeEnrolled(t, path, told)
	}
	t.Logf("%d phones", len(told))
}

// rank orders the steps of a phone.
var rank = map[string]int{"waiting": 0, "enrolled": 1, "signed-in": 2, "signed-out": 3}

func judgeEnrolled(t *testing.T, path string, told map[string]string) {
	t.Helper()
	db := open(t, path)
	defer db.Close()
	inv, err := db.Inventory().Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := enrol.NewDirectory(t.Context(), db.Inventory(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	grants, codes, lines := map[mac.Addr]bool{}, map[mac.Addr]bool{}, map[int64]enrol.Line{}
	for _, g := range inv.Grants {
		grants[g.Account.MAC] = g.Refresh == "refresh-secret"
	}
	for _, c := range inv.Codes {
		codes[c.MAC] = true
	}
	for _, l := range inv.Lines {
		lines[l.ID] = l
	}
	for _, a := range inv.Accounts {
		phase, err := d.Phase(a.Account)
		if err != nil {
			t.Fatal(err)
		}
		in := phase == enrol.SignedIn
		if in != grants[a.MAC] || in != (lines[a.LineID].AuthPassword == "line-secret") || in != (a.By != "") {
			t.Errorf("%v is %s, with grant %v, line %d, by %q: between two states", a.MAC, phase, grants[a.MAC], a.LineID, a.By)
		}
		if codes[a.MAC] && phase != enrol.Waiting {
			t.Errorf("%v is %s and has a code still", a.MAC, phase)
		}
		if step := told[a.MAC.String()]; step != "" && rank[string(phase)] < rank[step] {
			t.Errorf("%v was told to be %s, and is %s", a.MAC, step, phase)
		}
	}
	for m := range told {
		if addr, _ := mac.Parse(m); !d.Known(addr) {
			t.Errorf("%s is gone", m)
		}
	}
}
