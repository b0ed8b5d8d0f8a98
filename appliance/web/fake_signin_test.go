package web

import (
	"context"
	"io"
	"time"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

func (f *fake) BeginPairing(_ context.Context, a mac.Account) (api.Pairing, error) {
	f.mu.Lock()
	f.paired = a
	f.mu.Unlock()
	return f.pairing(a), f.deskNote("pair %v", a)
}

func (f *fake) Pairing(_ context.Context, a mac.Account) (api.Pairing, error) {
	f.mu.Lock()
	here := f.paired == a
	f.mu.Unlock()
	if !here {
		return api.Pairing{}, api.ErrNotFound
	}
	return f.pairing(a), nil
}

func (f *fake) pairing(a mac.Account) api.Pairing {
	return api.Pairing{Account: a, State: "shown", Code: "ABCD-EFGH", URL: "https://id.example.com/device", Complete: "https://id.example.com/device?user_code=ABCD-EFGH", Expires: f.now().Add(time.Minute), Codes: 1}
}

func (f *fake) CancelPairing(_ context.Context, a mac.Account) error {
	return f.deskNote("unpair %v", a)
}

func (f *fake) PairingMethod() string { return f.method }

func (f *fake) SetPIN(_ context.Context, line int64, pin string) error {
	return f.deskNote("PIN of %d: %d digits", line, len(pin))
}

func (f *fake) LineSheet(_ context.Context, text []byte, dry bool) (api.SheetReport, error) {
	return f.sheet("line", text, dry)
}

func (f *fake) LineSheetOut(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "Name\r\n")
	return err
}

func (f *fake) SitePolicy(context.Context) (api.Policy, error) {
	return api.Policy{SIPDevices: "denied"}, nil
}

func (f *fake) LinePolicy(context.Context, int64) (api.Policy, error) {
	return api.Policy{SIPDevices: "denied", Location: f.text}, nil
}

func (f *fake) SetSitePolicy(_ context.Context, p api.Policy) error {
	return f.deskNote("policy of %d: %s", 0, p.Language)
}

func (f *fake) SetLinePolicy(_ context.Context, line int64, p api.Policy) error {
	return f.deskNote("policy of %d: %s", line, p.Language)
}

func (f *fake) deskNote(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desk(format, args...)
}

// The code of the own page is 482913, the PIN of extension 21 is 730155.
func (f *fake) EnterPIN(_ context.Context, code, extension, pin string) (string, error) {
	if code != "482913" || extension != "21" || pin != "730155" {
		return "", &api.Invalid{Field: "pin", Text: "extension or PIN is wrong"}
	}
	return "Anna", nil
}

func (f *fake) SendOn(_ context.Context, code string) (url, state string, err error) {
	if code != "482913" {
		return "", "", &api.Invalid{Field: "code", Text: "this code is wrong or over"}
	}
	return "https://id.example.com/auth?state=abc", "abc", nil
}

func (f *fake) ComeBack(_ context.Context, state, code string) (string, error) {
	if state != "abc" || code != "good" {
		return "", &api.Invalid{Text: "the identity provider refused"}
	}
	return "anna@example.com", nil
}
