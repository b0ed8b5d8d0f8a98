package appliance

import (
	"context"

	"patchbay/appliance/web"
)

// ChangePassword implements web.Gatekeeper.
func (b backend) ChangePassword(ctx context.Context, from, to string) error {
	return b.audited(ctx, "change-password", "", "", b.changePassword(ctx, from, to))
}

func (b backend) changePassword(ctx context.Context, from, to string) error {
	b.a.claim.Lock()
	defer b.a.claim.Unlock()
	access, err := b.Access(ctx)
	if err != nil {
		return err
	}
	if access.PasswordHash == "" || access.PasswordHash != from {
		return web.ErrPasswordChanged
	}
	return b.a.db.Settings().PutSecret(ctx, settingPassword, to)
}
