package appliance

import (
	"context"
	"errors"
	"slices"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
	"patchbay/sipedge"
)

// features serves the codes by which a phone is enrolled, signed in and signed
// out. They are there for every phone that registered, and need no gateway.
type features struct{ a *Appliance }

var _ sipedge.FeatureCodes = features{}

// codeDigits is how many digits a caller may press for a verification code.
const codeDigits = enrol.MaxDigits

// Feature implements sipedge.FeatureCodes.
func (f features) Feature(ctx context.Context, from mac.Account, feature, argument string) (sipedge.Outcome, bool) {
	ctx = api.WithActor(ctx, api.Actor{Name: "phone " + from.String(), Via: "phone"})
	var out sipedge.Outcome
	switch feature {
	case sipedge.FeatureEnrol:
		out = f.enrol(ctx, from, argument)
	case sipedge.FeatureSignOut:
		out = f.signOut(ctx, from)
	case sipedge.FeaturePair:
		out = f.pair(ctx, from)
	default:
		return out, false
	}
	out.Language = f.language(from)
	if out.Display == "" && len(out.Say) > 0 {
		out.Display = display(out.Language, out.Say[0])
	}
	return out, true
}

// enrol takes a verification code, or asks for one.
func (f features) enrol(ctx context.Context, from mac.Account, code string) sipedge.Outcome {
	if phase, err := f.a.directory.Phase(from); err == nil && phase != enrol.Waiting {
		return sipedge.Outcome{Say: []string{"already-enrolled"}}
	}
	if code == "" {
		return sipedge.Outcome{Say: []string{"enter-code"}, Ask: codeDigits}
	}
	err := f.a.desk.Redeem(ctx, from, code)
	_ = backend(f).audited(ctx, "redeem-code", from.String(), "", said(err))
	switch {
	case err == nil:
		out := sipedge.Outcome{Say: []string{"enrolled"}, OK: true}
		if phase, _ := f.a.directory.Phase(from); phase == enrol.SignedIn {
			out.Say = append(out.Say, "signed-in")
		}
		return out
	case errors.Is(err, enrol.ErrTooMany):
		return sipedge.Outcome{Say: []string{"try-later"}}
	case errors.Is(err, enrol.ErrWrongCode):
		return sipedge.Outcome{Say: []string{"wrong-code"}}
	case errors.Is(err, enrol.ErrTransition):
		return sipedge.Outcome{Say: []string{"already-enrolled"}}
	}
	f.a.log.Error("code not taken", "component", "enrol", "mac", from.MAC, "err", err)
	return sipedge.Outcome{Say: []string{"error"}}
}

// signOut ends the sign-in of a phone.
func (f features) signOut(ctx context.Context, from mac.Account) sipedge.Outcome {
	err := f.a.desk.SignOutAll(ctx, []mac.Account{from}, "")
	_ = backend(f).audited(ctx, "sign-out", from.String(), "", said(err))
	switch {
	case err == nil:
		return sipedge.Outcome{Say: []string{"signed-out"}, OK: true}
	case errors.Is(err, enrol.ErrTransition):
		return sipedge.Outcome{Say: []string{"not-signed-in"}}
	}
	f.a.log.Error("not signed out", "component", "enrol", "mac", from.MAC, "err", err)
	return sipedge.Outcome{Say: []string{"error"}}
}

// pair speaks where to sign in and the code for it, twice, and shows both.
func (f features) pair(ctx context.Context, from mac.Account) sipedge.Outcome {
	p, err := f.a.pairings.Begin(ctx, from)
	_ = backend(f).audited(ctx, "pairing", from.String(), "", pairingSaid(err))
	switch {
	case errors.Is(err, enrol.ErrNoMethod):
		return sipedge.Outcome{Say: []string{"not-allowed"}}
	case errors.Is(err, enrol.ErrTransition):
		if phase, _ := f.a.directory.Phase(from); phase == enrol.Waiting {
			return sipedge.Outcome{Say: []string{"not-enrolled"}}
		}
		return sipedge.Outcome{Say: []string{"signed-in"}}
	case err != nil:
		f.a.log.Error("pairing not begun", "component", "enrol", "mac", from.MAC, "err", err)
		return sipedge.Outcome{Say: []string{"error"}}
	case p.State != enrol.PairingShown:
		return sipedge.Outcome{Say: []string{"try-later"}}
	}
	where := strings.TrimSuffix(strings.TrimPrefix(p.URL, "https://"), "/")
	once := []string{"sign-in-url", "spell:" + where, "sign-in-code", "spell:" + p.Code}
	return sipedge.Outcome{Say: append(once, once...), Display: p.Code + " " + where, OK: true}
}

// language is what a phone speaks: its own, or that of its site, or English
// where its vendor has no words in that.
func (f features) language(from mac.Account) string {
	p, ok := f.a.directory.Phone(from.MAC)
	language := f.a.cfg.Box.Language
	if ok && p.Language != "" {
		language = p.Language
	}
	if !slices.Contains(Languages, language) {
		return "en"
	}
	if v, known := f.a.catalog.Vendor(p.Vendor); known && len(v.Languages) > 0 {
		if _, speaks := v.Languages[language]; !speaks {
			return "en"
		}
	}
	return language
}

// displays are what phones show in place of the caller's name while they say
// it. They are short: many displays have 16 to 20 characters.
var displays = map[string]map[string]string{
	"en": {"enrolled": "Phone set up", "already-enrolled": "Set up already", "enter-code": "Enter code, then #", "wrong-code": "Wrong code", "try-later": "Try again later", "not-enrolled": "Not set up yet", "signed-in": "Signed in", "signed-out": "Signed out", "not-signed-in": "Nobody signed in", "error": "Failed, try later", "not-allowed": "Not allowed", "sign-in-url": "Sign in"},
	"de": {"enrolled": "Eingerichtet", "already-enrolled": "Schon eingerichtet", "enter-code": "Code, dann #", "wrong-code": "Falscher Code", "try-later": "Später versuchen", "not-enrolled": "Nicht eingerichtet", "signed-in": "Angemeldet", "signed-out": "Abgemeldet", "not-signed-in": "Niemand angemeldet", "error": "Fehler, später", "not-allowed": "Nicht erlaubt", "sign-in-url": "Anmelden"},
	"es": {"enrolled": "Teléfono activado", "already-enrolled": "Ya está activado", "enter-code": "Código y luego #", "wrong-code": "Código erróneo", "try-later": "Pruebe más tarde", "not-enrolled": "Sin activar", "signed-in": "Sesión iniciada", "signed-out": "Sesión cerrada", "not-signed-in": "Sin sesión", "error": "Error, más tarde", "not-allowed": "No permitido", "sign-in-url": "Iniciar sesión"},
	"fr": {"enrolled": "Poste activé", "already-enrolled": "Déjà activé", "enter-code": "Code, puis #", "wrong-code": "Code erroné", "try-later": "Réessayez plus tard", "not-enrolled": "Poste non activé", "signed-in": "Connecté", "signed-out": "Déconnecté", "not-signed-in": "Non connecté", "error": "Échec, réessayez", "not-allowed": "Non autorisé", "sign-in-url": "Se connecter"},
	"pt": {"enrolled": "Telefone ativado", "already-enrolled": "Já está ativado", "enter-code": "Código e depois #", "wrong-code": "Código errado", "try-later": "Tente mais tarde", "not-enrolled": "Não ativado", "signed-in": "Sessão iniciada", "signed-out": "Sessão encerrada", "not-signed-in": "Sem sessão", "error": "Falhou, mais tarde", "not-allowed": "Não permitido", "sign-in-url": "Iniciar sessão"},
	"ja": {"enrolled": "設定完了", "already-enrolled": "設定済み", "enter-code": "コードと#を入力", "wrong-code": "コードが違います", "try-later": "後でお試しください", "not-enrolled": "未設定", "signed-in": "サインイン済み", "signed-out": "サインアウトしました", "not-signed-in": "サインインなし", "error": "失敗しました", "not-allowed": "許可されていません", "sign-in-url": "サインイン"},
}

// display is what a phone shows while a prompt is said to it; empty if there
// is nothing to show.
func display(language, prompt string) string { return displays[language][prompt] }
