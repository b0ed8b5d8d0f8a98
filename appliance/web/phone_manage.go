package web

import (
	"errors"
	"net/http"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// manage does with a phone what the button of a form says.
func (s *Server) manage(w http.ResponseWriter, r *http.Request) {
	a, ok := s.formAccount(w, r)
	if !ok {
		return
	}
	ctx, key, path := r.Context(), r.PostForm.Get("do"), phonePath(a.MAC)
	var err error
	switch key {
	case "signout":
		err = s.b.SignOut(ctx, []mac.Account{a})
	case "restart":
		err = s.b.Restart(ctx, []mac.Account{a})
	case "rotate":
		err = s.b.Rotate(ctx, a)
	case "locate":
		err = s.b.SetLocation(ctx, a, r.PostForm.Get("location"))
	case "retire":
		err = s.b.Retire(ctx, a.MAC)
	case "forget":
		path, err = "/phones", s.b.Forget(ctx, a.MAC)
	case "replace":
		by, bad := mac.Parse(r.PostForm.Get("by"))
		if bad != nil || by.IsZero() || by.IsMulticast() || by == a.MAC {
			err = &api.Invalid{Field: "by", Text: s.texts.say("phones.mac-bad")}
			break
		}
		path, err = phonePath(by), s.b.Replace(ctx, a.MAC, by)
	default:
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return
	}
	if bad, ok := errors.AsType[*api.Invalid](err); ok {
		s.showPhone(w, r, http.StatusUnprocessableEntity, a.MAC, 0, approveForm{Manage: bad.Text})
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	done(w, r, path, "managed-"+key)
}
