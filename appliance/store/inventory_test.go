package store

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

func phoneRecord(n byte) enrol.PhoneRecord {
	return enrol.PhoneRecord{
		MAC: phoneMAC(n), Vendor: "yealink", Model: "SIP-T46U", Firmware: "108.86.0.1", Hardware: "1.0", Language: "de", Slots: 2,
		FirstSeen: noon, LastSeen: noon.Add(time.Hour), Enrolled: noon.Add(2 * time.Hour),
	}
}

func accountRecord(n, slot byte, line int64) enrol.AccountRecord {
	a := mac.Account{MAC: phoneMAC(n), Slot: slot}
	return enrol.AccountRecord{Account: a, Username: a.MAC.Hex() + "-" + string('0'+rune(slot)), Password: "device-secret-" + a.String(), LineID: line}
}

func TestInventory(t *testing.T) {
	db := fresh(t)
	inv, ctx := db.Inventory(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	line := enrol.Line{AOR: "sip:anna@example.com", DisplayName: "Anna", Number: "+4930123", Extension: "21", AuthUser: "anna", AuthPassword: "line-secret"}
	plain := enrol.Line{AOR: "sip:site@example.com", Number: "+4930100", Site: true}
	var err error
	line.ID, err = inv.PutLine(ctx, line)
	must(err)
	plain.ID, err = inv.PutLine(ctx, plain)
	must(err)
	gone, err := inv.PutLine(ctx, enrol.Line{AOR: "sip:gone@example.com", Number: "+4930999"})
	must(err)
	must(inv.PutPhone(ctx, phoneRecord(1), []enrol.AccountRecord{accountRecord(1, 1, 0), accountRecord(1, 2, 0), accountRecord(1, 3, 0)}))
	must(inv.PutPhone(ctx, phoneRecord(2), []enrol.AccountRecord{accountRecord(2, 1, gone)}))
	must(inv.PutPhone(ctx, phoneRecord(3), []enrol.AccountRecord{accountRecord(3, 1, line.ID)}))
	own := enrol.Passwords{Admin: "Adm1n", User: "Us3r"}
	must(inv.PutPasswords(ctx, phoneMAC(1), enrol.Passwords{Admin: "old", User: "old"}))
	must(inv.PutPasswords(ctx, phoneMAC(1), own))
	must(inv.PutPasswords(ctx, phoneMAC(3), own)) // goes with its phone
	must(inv.PutAccount(ctx, accountRecord(1, 1, line.ID)))
	must(inv.DropAccounts(ctx, phoneRecord(1), 2))
	_, err = inv.Apply(ctx, enrol.Change{DropLines: []int64{gone}})
	must(err)
	old := enrol.BoundAddress{IP: netip.MustParseAddr("192.0.2.50"), MAC: phoneMAC(1), Evidence: mac.Bound, Since: noon}
	bound := old
	bound.IP = netip.MustParseAddr("192.0.2.51")
	must(inv.PutAddress(ctx, old))
	must(inv.PutAddress(ctx, bound)) // the only one of its phone
	must(inv.PutAddress(ctx, enrol.BoundAddress{IP: netip.MustParseAddr("192.0.2.53"), MAC: phoneMAC(3), Since: noon}))
	must(inv.DeletePhone(ctx, phoneMAC(3)))
	// A second PutPhone leaves accounts alone.
	stranger := accountRecord(1, 1, 0)
	stranger.Password = "another"
	must(inv.PutPhone(ctx, phoneRecord(1), []enrol.AccountRecord{stranger}))
	inv.Seen(phoneMAC(2), noon.Add(9*time.Hour))
	must(db.flush(ctx))

	seen := phoneRecord(2)
	seen.LastSeen = noon.Add(9 * time.Hour)
	want := enrol.Inventory{
		Phones:    []enrol.PhoneRecord{phoneRecord(1), seen},
		Passwords: map[mac.Addr]enrol.Passwords{phoneMAC(1): own},
		Accounts:  []enrol.AccountRecord{accountRecord(1, 1, line.ID), accountRecord(1, 2, 0), accountRecord(2, 1, 0)},
		Lines:     []enrol.Line{line, plain},
		Addresses: []enrol.BoundAddress{bound},
	}
	got, err := open2(t, db).Inventory().Inventory(ctx)
	must(err)
	if len(got.Pepper) != 32 {
		t.Errorf("a pepper of %d bytes", len(got.Pepper))
	}
	want.Pepper = got.Pepper // made by chance
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("inventory after a restart (-want +got):\n%s", diff)
	}
	noSecretIn(t, db, "device-secret")
	noSecretIn(t, db, "line-secret")
}

func TestInventoryRefuses(t *testing.T) {
	db := fresh(t)
	inv, ctx := db.Inventory(), t.Context()
	if _, err := inv.PutLine(ctx, enrol.Line{AOR: "sip:a@example.com", Number: "+49301"}); err != nil {
		t.Fatal(err)
	}
	if err := inv.PutPhone(ctx, phoneRecord(1), []enrol.AccountRecord{accountRecord(1, 1, 0)}); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"account that is not there": inv.PutAccount(ctx, accountRecord(9, 1, 0)),
		"phone that is not there":   inv.DeletePhone(ctx, phoneMAC(9)),
		"line that is not there":    drop(inv.Apply(ctx, enrol.Change{DropLines: []int64{99}})),
	} {
		if !errors.Is(err, ErrNoRow) {
			t.Errorf("%s: %v, want ErrNoRow", name, err)
		}
	}
	if _, err := inv.PutLine(ctx, enrol.Line{ID: 99, AOR: "sip:b@example.com"}); !errors.Is(err, ErrNoRow) {
		t.Errorf("edit of a line that is not there: %v", err)
	}
	if _, err := inv.PutLine(ctx, enrol.Line{AOR: "sip:b@example.com", Number: "+49301"}); err == nil {
		t.Error("a number twice")
	}
	if err := inv.PutAccount(ctx, accountRecord(1, 1, 99)); err == nil {
		t.Error("an account on a line that is not there")
	}
	// A failed change leaves nothing: no phone without its accounts.
	clash := accountRecord(2, 1, 0)
	clash.Username = accountRecord(1, 1, 0).Username
	if err := inv.PutPhone(ctx, phoneRecord(2), []enrol.AccountRecord{clash}); err == nil {
		t.Error("a user name twice")
	}
	got, err := inv.Inventory(ctx)
	if err != nil || len(got.Phones) != 1 || len(got.Lines) != 1 || len(got.Accounts) != 1 {
		t.Errorf("after refusals: %+v, %v", got, err)
	}
}

// TestPasswordOfAnotherRow is what a thief with write access would try.
func TestPasswordOfAnotherRow(t *testing.T) {
	db := fresh(t)
	inv := db.Inventory()
	if err := inv.PutPhone(t.Context(), phoneRecord(1), []enrol.AccountRecord{accountRecord(1, 1, 0), accountRecord(1, 2, 0)}); err != nil {
		t.Fatal(err)
	}
	run(t, db, "UPDATE accounts SET password = (SELECT password FROM accounts WHERE slot = 2) WHERE slot = 1")
	if _, err := inv.Inventory(t.Context()); !errors.Is(err, ErrKey) {
		t.Errorf("got %v, want ErrKey", err)
	}
}

func drop[T any](_ T, err error) error { return err }
