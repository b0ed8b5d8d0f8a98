package enrol

import (
	"context"
	"fmt"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// EnrolPhone accepts a phone into the organisation's inventory. Doing it again
// changes nothing.
func (d *Desk) EnrolPhone(ctx context.Context, m mac.Addr) error {
	if s, ok := d.Summary(m); ok && !s.Enrolled.IsZero() {
		return nil
	}
	var fresh []AccountRecord
	err := d.inTurn(ctx, m, func() error {
		rec, _, err := d.records(mac.Account{MAC: m, Slot: 1})
		if err != nil {
			return err
		}
		rec.Enrolled = d.now()
		fresh = d.accepted(rec)
		_, err = d.apply(ctx, Change{Phones: []PhoneRecord{rec}, DropCodes: []mac.Addr{m}, Accounts: fresh})
		return err
	})
	if err != nil {
		return fmt.Errorf("enrol %v: %w", m, err)
	}
	d.tell(m, story.PhoneEnrolled, story.Args{})
	d.fetchAnew(fresh)
	return nil
}

// SetLanguage chooses the language of one phone (ISO 639-1); empty means the
// site's.
func (d *Desk) SetLanguage(ctx context.Context, m mac.Addr, language string) error {
	if language != "" && !isLanguage(language) {
		return fmt.Errorf("language %q: write two small letters, such as de: %w", language, ErrInvalid)
	}
	err := d.inTurn(ctx, m, func() error {
		return d.putPhone(ctx, m, func(p *PhoneRecord) { p.Language = language })
	})
	if err != nil {
		return fmt.Errorf("language of %v: %w", m, err)
	}
	d.resync(mac.Account{MAC: m, Slot: 1})
	return nil
}

// inTurn runs a change of one phone while no other change of it runs.
func (d *Desk) inTurn(ctx context.Context, m mac.Addr, change func() error) error {
	done, err := d.turns.take(ctx, m)
	if err != nil {
		return err
	}
	defer done()
	return change()
}

// SetSlots chooses how many accounts a phone has. New ones get fresh device
// identities; one that is on a line can't be removed.
func (d *Desk) SetSlots(ctx context.Context, m mac.Addr, n int) error {
	if n < 1 || n > maxSlots {
		return fmt.Errorf("%d accounts: choose 1 to %d: %w", n, maxSlots, ErrInvalid)
	}
	if err := d.inTurn(ctx, m, func() error { return d.setSlots(ctx, m, n) }); err != nil {
		return fmt.Errorf("accounts of %v: %w", m, err)
	}
	d.resync(mac.Account{MAC: m, Slot: 1})
	return nil
}

func (d *Desk) setSlots(ctx context.Context, m mac.Addr, n int) error {
	s, ok := d.Summary(m)
	if !ok {
		return ErrUnknownPhone
	}
	rec := s.PhoneRecord
	rec.Slots = n
	have := make(map[uint8]bool)
	for _, a := range s.Accounts {
		if int(a.Account.Slot) > n && a.LineID != 0 {
			return fmt.Errorf("account %d is on the line of %s: take it off first: %w", a.Account.Slot, a.Name, ErrInUse)
		}
		have[a.Account.Slot] = true
	}
	var add []AccountRecord
	for slot := 1; slot <= n; slot++ {
		if !have[uint8(slot)] {
			add = append(add, newIdentity(mac.Account{MAC: m, Slot: uint8(slot)}))
		}
	}
	if len(have)+len(add) > n {
		if err := d.store.DropAccounts(ctx, rec, uint8(n)); err != nil {
			return err
		}
		d.dropAccounts(rec, uint8(n))
	}
	if err := d.store.PutPhone(ctx, rec, add); err != nil {
		return err
	}
	d.enter(rec, add)
	return nil
}

// Rotate gives an account a new device password and asks the phone to fetch
// it. The one before stays good until the phone was seen with the new one.
func (d *Desk) Rotate(ctx context.Context, a mac.Account) error {
	err := d.inTurn(ctx, a.MAC, func() error {
		return d.putAccount(ctx, a, func(r *AccountRecord) {
			if r.OldPassword == "" {
				r.OldPassword = r.Password
			}
			r.Password = newPassword()
		})
	})
	if err != nil {
		return fmt.Errorf("new device password of %v: %w", a, err)
	}
	d.tell(a.MAC, story.PasswordNew, story.Args{Account: a})
	d.resync(a)
	return nil
}

// Forget removes a phone with its accounts and its approved address. If it is
// still there it comes back as a new one, with new device identities.
func (d *Desk) Forget(ctx context.Context, m mac.Addr) error {
	for _, key := range []mac.Addr{lineTurn, addressTurn, m} {
		done, err := d.turns.take(ctx, key)
		if err != nil {
			return err
		}
		defer done()
	}
	if _, ok := d.Phone(m); !ok {
		return fmt.Errorf("remove %v: %w", m, ErrUnknownPhone)
	}
	if err := d.store.DeletePhone(ctx, m); err != nil {
		return fmt.Errorf("remove %v: %w", m, err)
	}
	d.forget(m)
	d.change()
	return nil
}
