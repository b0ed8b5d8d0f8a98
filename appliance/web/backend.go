package web

import (
	"context"

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
}

// Access is how far the set-up has come.
type Access struct {
	// SetUpCode is the one-time code that the first administrator reads at
	// the console. Empty: there is none, so nobody can claim the box.
	SetUpCode string
	// PasswordHash is what Claim was given. Empty: the box is not claimed.
	PasswordHash string
}
