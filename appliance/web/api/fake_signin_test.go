package api

import (
	"context"
	"io"
	"time"

	"patchbay/dhcp/mac"
)

func (f *fake) BeginPairing(_ context.Context, a mac.Account) (Pairing, error) {
	return f.pairing(a), f.note("pair %v", a)
}

func (f *fake) Pairing(_ context.Context, a mac.Account) (Pairing, error) {
	if a.Slot != 1 {
		return Pairing{}, ErrNotFound
	}
	return f.pairing(a), nil
}

func (f *fake) pairing(a mac.Account) Pairing {
	return Pairing{Account: a, State: "shown", Code: "ABCD-EFGH", URL: "https://id.example.com/device", Complete: "https://id.example.com/device?user_code=ABCD-EFGH", Expires: at.Add(time.Minute), Codes: 1}
}

func (f *fake) CancelPairing(_ context.Context, a mac.Account) error { return f.note("unpair %v", a) }

func (f *fake) PairingMethod() string { return "device" }

func (f *fake) SetPIN(_ context.Context, line int64, pin string) error {
	return f.note("PIN of %d: %d digits", line, len(pin))
}

func (f *fake) LineSheet(_ context.Context, text []byte, dry bool) (SheetReport, error) {
	return f.sheet("line", text, dry)
}

func (f *fake) LineSheetOut(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "Name\r\n")
	return err
}

func (f *fake) SitePolicy(context.Context) (Policy, error) { return Policy{SIPDevices: "denied"}, nil }

func (f *fake) LinePolicy(context.Context, int64) (Policy, error) {
	return Policy{SIPDevices: "denied", Location: ""}, nil
}

func (f *fake) SetSitePolicy(_ context.Context, p Policy) error {
	return f.note("policy of %d: %s", 0, p.Language)
}

func (f *fake) SetLinePolicy(_ context.Context, line int64, p Policy) error {
	return f.note("policy of %d: %s", line, p.Language)
}

func (f *fake) EnterPIN(context.Context, string, string, string) (string, error) { return "", nil }
func (f *fake) SendOn(context.Context, string) (url, state string, err error)    { return "", "", nil }
func (f *fake) ComeBack(context.Context, string, string) (string, error)         { return "", nil }
