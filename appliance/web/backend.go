package web

import (
	"context"
	"errors"

	"patchbay/appliance/web/api"
)

// Backend is what the page shows and changes, and who may open it.
type Backend interface {
	api.Backend
	Gatekeeper
}

// Gatekeeper keeps the one password of the page.
type Gatekeeper interface {
	// Access says how far the set-up has come. It is asked for requests that
	// nobody is logged in for, so it must be cheap.
	Access(ctx context.Context) (Access, error)
	// Claim stores the hash of the first password and forgets the set-up code
	// in one transaction, on disk when it returns. It returns an error, and
	// changes nothing, if there is a password already.
	Claim(ctx context.Context, passwordHash string) error
	// ChangePassword stores the hash of a new password, on disk when it
	// returns. It returns [ErrPasswordChanged], and changes nothing, if the
	// stored hash is not from: somebody else was faster.
	ChangePassword(ctx context.Context, from, to string) error
}

// ErrPasswordChanged: the password was changed in between.
var ErrPasswordChanged = errors.New("the password was changed in the meantime")

// Access is how far the set-up has come.
type Access struct {
	// SetUpCode is the one-time code that the first administrator reads at
	// the console. Empty: there is none, so nobody can claim the box.
	SetUpCode string
	// PasswordHash is what Claim or ChangePassword was given last. Empty: the box is not claimed.
	PasswordHash string
}
