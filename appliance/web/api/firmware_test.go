package api

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay/dhcp/mac"
)

func (f *fake) Firmware(context.Context) (FirmwareView, error) {
	if f.empty {
		return FirmwareView{}, nil
	}
	return FirmwareView{
		Room:   3 << 30,
		Images: []FirmwareImage{{ID: "yealink-108.86.0.70", Vendor: "yealink", Title: "Yealink", Version: "108.86.0.70", Added: at, Used: true, Files: []FirmwareFile{{Name: "x.rom", Size: 20 << 20, SHA256: strings.Repeat("ab", 32), Checked: "MD5"}}}},
		Pins:   []FirmwarePin{{Vendor: "yealink", Model: "T46U", Hardware: "V2", Image: "yealink-108.86.0.70", Since: at, By: "administrator"}},
		Rollouts: []FirmwareRollout{{
			ID: 3, Vendor: "yealink", Title: "Yealink", Model: "T46U", Image: "yealink-108.86.0.70", Version: "108.86.0.70", AtOnce: 2, State: "going", Created: at, Changed: at, By: "administrator",
			Steps: []FirmwareStep{
				{MAC: known, Name: "Anna\x1b[31m", State: "seen", Before: "108.86.0.20", Tries: 1, First: true, Since: at},
				{MAC: other, State: "failed", Reason: "firmware-not-seen", Text: "it fetched the image and was not seen with it", Tries: 2, Since: at},
			},
		}},
		Models: []FirmwareModel{{Vendor: "yealink", Title: "Yealink", Model: "T46U", Phones: []FirmwarePhone{
			{MAC: known, Firmware: "108.86.0.70", Online: true},
			{MAC: other, Firmware: "108.82.0.1", Below: "firmware 108.82.0.1 is older than 83"},
		}}},
	}, nil
}

func (f *fake) PutImage(_ context.Context, e ImageEdit, body io.Reader) (FirmwareImage, error) {
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		return FirmwareImage{}, err
	}
	if e.Checksum == "bad" {
		return FirmwareImage{}, &Invalid{Text: "its MD5 is another one"}
	}
	return FirmwareImage{ID: e.Vendor + "-" + e.Version, Vendor: e.Vendor, Version: e.Version, Label: e.Label, Added: at}, f.note("image %+v of %d bytes", e, n)
}

func (f *fake) RemoveImage(_ context.Context, id, file string) error {
	return f.note("remove image %s %q", id, file)
}

func (f *fake) PinFirmware(_ context.Context, e FirmwarePinEdit) error {
	return f.note("pin %+v", e)
}

func (f *fake) StartRollout(_ context.Context, e FirmwarePlan) (FirmwareRollout, error) {
	if len(e.First) == 0 {
		return FirmwareRollout{}, &Invalid{Text: "name the phone that goes first, or several"}
	}
	return FirmwareRollout{ID: 4, State: "canary"}, f.note("roll out %+v", e)
}

func (f *fake) StopRollout(_ context.Context, id int64) (FirmwareRollout, error) {
	return FirmwareRollout{ID: id, State: "stopped"}, f.note("stop %d", id)
}

func (f *fake) ResumeRollout(_ context.Context, id int64) (FirmwareRollout, error) {
	return FirmwareRollout{ID: id, State: "canary"}, f.note("resume %d", id)
}

func (f *fake) RollbackFirmware(_ context.Context, id int64) (FirmwareRollout, error) {
	if id == 9 {
		return FirmwareRollout{}, ErrNotFound
	}
	return FirmwareRollout{ID: id + 1, State: "going", Back: true}, f.note("roll back %d", id)
}

func TestFirmwareRoutes(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		did, says                string
	}{
		{"all", "GET", "/firmware", "", 200, "", `"state":"going"`},
		{"a file", "PUT", "/firmware/images/yealink/108.86.0.70/x.rom?label=a&checksum=abcd", "content", 200, "image {Vendor:yealink Version:108.86.0.70 Label:a File:x.rom Size:7 Checksum:abcd} of 7 bytes", `"files":[]`},
		{"another checksum", "PUT", "/firmware/images/yealink/1/x.rom?checksum=bad", "content", 422, "", "MD5"},
		{"remove", "DELETE", "/firmware/images/yealink-1", "", 204, `remove image yealink-1 ""`, ""},
		{"remove a file", "DELETE", "/firmware/images/yealink-1/x.rom", "", 204, `remove image yealink-1 "x.rom"`, ""},
		{"pin", "PUT", "/firmware/pins", `{"vendor":"yealink","model":"T46U","image":"i"}`, 204, "pin {Vendor:yealink Model:T46U Hardware: Image:i OtherFamily:false}", ""},
		{"pin with an unknown key", "PUT", "/firmware/pins", `{"vendor":"yealink","modell":"T46U"}`, 422, "", "modell"},
		{"roll out", "POST", "/firmware/rollouts", `{"vendor":"yealink","model":"T46U","image":"i","first":["00:00:5e:00:53:01"],"at_once":2}`, 200, "roll out {Vendor:yealink Model:T46U Hardware: Image:i First:[00:00:5e:00:53:01] AtOnce:2 OtherFamily:false}", `"steps":[]`},
		{"roll out to nobody first", "POST", "/firmware/rollouts", `{"vendor":"yealink","model":"T46U","image":"i","at_once":2}`, 422, "", "goes first"},
		{"stop", "POST", "/firmware/rollouts/3/stop", "", 200, "stop 3", `"state":"stopped"`},
		{"resume", "POST", "/firmware/rollouts/3/resume", "", 200, "resume 3", `"state":"canary"`},
		{"roll back", "POST", "/firmware/rollouts/3/rollback", "", 200, "roll back 3", `"back":true`},
		{"roll back nothing", "POST", "/firmware/rollouts/9/rollback", "", 404, "", ""},
		{"roll back nonsense", "POST", "/firmware/rollouts/x/rollback", "", 422, "", `"field":"id"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake()
			r := httptest.NewRequest(tc.method, Prefix+tc.path, strings.NewReader(tc.body))
			if tc.method != http.MethodGet {
				r.Header.Set("Content-Type", "application/json")
			}
			w := httptest.NewRecorder()
			Handler(f, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
			if w.Code != tc.status || strings.Join(f.calls, "; ") != tc.did || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("%d %s\n%q, want %q", w.Code, w.Body, f.calls, tc.did)
			}
		})
	}
}

// TestFirmwareCommands prints what a box says, and sends a file to it.
func TestFirmwareCommands(t *testing.T) {
	f := newFake()
	socket := serve(t, f)
	ctx := context.Background()
	var out bytes.Buffer
	if err := PrintFirmware(ctx, &out, socket); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"yealink-108.86.0.70", "MD5", "going", "1 of 2", "it fetched the image", "older than 83", "in use"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a control character reaches the terminal")
	}
	file := filepath.Join(t.TempDir(), "x.rom")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AddImage(ctx, &out, socket, ImageEdit{Vendor: "yealink", Version: "1.2", Label: "D785"}, []string{file}); err != nil {
		t.Fatal(err)
	}
	if err := StartRollout(ctx, &out, socket, FirmwarePlan{Vendor: "yealink", Model: "T46U", Image: "i", First: []mac.Addr{known}, AtOnce: 1}); err != nil {
		t.Fatal(err)
	}
	if err := ChangeRollout(ctx, &out, socket, 3, "stop"); err != nil {
		t.Fatal(err)
	}
	if err := PinFirmware(ctx, &out, socket, FirmwarePinEdit{Vendor: "yealink", Model: "T46U"}); err != nil {
		t.Fatal(err)
	}
	if err := RemoveImage(ctx, &out, socket, "yealink-1", ""); err != nil {
		t.Fatal(err)
	}
	want := "image {Vendor:yealink Version:1.2 Label:D785 File:x.rom Size:7 Checksum:} of 7 bytes; roll out {Vendor:yealink Model:T46U Hardware: Image:i First:[00:00:5e:00:53:01] AtOnce:1 OtherFamily:false}; stop 3; pin {Vendor:yealink Model:T46U Hardware: Image: OtherFamily:false}; remove image yealink-1 \"\""
	if got := strings.Join(f.calls, "; "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
