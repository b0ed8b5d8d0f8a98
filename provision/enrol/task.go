package enrol

import (
	"context"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// confirmLimit bounds the accounts whose new identity was seen and is not
// written yet; one that finds no room is confirmed by its next registration.
const confirmLimit = 1024

// String names the task.
func (d *Desk) String() string { return "enrolment" }

// Run goes on with what was going on before a restart, writes what phones were
// seen with, and ends with ctx.
func (d *Desk) Run(ctx context.Context) error {
	d.resume()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-d.confirmed:
			d.confirm(ctx, c)
		}
	}
}

// Confirmed takes note that a phone registered with its new device identity:
// the old one ends. It does not block.
func (d *Desk) Confirmed(a mac.Account, password string) {
	select {
	case d.confirmed <- confirmation{a, password}:
	default:
	}
}

// confirmation says that a phone was seen with a password.
type confirmation struct {
	account  mac.Account
	password string
}

func (d *Desk) confirm(ctx context.Context, c confirmation) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a, done := c.account, false
	err := d.inTurn(ctx, a.MAC, func() error {
		rec, ok := d.Account(a)
		if done = ok && rec.OldPassword != "" && rec.Password == c.password; !done {
			return nil // there is a newer one by now
		}
		return d.putAccount(ctx, a, func(r *AccountRecord) { r.OldPassword = "" })
	})
	if err == nil && done { // else its next registration tells it again
		d.tell(a.MAC, story.IdentityTaken, story.Args{Account: a})
	}
}
