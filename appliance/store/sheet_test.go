package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// sheetBar is how long a sheet of 1,000 rows may take on the disk.
const sheetBar = 2 * time.Second

// nobodyIsAway is an [enrol.Presence] in which every phone is registered.
type nobodyIsAway struct{}

func (nobodyIsAway) Online(mac.Account) bool      { return true }
func (nobodyIsAway) Sources(mac.Account) []string { return nil }

// TestThousandRows: phones enrolled, lines made and users signed in by sheets
// of 1,000 rows, judged and applied, on a real file; all of it is there after
// a restart.
func TestThousandRows(t *testing.T) {
	const rows = 1000
	db := fresh(t)
	directory, err := enrol.NewDirectory(t.Context(), db.Inventory(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	desk := enrol.NewDesk(directory, nil, nil, nil)
	defer func() { _ = desk.Close() }()
	phones, lines, users := &strings.Builder{}, &strings.Builder{}, &strings.Builder{}
	fmt.Fprintln(phones, "MAC ID,Verification Code,Assigned,Location")
	fmt.Fprintln(lines, "Name,Number,Extension,Username")
	fmt.Fprintln(users, "Username,HardwareId")
	for n := range rows {
		fmt.Fprintf(phones, "00-00-5E-01-%02X-%02X,,,Room %d\n", n>>8, n&255, n)
		fmt.Fprintf(lines, "Room %d,+4930555%04d,%d,room%d@example.com\n", n, n, 2000+n, n)
		fmt.Fprintf(users, "room%d@example.com,00005e01%02x%02x\n", n, n>>8, n&255)
	}
	for _, sheet := range []struct {
		name string
		put  func(dry bool) (enrol.Report, error)
	}{
		{"phones", func(dry bool) (enrol.Report, error) {
			return desk.EnrolSheet(t.Context(), []byte(phones.String()), dry)
		}},
		{"lines", func(dry bool) (enrol.Report, error) {
			return desk.LineSheet(t.Context(), []byte(lines.String()), "example.com", dry)
		}},
		{"users", func(dry bool) (enrol.Report, error) {
			return desk.SignInSheet(t.Context(), []byte(users.String()), nobodyIsAway{}, dry)
		}},
	} {
		for _, p := range desk.Phones() {
			desk.Saw(p.MAC) // only who was heard of is signed in by a sheet
		}
		for _, dry := range []bool{true, false} {
			begun := time.Now()
			rep, err := sheet.put(dry)
			took := time.Since(begun)
			if err != nil || rep.Faults != 0 || len(rep.Rows) != rows || rep.Applied == dry {
				t.Fatalf("%s, dry %v: %d rows, %d faults, applied %v, %v", sheet.name, dry, len(rep.Rows), rep.Faults, rep.Applied, err)
			}
			t.Logf("measured: %d rows of %s, dry run %v: %v", rows, sheet.name, dry, took.Round(time.Millisecond))
			if took > sheetBar {
				t.Errorf("%s, dry run %v took %v, want %v at most", sheet.name, dry, took, sheetBar)
			}
		}
	}
	inv, err := open2(t, db).Inventory().Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range inv.Accounts {
		if a.LineID == 0 || a.Location == "" {
			t.Fatalf("after a restart: %v on line %d at %q", a.Account, a.LineID, a.Location)
		}
	}
	if len(inv.Phones) != rows || len(inv.Lines) != rows || len(inv.Accounts) != rows {
		t.Errorf("after a restart: %d phones, %d lines, %d accounts", len(inv.Phones), len(inv.Lines), len(inv.Accounts))
	}
}
