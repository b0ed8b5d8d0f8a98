package enrol

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// The errors that callers tell apart.
var (
	ErrUnknownPhone   = errors.New("no such phone in the inventory")
	ErrUnknownAccount = errors.New("this phone has no such account")
	ErrUnknownLine    = errors.New("no such line")
	ErrInvalid        = errors.New("not accepted")      // wrapped by every fault of an edit
	ErrFull           = errors.New("inventory is full") // see MaxPhones
	ErrInUse          = errors.New("still in use")      // what is to be removed is needed by something
	ErrConflict       = errors.New("taken already")     // wrapped, with ErrInvalid, where a number is not unique
	ErrNotAPhone      = errors.New("not a phone's MAC address")
)

// MaxPhones bounds the inventory, so that a host that invents MAC addresses
// fills neither memory nor disk.
const MaxPhones = 5000

// Line is what a user is reached by at the gateway, and on this site.
type Line struct {
	ID           int64 // 0: new
	AOR          string
	DisplayName  string
	Number       string // as the gateway knows it, usually E.164 with +
	Extension    string // digits only; may be empty
	AuthUser     string // digest user at the gateway; empty: no registration of its own
	AuthPassword string // never leaves the box, never shown
	// User is who signs in to the line, as the identity provider and sheets
	// name the person; any case. Empty: nobody by name.
	User string
	// PIN is the argon2id hash of what the user types to pair a phone where
	// there is no identity provider. Empty: no pairing by PIN.
	PIN string
	// Source is the key of the line at the gateway's line API; empty: it was
	// written here.
	Source string
	Policy Policy
	// Site marks the site line, of which there is one at most.
	Site bool
}

// PhoneRecord is a phone as it is stored.
type PhoneRecord struct {
	MAC      mac.Addr
	Vendor   string
	Model    string
	Firmware string
	Hardware string // revision, as the phone writes it; empty: it does not say
	Language string // ISO 639-1; empty: the site's
	// Slots is the number of accounts that an administrator chose; 0 leaves
	// it to the catalogue.
	Slots     int
	FirstSeen time.Time
	LastSeen  time.Time
	Enrolled  time.Time // zero: waiting on activation
}

// Passwords are a phone's own: for its web page and its menus. They are made
// when the phone is enlisted, and set by its configuration.
type Passwords struct {
	Admin, User string // sealed by the store
}

// AccountRecord is an account as it is stored.
type AccountRecord struct {
	mac.Account
	Username string
	Password string // sealed by the store
	// OldPassword is the one before; it is good until the phone was seen with
	// the new one. Empty: the phone has the new one.
	OldPassword string
	LineID      int64     // 0: nobody is signed in
	Location    string    // where the phone of this account stands
	SignedIn    time.Time // last time; zero: never
	SignedOut   time.Time // last time; zero: never
	By          string    // who signed in, empty if nobody is
}

// BoundAddress is an address that an administrator vouched for. A phone has
// one at most.
type BoundAddress struct {
	IP       netip.Addr
	MAC      mac.Addr
	Evidence mac.Evidence // Bound; an approval for once is never stored
	Since    time.Time
}

// Inventory is all that a Store holds.
type Inventory struct {
	Phones    []PhoneRecord
	Passwords map[mac.Addr]Passwords
	Accounts  []AccountRecord
	Lines     []Line
	Addresses []BoundAddress
	Codes     []Code
	Failures  []Failure // wrong codes that still weigh
	Grants    []Grant
	Site      Policy
	Actions   []Action // that were not over; account, kind and time
	Pepper    []byte   // secret that verification codes are hashed with, always the same
}

// Store is where the inventory outlives the process. Each method but Seen
// returns when its change is on disk, whole or not at all.
type Store interface {
	// Inventory returns everything; it is called once, at start.
	Inventory(ctx context.Context) (Inventory, error)
	// PutPhone writes a phone and adds the accounts given; an account that
	// exists is left alone.
	PutPhone(ctx context.Context, p PhoneRecord, add []AccountRecord) error
	// PutPasswords writes the passwords of a phone that is stored.
	PutPasswords(ctx context.Context, m mac.Addr, p Passwords) error
	// DropAccounts writes a phone and removes its accounts above slot last.
	DropAccounts(ctx context.Context, p PhoneRecord, last uint8) error
	// DeletePhone removes a phone with its accounts and its address.
	DeletePhone(ctx context.Context, m mac.Addr) error
	// PutAccount replaces identity and line of an account that exists.
	PutAccount(ctx context.Context, a AccountRecord) error
	// PutLine writes a line and returns its id; id 0 makes a new one.
	PutLine(ctx context.Context, l Line) (int64, error)
	// PutAddress writes a bound address, the only one of its phone.
	PutAddress(ctx context.Context, b BoundAddress) error
	// DeleteAddress forgets a bound address.
	DeleteAddress(ctx context.Context, ip netip.Addr) error
	// Apply writes a change, and returns the ids of new lines by those that
	// stood for them.
	Apply(ctx context.Context, c Change) (map[int64]int64, error)
	// PutSitePolicy writes the policy of the site.
	PutSitePolicy(ctx context.Context, p Policy) error
	// Seen notes when a phone was last heard of. It returns at once.
	Seen(m mac.Addr, at time.Time)
	// KeepAction and DropAction note what a phone is being asked to do, the only
	// thing at a time, and that this is over. They return at once; what they
	// note is on disk within a second.
	KeepAction(a Action)
	DropAction(m mac.Addr)
}

// PhoneSummary is a phone as a list shows it. It holds no secret.
type PhoneSummary struct {
	PhoneRecord
	Accounts []AccountSummary // by slot
	Address  netip.Addr       // bound by an administrator; zero: none
}

// AccountSummary is an account as a list shows it. It holds no secret.
type AccountSummary struct {
	Account   mac.Account
	Username  string
	LineID    int64 // 0: nobody is signed in
	Name      string
	Number    string
	Phase     Phase
	Location  string
	SignedIn  time.Time
	SignedOut time.Time
	By        string // who signed in
	Pending   bool   // a new device identity was not seen with the phone yet
}
