package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// TestActions: what is going on is there after a restart, with its newest
// word; what is over, and what was asked of a phone that is gone, is not.
func TestActions(t *testing.T) {
	db := fresh(t)
	inv, ctx := db.Inventory(), t.Context()
	for n := range byte(4) {
		if err := inv.PutPhone(ctx, phoneRecord(n+1), []enrol.AccountRecord{accountRecord(n+1, 1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	act := func(n byte, kind enrol.ActionKind) enrol.Action {
		return enrol.Action{Account: mac.Account{MAC: phoneMAC(n), Slot: 1}, Kind: kind, Created: noon.Add(time.Duration(n) * time.Minute)}
	}
	inv.KeepAction(act(1, enrol.Resync))
	inv.KeepAction(act(2, enrol.Resync))
	inv.KeepAction(act(3, enrol.Resync))
	inv.KeepAction(act(4, enrol.Resync))
	inv.KeepAction(act(9, enrol.Resync)) // no such phone
	if err := db.flush(ctx); err != nil {
		t.Fatal(err)
	}
	inv.KeepAction(act(1, enrol.Restart))
	inv.DropAction(phoneMAC(2))
	if err := inv.DeletePhone(ctx, phoneMAC(4)); err != nil {
		t.Fatal(err)
	}
	if err := db.flush(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := open2(t, db).Inventory().Inventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]enrol.Action{act(1, enrol.Restart), act(3, enrol.Resync)}, got.Actions, compare); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}
