package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/provision/enrol"
	"patchbay/sipedge"
)

func TestLineSettings(t *testing.T) {
	db := fresh(t)
	id, err := db.Inventory().PutLine(t.Context(), enrol.Line{AOR: "sip:a@example.com", Extension: "101"})
	if err != nil {
		t.Fatal(err)
	}
	want := sipedge.LineSettings{LineID: id, DoNotDisturb: true, Number: "+49301", Always: true, NoAnswer: true, Simultaneous: true, After: 25 * time.Second}
	for range 2 {
		if err := db.LineSettings().Put(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		got, err := db.LineSettings().All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]sipedge.LineSettings{want}, got); diff != "" {
			t.Error(diff)
		}
		want.DoNotDisturb, want.Always = false, false
	}
	if err := db.LineSettings().Put(t.Context(), sipedge.LineSettings{LineID: id + 1}); err == nil {
		t.Error("settings of a line that is not there")
	}
	if _, err := db.Inventory().Apply(t.Context(), enrol.Change{DropLines: []int64{id}}); err != nil {
		t.Fatal(err)
	}
	if got, err := db.LineSettings().All(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("after the line went: %+v, error %v", got, err)
	}
}
