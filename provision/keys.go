package provision

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxKeys is as many as the largest phone with expansion modules has.
const maxKeys = 200

// keyNumber is what a key may dial, keyPage what a sign-in key may open.
var (
	keyNumber = regexp.MustCompile(`^(?:\+?[0-9*#]{1,32})$`)
	keyPage   = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]-]{1,255}(?:/[A-Za-z0-9._~/-]{0,255})?$`)
)

// The words on keys whose label nobody wrote, and beside the key of an account
// that nobody is signed in to, by ISO 639-1.
var (
	nobodyWords  = map[string]string{"en": "Not signed in", "es": "Sin sesión", "ja": "未サインイン", "de": "Nicht angemeldet", "fr": "Non connecté", "pt": "Sem sessão"}
	signInWords  = map[string]string{"en": "Sign in", "es": "Iniciar sesión", "ja": "サインイン", "de": "Anmelden", "fr": "Connexion", "pt": "Iniciar sessão"}
	signOutWords = map[string]string{"en": "Sign out", "es": "Cerrar sesión", "ja": "サインアウト", "de": "Abmelden", "fr": "Déconnexion", "pt": "Terminar sessão"}
)

// keyView is a key in a template. Exactly one of BLF, Speed, Park, Pickup and
// Page is true; sign-in and sign-out keys are Speed, or Page where they open
// an address.
type keyView struct {
	Position                       int // from 1
	Slot                           int
	Value, Label                   string
	Dial                           string // of a sign-in or sign-out key: what it dials where it opens no page
	Sign                           bool   // it signs in or out, on the account of its slot
	BLF, Speed, Park, Pickup, Page bool
}

// withScreens lets the keys for signing in and out open a page on the phone's
// screen instead of dialling.
func withScreens(keys []Key, base string) []Key {
	keys = slices.Clone(keys)
	for i, k := range keys {
		keys[i].Dial = k.Value
		switch slot := max(1, int(k.Slot)); k.Kind {
		case KeySignIn:
			keys[i].Value = base + screenPath(slot, "sign-in")
		case KeySignOut:
			keys[i].Value = base + screenPath(slot, "sign-out")
		}
	}
	return keys
}

// keyViews puts the keys of a phone in order behind those of its lines, and
// leaves out what can't be written.
func keyViews(keys []Key, lines int, lang, pickUp string) []keyView {
	taken := make(map[int]bool)
	for n := 1; n <= lines; n++ {
		taken[n] = true
	}
	keys = slices.Clone(keys)
	slices.SortStableFunc(keys, func(a, b Key) int { return cmp.Compare(wish(a), wish(b)) })
	var out []keyView
	next := 1
	for _, k := range keys {
		v, ok := k.view(lang, pickUp)
		if !ok || len(out) == maxKeys {
			continue
		}
		if v.Position < 1 || v.Position > maxKeys || taken[v.Position] {
			for taken[next] {
				next++
			}
			v.Position = next
		}
		taken[v.Position] = true
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b keyView) int { return a.Position - b.Position })
	return out
}

// wish orders keys that name their position before those that do not.
func wish(k Key) int {
	if k.Position < 1 || k.Position > maxKeys {
		return maxKeys + 1
	}
	return k.Position
}

func (k Key) view(lang, pickUp string) (keyView, bool) {
	v := keyView{Position: k.Position, Slot: max(1, int(k.Slot)), Value: k.Value}
	word := ""
	switch k.Kind {
	case KeyBLF:
		v.BLF = true
	case KeySpeed:
		v.Speed = true
	case KeyPark:
		v.Park = true
	case KeyPickup:
		if pickUp == "" {
			return keyView{}, false
		}
		v.Pickup = true
		v.Value = pickUp + strings.TrimPrefix(k.Value, pickUp)
	case KeySignIn, KeySignOut:
		words := signInWords
		if k.Kind == KeySignOut {
			words = signOutWords
		}
		word = cmp.Or(words[lang], words["en"])
		if v.Slot > 1 {
			word += " " + strconv.Itoa(v.Slot)
		}
		v.Sign, v.Dial = true, k.Dial
		if v.Page = keyPage.MatchString(k.Value); v.Page {
			v.Label = cmp.Or(label(k.Label), word)
			return v, true
		}
		v.Speed = true
	default:
		return keyView{}, false
	}
	v.Label = cmp.Or(label(k.Label), word, k.Value)
	return v, keyNumber.MatchString(v.Value)
}

// keySheet is the keys of a page, or those beside the screen.
type keySheet struct {
	Index int // from 1
	Side  bool
	Keys  []keySpot
}

// keySpot is a key and where on its page it is. Line is the account that it
// stands for; 0: it is none of those.
type keySpot struct {
	Index, Line int
	keyView
}

// KeyPages are the keys of lines and then all others, in the places that the
// model has for them.
func (v view) KeyPages() []keySheet {
	spots := make([]keySpot, 0, len(v.Accounts)+len(v.Keys))
	if !v.model.CallKeys {
		for i, a := range v.Accounts {
			spots = append(spots, keySpot{i + 1, a.Slot, keyView{}})
		}
	}
	for _, k := range v.Keys {
		if !k.Page {
			spots = append(spots, keySpot{k.Position, 0, k})
		}
	}
	var pages []keySheet
	for _, s := range spots {
		page := keySheet{Index: 1, Side: s.Index <= v.model.SideKeys}
		if !page.Side {
			s.Index -= v.model.SideKeys
			if n := v.model.PageKeys; n > 0 {
				page.Index, s.Index = (s.Index-1)/n+1, (s.Index-1)%n+1
			}
		}
		if last := len(pages) - 1; last < 0 || pages[last].Index != page.Index || pages[last].Side != page.Side {
			pages = append(pages, page)
		}
		last := &pages[len(pages)-1]
		last.Keys = append(last.Keys, s)
	}
	return pages
}

// LastKeyPage is how many pages there must be; 0: the phone has no pages, or
// none has a key.
func (v view) LastKeyPage() int {
	last := 0
	for _, p := range v.KeyPages() {
		if !p.Side && v.model.PageKeys > 0 {
			last = p.Index
		}
	}
	return last
}
