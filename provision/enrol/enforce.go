package enrol

import (
	"context"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// enforce signs out whoever is on a line that may not use SIP devices.
func (d *Desk) enforce(ctx context.Context) error {
	var out []mac.Account
	for _, l := range d.Lines() {
		if !l.Site && !d.Allowed(l) {
			out = append(out, d.OnLine(l.ID)...)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return d.SignOutAll(ctx, out, story.LineRevoked)
}
