package api

import (
	"context"
	"net/netip"

	"patchbay/dhcp/mac"
)

// Backend is the box as administrators see and change it. Every method is
// safe for concurrent use. Errors are judged by [StatusOf]: [ErrNotFound],
// [ErrOffline] and [*Invalid] are told to the caller in their own words, every
// other one is logged and told as a fault of the box.
type Backend interface {
	// Snapshot is the state of the box now. It is asked every two seconds by
	// each open dashboard, so it must come from memory.
	Snapshot() Snapshot

	Inventory
	Stories
	Lines
	Calls
	Desk
	Enrolment
	SignIn
	Network
	Addresses
	Doctor
	Servers
	Interfaces
	Provisioning
	Overrides
	Sources
	Firmware
	Help
	Wishes
	Drills
}

// Inventory finds phones.
type Inventory interface {
	// Phones returns one page of the phones that match, in a stable order.
	Phones(ctx context.Context, q Query) (Phones, error)
	// Phone returns one phone, or [ErrNotFound].
	Phone(ctx context.Context, m mac.Addr) (Phone, error)
	// PhonePasswords returns what the phone's own page and menus ask for, or
	// [ErrNotFound]; they are empty until the phone was heard of. That somebody
	// asked is in the audit.
	PhonePasswords(ctx context.Context, m mac.Addr) (Passwords, error)
}

// Stories reads what happened to a phone.
type Stories interface {
	// Story returns up to limit entries with Seq below before, newest first;
	// before 0 means from the newest. What was recorded before the call is in
	// it, flushed to disk or not.
	Story(ctx context.Context, m mac.Addr, before int64, limit int) ([]Entry, error)
	// Subscribe returns what is recorded from now on. An entry has the Seq
	// that Story gives it too. The channel is closed when the reader falls
	// behind or the box stops; who wants the rest reads it by Story. cancel
	// may be called more than once.
	Subscribe(m mac.Addr) (entries <-chan Entry, cancel func())
}

// Lines are the lines of the site.
type Lines interface {
	// Lines returns all, in the order of their names.
	Lines(ctx context.Context) ([]Line, error)
	// Line returns one, or [ErrNotFound].
	Line(ctx context.Context, id int64) (Line, error)
	// PutLine makes a line (ID 0) or changes one. It is on disk on return. An
	// empty AOR means the number, or the extension, at the gateway's domain.
	// Whether it is the site line stays as it is.
	PutLine(ctx context.Context, e LineEdit) (Line, error)
	// DeleteLine removes a line and signs its accounts out.
	DeleteLine(ctx context.Context, id int64) error
}

// Desk is what an administrator does with a phone. What a method changed is on
// disk when it returns.
type Desk interface {
	// AddPhone puts a phone into the inventory before it was ever seen.
	AddPhone(ctx context.Context, m mac.Addr, slots int) error
	// Assign signs an account in to a line, in the place of another one.
	Assign(ctx context.Context, a mac.Account, line int64) error
	// Unassign signs an account out.
	Unassign(ctx context.Context, a mac.Account) error
	// ApproveAddress says that this address is this phone's: for the next
	// fetch only, or until further notice.
	ApproveAddress(ctx context.Context, ip netip.Addr, m mac.Addr, once bool) error
	// OpenWindow lets the phone fetch its configuration for some minutes.
	OpenWindow(ctx context.Context, m mac.Addr) error
	// Resync asks the phone to fetch its configuration again. [ErrOffline]
	// if it is not reachable.
	Resync(ctx context.Context, a mac.Account) error
}
