package appliance

import (
	"errors"
	"fmt"
	"testing"

	"patchbay/appliance/web/api"
	"patchbay/provision/enrol"
)

func TestSaid(t *testing.T) {
	for _, tc := range []struct {
		name        string
		err         error
		field, text string
	}{
		{"one field", fmt.Errorf("extension %q: use 2 to 8 digits: %w", "1", enrol.ErrInvalid), "extension", `extension "1": use 2 to 8 digits`},
		{"conflict", fmt.Errorf("number 12 belongs to Anna already: %w, %w", enrol.ErrInvalid, enrol.ErrConflict), "number", "number 12 belongs to Anna already"},
		{
			"two fields",
			errors.Join(fmt.Errorf("number 1: short: %w", enrol.ErrInvalid), fmt.Errorf("name 2: long: %w", enrol.ErrInvalid)),
			"", "number 1: short; name 2: long",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad, ok := errors.AsType[*api.Invalid](said(tc.err))
			if !ok || bad.Field != tc.field || bad.Text != tc.text {
				t.Errorf("got %+v, want field %q text %q", bad, tc.field, tc.text)
			}
		})
	}
	if !errors.Is(said(fmt.Errorf("line 7: %w", enrol.ErrUnknownLine)), api.ErrNotFound) {
		t.Error("an unknown line is not found")
	}
	other := errors.New("disk")
	if said(other) != other || said(nil) != nil {
		t.Error("the faults of the box stay faults of the box")
	}
}
