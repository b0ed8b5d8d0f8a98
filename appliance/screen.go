package appliance

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
)

// screens is what phones with an XML browser show while somebody signs in or
// out with their keys.
type screens struct{ a *Appliance }

var _ provision.Screens = screens{}

// The steps of a screen, as they stand in its address.
const (
	stepShow       = "show"     // how it stands
	stepSignIn     = "sign-in"  // asks for a code, or shows the one that there is
	stepCancel     = "cancel"   // ends that
	stepSignOut    = "sign-out" // asks whether that is meant
	stepSignOutNow = "sign-out-now"
)

// screenWait is how long a phone waits for the code of an identity provider;
// then it is told to ask again.
const screenWait = 6 * time.Second

// screenAgain is how often a phone looks whether the user has signed in.
const screenAgain = 3 * time.Second

// Screen implements provision.Screens.
func (s screens) Screen(ctx context.Context, acc mac.Account, step string) (provision.Screen, bool) {
	ctx = api.WithActor(ctx, api.Actor{Name: "phone " + acc.String(), Via: "phone"})
	phase, err := s.a.directory.Phase(acc)
	if err != nil {
		return provision.Screen{}, false
	}
	say := wordsFor(features(s).language(acc))
	out := provision.Screen{Title: say("sign-in"), Exit: say("exit")}
	switch {
	case step == stepSignOut && phase == enrol.SignedIn:
		out.Title, out.Lines = say("sign-out"), s.signedIn(acc, say)
		out.Keys = []provision.ScreenKey{{Label: say("sign-out"), Step: stepSignOutNow}}
	case step == stepSignOutNow && phase == enrol.SignedIn:
		out.Title, out.Lines = say("sign-out"), []string{s.signOut(ctx, acc, say)}
	case step == stepSignOut || step == stepSignOutNow:
		out.Title, out.Lines = say("sign-out"), []string{say("nobody")}
	case step != stepSignIn && step != stepShow && step != stepCancel:
		return out, false
	case phase == enrol.Waiting:
		out.Lines = []string{say("waiting")}
	case phase == enrol.SignedIn:
		out.Lines = s.signedIn(acc, say)
		out.Keys = []provision.ScreenKey{{Label: say("sign-out"), Step: stepSignOut}}
	case step == stepCancel:
		s.a.pairings.Cancel(acc)
		_ = backend(s).audited(ctx, "cancel-pairing", acc.String(), "", nil)
		out.Lines = []string{say("cancelled")}
		out.Keys = []provision.ScreenKey{{Label: say("again"), Step: stepSignIn}}
	default:
		s.pairing(ctx, acc, step, say, &out)
	}
	return out, true
}

// signedIn says who is signed in.
func (s screens) signedIn(acc mac.Account, say words) []string {
	sum, _ := s.a.directory.Summary(acc.MAC)
	for _, a := range sum.Accounts {
		if a.Account == acc {
			return []string{say("in"), a.Name, a.Number}
		}
	}
	return []string{say("in")}
}

func (s screens) signOut(ctx context.Context, acc mac.Account, say words) string {
	err := s.a.desk.SignOutAll(ctx, []mac.Account{acc}, "")
	if err = backend(s).audited(ctx, "sign-out", acc.String(), "", said(err)); err != nil {
		s.a.log.Error("not signed out", "component", "enrol", "mac", acc.MAC, "err", err)
		return say("failed")
	}
	return say("out")
}

// pairing shows the code of a pairing, or what became of it. Asked to sign in
// it begins one.
func (s screens) pairing(ctx context.Context, acc mac.Account, step string, say words, out *provision.Screen) {
	p, known := s.a.pairings.Get(acc)
	var err error
	if step == stepSignIn {
		ctx, cancel := context.WithTimeout(ctx, screenWait)
		defer cancel()
		p, err = s.a.pairings.Begin(ctx, acc)
		known = err == nil
		_ = backend(s).audited(ctx, "pairing", acc.String(), "", pairingSaid(err))
	}
	again := []provision.ScreenKey{{Label: say("again"), Step: stepSignIn}}
	switch {
	case errors.Is(err, enrol.ErrNoMethod):
		out.Lines = []string{say("not-set-up")}
	case err != nil:
		out.Lines, out.Keys = []string{say("failed")}, again
	case !known:
		out.Lines, out.Keys = []string{say("nobody")}, again
	case p.State == enrol.PairingStarts:
		out.Lines, out.Again = []string{say("moment")}, screenAgain
		out.Keys = []provision.ScreenKey{{Label: say("refresh"), Step: stepShow}, {Label: say("cancel"), Step: stepCancel}}
	case p.State == enrol.PairingShown:
		out.Lines, out.Again = []string{say("open"), strings.TrimPrefix(p.URL, "https://"), say("enter"), p.Code}, screenAgain
		out.Keys = []provision.ScreenKey{{Label: say("refresh"), Step: stepShow}, {Label: say("cancel"), Step: stepCancel}}
	case p.State == enrol.PairingDone:
		out.Lines = []string{say("in"), p.Line}
	default:
		out.Lines, out.Keys = []string{say(cmp.Or(pairingWords[p.Why], "failed"))}, again
	}
}

// pairingWords are the words for why a pairing failed.
var pairingWords = map[story.Reason]string{
	story.PairingDenied: "denied", story.PairingExpired: "expired", story.PairingNetwork: "network", story.PairingNoLine: "no-line", story.LineRevoked: "no-policy",
}

// words says something in a language.
type words func(key string) string

// wordsFor are those of a language; what is missing is said in English.
func wordsFor(language string) words {
	return func(key string) string { return cmp.Or(screenWords[language][key], screenWords["en"][key]) }
}

// screenWords are what phones show on their screens.
var screenWords = map[string]map[string]string{
	"en": {
		"sign-in": "Sign in", "sign-out": "Sign out", "exit": "Exit", "again": "Again", "refresh": "Refresh", "cancel": "Cancel", "moment": "One moment, please",
		"open": "Open this address:", "enter": "and enter this code:", "in": "Signed in:", "out": "Signed out", "nobody": "Nobody is signed in", "cancelled": "Cancelled",
		"waiting": "This phone is not set up yet", "not-set-up": "Ask your administrator to sign you in", "failed": "That failed. Try again later",
		"denied": "Signing in was refused", "expired": "The code was not entered in time", "network": "The sign-in service can't be reached",
		"no-line": "There is no line for you", "no-policy": "Desk phones are not allowed for you",
	},
	"de": {
		"sign-in": "Anmelden", "sign-out": "Abmelden", "exit": "Ende", "again": "Nochmals", "refresh": "Neu laden", "cancel": "Abbruch", "moment": "Einen Moment, bitte",
		"open": "Diese Adresse öffnen:", "enter": "und diesen Code eingeben:", "in": "Angemeldet:", "out": "Abgemeldet", "nobody": "Niemand ist angemeldet", "cancelled": "Abgebrochen",
		"waiting": "Dieses Telefon ist noch nicht eingerichtet", "not-set-up": "Die Verwaltung meldet Sie an", "failed": "Das schlug fehl. Später versuchen",
		"denied": "Die Anmeldung wurde abgelehnt", "expired": "Der Code kam nicht rechtzeitig", "network": "Der Anmeldedienst ist nicht erreichbar",
		"no-line": "Für Sie gibt es keine Leitung", "no-policy": "Tischtelefone sind Ihnen nicht erlaubt",
	},
	"es": {
		"sign-in": "Iniciar sesión", "sign-out": "Cerrar sesión", "exit": "Salir", "again": "Repetir", "refresh": "Actualizar", "cancel": "Cancelar", "moment": "Un momento, por favor",
		"open": "Abra esta dirección:", "enter": "e introduzca este código:", "in": "Sesión iniciada:", "out": "Sesión cerrada", "nobody": "No hay ninguna sesión", "cancelled": "Cancelado",
		"waiting": "Este teléfono aún no está activado", "not-set-up": "Su administrador inicia la sesión", "failed": "Error. Pruebe más tarde",
		"denied": "Se rechazó el inicio de sesión", "expired": "El código no llegó a tiempo", "network": "El servicio de acceso no responde",
		"no-line": "No hay ninguna línea para usted", "no-policy": "No puede usar teléfonos de mesa",
	},
	"fr": {
		"sign-in": "Connexion", "sign-out": "Déconnexion", "exit": "Quitter", "again": "Réessayer", "refresh": "Actualiser", "cancel": "Annuler", "moment": "Un instant, s'il vous plaît",
		"open": "Ouvrez cette adresse :", "enter": "et saisissez ce code :", "in": "Connecté :", "out": "Déconnecté", "nobody": "Personne n'est connecté", "cancelled": "Annulé",
		"waiting": "Ce poste n'est pas encore activé", "not-set-up": "Votre administrateur vous connecte", "failed": "Échec. Réessayez plus tard",
		"denied": "La connexion a été refusée", "expired": "Le code est arrivé trop tard", "network": "Le service de connexion ne répond pas",
		"no-line": "Aucune ligne ne vous est attribuée", "no-policy": "Les postes fixes vous sont interdits",
	},
	"pt": {
		"sign-in": "Iniciar sessão", "sign-out": "Terminar sessão", "exit": "Sair", "again": "Repetir", "refresh": "Atualizar", "cancel": "Cancelar", "moment": "Um momento, por favor",
		"open": "Abra este endereço:", "enter": "e introduza este código:", "in": "Sessão iniciada:", "out": "Sessão terminada", "nobody": "Ninguém tem sessão iniciada", "cancelled": "Cancelado",
		"waiting": "Este telefone ainda não está ativado", "not-set-up": "O administrador inicia a sessão", "failed": "Falhou. Tente mais tarde",
		"denied": "O início de sessão foi recusado", "expired": "O código não chegou a tempo", "network": "O serviço de acesso não responde",
		"no-line": "Não há nenhuma linha para si", "no-policy": "Não pode usar telefones de mesa",
	},
	"ja": {
		"sign-in": "サインイン", "sign-out": "サインアウト", "exit": "終了", "again": "もう一度", "refresh": "更新", "cancel": "取消", "moment": "お待ちください",
		"open": "次のアドレスを開き:", "enter": "このコードを入力:", "in": "サインイン済み:", "out": "サインアウトしました", "nobody": "サインインしていません", "cancelled": "取り消しました",
		"waiting": "この電話機は未設定です", "not-set-up": "管理者にお問い合わせください", "failed": "失敗しました。後でお試しください",
		"denied": "サインインが拒否されました", "expired": "時間内に入力されませんでした", "network": "サインインサービスに接続できません",
		"no-line": "お使いの回線がありません", "no-policy": "卓上電話機は許可されていません",
	},
}
