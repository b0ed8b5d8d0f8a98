package enrol

import (
	"errors"
	"regexp"
	"testing"

	"patchbay/dhcp/mac"
	"patchbay/provision"
)

// TestPasswords: a phone gets passwords of its own when it is enlisted, keeps
// them, and one that was there before passwords were made gets them too.
func TestPasswords(t *testing.T) {
	store := newMemory()
	phone, old := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, mac.Addr{0, 0, 0x5e, 0, 0x53, 2}
	store.phones[old] = PhoneRecord{MAC: old, Vendor: "yealink"}
	store.accounts[mac.Account{MAC: old, Slot: 1}] = newIdentity(mac.Account{MAC: old, Slot: 1})
	d, err := NewDirectory(t.Context(), store, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[A-Z][a-z][2-9][a-z2-9]{9}$`)
	seen := map[string]bool{}
	for _, m := range []mac.Addr{phone, old} {
		p, err := d.Enlist(t.Context(), provision.Sighting{MAC: m, Vendor: "yealink"})
		if err != nil {
			t.Fatal(err)
		}
		own := d.Passwords(m)
		if own != store.own[m] || own.Admin != p.AdminPassword || own.User != p.UserPassword {
			t.Errorf("%v: memory, disk and configuration differ", m)
		}
		for _, s := range []string{own.Admin, own.User} {
			if !form.MatchString(s) || seen[s] {
				t.Errorf("%v: password %q", m, s)
			}
			seen[s] = true
		}
		again, err := d.Enlist(t.Context(), provision.Sighting{MAC: m, Vendor: "yealink", Firmware: "1.2"})
		if err != nil || again.AdminPassword != p.AdminPassword {
			t.Errorf("%v: another password after an update (%v)", m, err)
		}
	}
	if got := d.Passwords(mac.Addr{0, 0, 0x5e, 0, 0x53, 9}); got != (Passwords{}) {
		t.Errorf("a phone that is not there has %v", got)
	}
}

// TestPasswordsNotWritten: what is not on disk is not handed out.
func TestPasswordsNotWritten(t *testing.T) {
	store := newMemory()
	m := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
	store.phones[m] = PhoneRecord{MAC: m, Vendor: "yealink"}
	store.accounts[mac.Account{MAC: m, Slot: 1}] = newIdentity(mac.Account{MAC: m, Slot: 1})
	d, err := NewDirectory(t.Context(), store, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk full")
	store.fail = broken
	if _, err := d.Enlist(t.Context(), provision.Sighting{MAC: m}); !errors.Is(err, broken) {
		t.Errorf("Enlist = %v, want %v", err, broken)
	}
	if p, _ := d.Phone(m); p.AdminPassword != "" {
		t.Error("a password is handed out that is not on disk")
	}
}
