package store

import (
	"path/filepath"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestProvisioning(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "patchbay.db"))
	p := db.Provisioning()
	if err := p.Put(t.Context(), "override", map[string]string{"site": "a = b", "phone": "secret"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Put(t.Context(), "override", map[string]string{"phone": ""}); err != nil {
		t.Fatal(err)
	}
	p.Later("home", "00:00:5e:00:53:01", "192.0.2.1")
	p.Later("home", "00:00:5e:00:53:01", "192.0.2.2")
	if err := p.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	db = again(t, db)
	defer db.Close()
	for kind, want := range map[string]map[string]string{
		"override": {"site": "a = b"},
		"home":     {"00:00:5e:00:53:01": "192.0.2.2"},
		"none":     {},
	} {
		got, err := db.Provisioning().All(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", kind, diff)
		}
	}
}
