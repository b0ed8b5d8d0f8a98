package sipedge

import "patchbay/dhcp/mac"

// Identity is the device identity by which one account registers.
type Identity struct {
	Account  mac.Account
	Username string
	Password string
	// OldPassword is the one before, which is good until the phone was seen
	// with Password. Empty: there is none.
	OldPassword string
	LineID      int64 // 0: nobody is signed in
}

// Line is what a user is reached by at the gateway, and on this site.
type Line struct {
	ID           int64
	AOR          string // sip:user@domain at the gateway; the user part is what the gateway dials
	DisplayName  string
	Number       string // as the gateway knows it, usually E.164 with +
	Extension    string // short number on this site, may be empty
	AuthUser     string // digest user at the gateway; empty: no registration of its own
	AuthPassword string
	// Token: the line registers with the access token of its user, see
	// UplinkConfig.UserToken.
	Token bool
	// Site marks the site line: always registered, the way out for
	// emergency calls of phones that nobody is signed in to.
	Site bool
}

// Accounts is the directory of the site, held in memory: it is asked in the
// receive path and must neither block nor touch the disk.
type Accounts interface {
	// Identity finds an account by the user name of its device identity.
	Identity(username string) (Identity, bool)
	// Account finds an account by its key.
	Account(a mac.Account) (Identity, bool)
	// Line finds a line by its id.
	Line(id int64) (Line, bool)
	// Dialled finds the line that a number, an extension or the user part of
	// an address of record means on this site.
	Dialled(number string) (Line, bool)
	// OnLine returns the accounts that are signed in to a line.
	OnLine(id int64) []mac.Account
	// Lines returns all lines, the site line included.
	Lines() []Line
}
