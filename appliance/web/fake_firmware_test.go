package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

func (f *fake) furnishFirmware(now time.Time) {
	sum := strings.Repeat("0f1e2d3c", 8)
	f.firmware = api.FirmwareView{
		Room:    5 << 30,
		Vendors: []api.FirmwareVendor{{Name: "poly", Title: "Poly"}, {Name: "yealink", Title: "Yealink"}},
		Images: []api.FirmwareImage{
			{ID: "yealink-124.86.0.147", Vendor: "yealink", Title: "Yealink", Version: "124.86.0.147", Added: now.Add(-time.Hour), Used: true, Files: []api.FirmwareFile{{Name: "T31P-124.86.0.147.rom", Size: 21_345_678, SHA256: sum, Checked: "MD5"}}},
			{ID: "poly-6.4.6.2453", Vendor: "poly", Title: "Poly", Version: "6.4.6.2453", Added: now.Add(-30 * time.Hour), Files: []api.FirmwareFile{{Name: "3111-48450-001.sip.ld", Size: 71_345_678, SHA256: sum}, {Name: "3111-48810-001.sip.ld", Size: 70_345_678, SHA256: sum}}},
		},
		Pins: []api.FirmwarePin{{Vendor: "poly", Model: "VVX 450", Hardware: "3111-48450-001", Image: "poly-6.4.6.2453", Since: now.Add(-29 * time.Hour), By: "administrator"}},
	}
	run := api.FirmwareRollout{
		ID: 2, Vendor: "yealink", Title: "Yealink", Model: "T31P", Image: "yealink-124.86.0.147", Version: "124.86.0.147", AtOnce: 2, State: "going",
		Created: now.Add(-20 * time.Minute), Changed: now, By: "administrator",
	}
	model := api.FirmwareModel{Vendor: "yealink", Title: "Yealink", Model: "T31P"}
	for i := range 14 {
		m := mac.Addr{0x80, 0x5e, 0xc0, 0x00, 0x53, byte(i)}
		s := api.FirmwareStep{MAC: m, State: "waiting", Before: "124.82.0.9", Since: now.Add(-time.Minute)}
		p := api.FirmwarePhone{MAC: m, Firmware: "124.82.0.9", Online: true, Below: "firmware 124.82.0.9 is older than 83, the oldest that the Teams SIP gateway takes; it has approved 124.86.0.147"}
		switch i {
		case 0:
			s.State, s.First, s.Name, s.Tries, p.Firmware, p.Below = "seen", true, "Anna Beispiel", 1, "124.86.0.147", ""
		case 1:
			s.State, s.Tries = "loading", 1
		case 2:
			s.State, s.Tries = "loaded", 1
		case 3:
			s.Reason, s.Text, s.Name = "action-in-call", "somebody is talking on it; it is asked when the call is over", "Reception"
		case 4:
			s.State, s.Reason, s.Text = "away", "action-offline", "it is not registered"
		}
		run.Steps, model.Phones = append(run.Steps, s), append(model.Phones, p)
	}
	halted := api.FirmwareRollout{
		ID: 1, Vendor: "poly", Title: "Poly", Model: "VVX 450", Hardware: "3111-48450-001", Image: "poly-6.4.6.2453", Version: "6.4.6.2453", AtOnce: 1, State: "halted", Created: now.Add(-30 * time.Hour), Changed: now,
		Steps: []api.FirmwareStep{{MAC: poly, State: "failed", Reason: "firmware-not-seen", Text: "it fetched the image and was not seen with it; look at the phone", Tries: 2, First: true, Since: now.Add(-29 * time.Hour)}},
	}
	f.firmware.Rollouts = []api.FirmwareRollout{run, halted}
	f.firmware.Models = []api.FirmwareModel{
		{Vendor: "poly", Title: "Poly", Model: "VVX 450", Phones: []api.FirmwarePhone{{MAC: poly, Name: "Reception", Hardware: "3111-48450-001", Firmware: "6.4.3.5814", Online: true}}},
		{Vendor: "cisco-mpp", Title: "Cisco", Model: "8851", Phones: []api.FirmwarePhone{{MAC: cisco, Firmware: "12-0-3MPP"}}},
		model,
	}
	for m, p := range f.phones {
		if p.Model == "SIP-T31P" && m[5] > 4 {
			p.Firmware, p.FirmwareGap = "124.82.0.9", "firmware 124.82.0.9 is older than 83, the oldest that the Teams SIP gateway takes; it has approved 124.86.0.147"
		}
	}
}

func (f *fake) Firmware(context.Context) (api.FirmwareView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.firmware, nil
}

func (f *fake) PutImage(_ context.Context, e api.ImageEdit, body io.Reader) (api.FirmwareImage, error) {
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		return api.FirmwareImage{}, err
	}
	return api.FirmwareImage{}, f.deskNote("image %+v of %d bytes", e, n)
}

func (f *fake) RemoveImage(_ context.Context, id, _ string) error {
	return f.deskNote("remove image %s", id)
}

func (f *fake) PinFirmware(_ context.Context, e api.FirmwarePinEdit) error {
	return f.deskNote("pin %+v", e)
}

func (f *fake) StartRollout(_ context.Context, e api.FirmwarePlan) (api.FirmwareRollout, error) {
	return api.FirmwareRollout{}, f.deskNote("roll out %+v", e)
}

func (f *fake) StopRollout(_ context.Context, id int64) (api.FirmwareRollout, error) {
	return api.FirmwareRollout{}, f.deskNote("stop %d", id)
}

func (f *fake) ResumeRollout(_ context.Context, id int64) (api.FirmwareRollout, error) {
	return api.FirmwareRollout{}, f.deskNote("resume %d", id)
}

func (f *fake) RollbackFirmware(_ context.Context, id int64) (api.FirmwareRollout, error) {
	return api.FirmwareRollout{}, f.deskNote("roll back %d", id)
}

func TestFirmwarePage(t *testing.T) {
	s, f, token := office(t)
	f.firmware.Rollouts[0].Steps[3].Text = "<script>alert(1)</script>"
	page := request(s, http.MethodGet, "/firmware", nil, as(token)).Body.String()
	for _, want := range []string{"1 of 14 phones run it", "loads it", "&lt;script&gt;", "stopped by itself", "too old for the gateway", "MD5 of the vendor compared", "Pinned for revision 3111-48450-001", `value="resume"`, "Room for 5120.0 MiB more"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if phone := request(s, http.MethodGet, "/phones/80:5e:c0:00:53:05", nil, as(token)).Body.String(); !strings.Contains(phone, "too old for the gateway") {
		t.Error("the page of the phone does not say it")
	}
}

func TestFirmwareDo(t *testing.T) {
	for _, tc := range []struct {
		name   string
		form   url.Values
		status int
		did    string
	}{
		{"roll out", url.Values{"do": {"rollout"}, "model": {"yealink/T31P"}, "image": {"i"}, "first": {"80:5e:c0:00:53:01"}, "more": {"805ec0005302"}, "at_once": {"2"}, "hardware": {"V2"}, "other_family": {"1"}}, 303, "roll out {Vendor:yealink Model:T31P Hardware:V2 Image:i First:[80:5e:c0:00:53:01 80:5e:c0:00:53:02] AtOnce:2 OtherFamily:true}"},
		{"roll out to a word", url.Values{"do": {"rollout"}, "model": {"yealink/T31P"}, "more": {"anna"}, "at_once": {"2"}}, 422, ""},
		{"roll out to how many", url.Values{"do": {"rollout"}, "model": {"yealink/T31P"}}, 422, ""},
		{"pin", url.Values{"do": {"pin"}, "model": {"poly/VVX 450"}, "image": {"i"}}, 303, "pin {Vendor:poly Model:VVX 450 Hardware: Image:i OtherFamily:false}"},
		{"unpin", url.Values{"do": {"unpin"}, "model": {"poly/VVX 450"}, "image": {"i"}}, 303, "pin {Vendor:poly Model:VVX 450 Hardware: Image: OtherFamily:false}"},
		{"stop", url.Values{"do": {"stop"}, "id": {"2"}}, 303, "stop 2"},
		{"go on", url.Values{"do": {"resume"}, "id": {"2"}}, 303, "resume 2"},
		{"roll back", url.Values{"do": {"rollback"}, "id": {"2"}}, 303, "roll back 2"},
		{"stop nothing", url.Values{"do": {"stop"}}, 422, ""},
		{"remove", url.Values{"do": {"remove"}, "image": {"i"}}, 303, "remove image i"},
		{"nothing", url.Values{}, 422, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, f, token := office(t)
			w := request(s, http.MethodPost, "/firmware", tc.form, as(token))
			if got := strings.Join(f.did(), "; "); w.Code != tc.status || got != tc.did {
				t.Errorf("%d %q, want %d %q", w.Code, got, tc.status, tc.did)
			}
		})
	}
	s, f, token := office(t)
	f.err = &api.Invalid{Text: "roll-out 2 goes on"}
	if w := request(s, http.MethodPost, "/firmware", url.Values{"do": {"pin"}, "model": {"yealink/T31P"}, "image": {"i"}}, as(token)); w.Code != 422 || !strings.Contains(w.Body.String(), "roll-out 2 goes on") || !strings.Contains(w.Body.String(), "<details open>") {
		t.Errorf("%d: the fault is not on the page", w.Code)
	}
}

// TestImageUpload sends a file that is larger than any form may be.
func TestImageUpload(t *testing.T) {
	s, f, token := office(t)
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for _, field := range [][2]string{{"vendor", "yealink"}, {"version", " 124.86.0.147 "}, {"checksum", "abcd"}, {"label", ""}} {
		_ = form.WriteField(field[0], field[1])
	}
	part, _ := form.CreateFormFile("file", `C:\images\T31P.rom`)
	_, _ = part.Write(bytes.Repeat([]byte("x"), 3<<20))
	_ = form.Close()
	w := request(s, http.MethodPost, "/firmware/images", nil, as(token), func(r *http.Request) {
		r.Body = io.NopCloser(&b)
		r.Header.Set("Content-Type", form.FormDataContentType())
	})
	want := fmt.Sprintf("image %+v of %d bytes", api.ImageEdit{Vendor: "yealink", Version: "124.86.0.147", File: "T31P.rom", Size: -1, Checksum: "abcd"}, 3<<20)
	if got := strings.Join(f.did(), "; "); w.Code != http.StatusSeeOther || got != want {
		t.Errorf("%d %q, want %q", w.Code, got, want)
	}
	if w = request(s, http.MethodPost, "/firmware/images", url.Values{"vendor": {"yealink"}}, as(token)); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("a form without a file: %d", w.Code)
	}
}
