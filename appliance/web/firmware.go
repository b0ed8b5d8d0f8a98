package web

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strconv"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// shownSteps and shownPhones bound the rows of a roll-out, and the phones to
// choose from.
const (
	shownSteps  = 50
	shownPhones = 200
	shownRuns   = 10
)

// firmwarePage is the body of the page of firmware.
type firmwarePage struct {
	api.FirmwareView
	Error string
	Open  string // the model, as vendor/model, whose form is open
}

// Runs are the roll-outs that are shown.
func (p firmwarePage) Runs() []firmwareRun {
	var out []firmwareRun
	newest := map[string]bool{}
	for _, r := range p.Rollouts[:min(len(p.Rollouts), shownRuns)] {
		key := r.Vendor + "/" + r.Model + "/" + r.Hardware
		out = append(out, firmwareRun{r, !newest[key]})
		newest[key] = true
	}
	return out
}

// firmwareRun is a roll-out as it is shown.
type firmwareRun struct {
	api.FirmwareRollout
	Last bool // no other one has come after it for the same phones
}

// Active reports whether phones are asked to load the image.
func (r firmwareRun) Active() bool { return r.State == "canary" || r.State == "going" }

// Stopped reports whether it can go on.
func (r firmwareRun) Stopped() bool { return r.State == "stopped" || r.State == "halted" }

// Shown are the phones to look at: those that go first, and all that do not
// just wait or run it already; when it is over, those that do not run it.
func (r firmwareRun) Shown() []api.FirmwareStep {
	var out []api.FirmwareStep
	for _, s := range r.Steps {
		if s.State != "seen" && (s.State != "waiting" || s.Reason != "") || s.First && (r.Active() || r.Stopped()) {
			out = append(out, s)
		}
	}
	return out[:min(len(out), shownSteps)]
}

// ImagesFor are the images of a vendor.
func (p firmwarePage) ImagesFor(vendor string) (out []api.FirmwareImage) {
	for _, i := range p.Images {
		if i.Vendor == vendor {
			out = append(out, i)
		}
	}
	return out
}

// PinsOf are the pins of a model.
func (p firmwarePage) PinsOf(m api.FirmwareModel) (out []api.FirmwarePin) {
	for _, pin := range p.Pins {
		if pin.Vendor == m.Vendor && pin.Model == m.Model {
			out = append(out, pin)
		}
	}
	return out
}

// Choice are the phones of a model that can go first.
func (firmwarePage) Choice(m api.FirmwareModel) []api.FirmwarePhone {
	return m.Phones[:min(len(m.Phones), shownPhones)]
}

// Revisions are the hardware revisions of a model.
func (firmwarePage) Revisions(m api.FirmwareModel) (out []string) {
	seen := map[string]bool{"": true}
	for _, p := range m.Phones {
		if !seen[p.Hardware] {
			seen[p.Hardware] = true
			out = append(out, p.Hardware)
		}
	}
	return out
}

// MiB is a size for people.
func (firmwarePage) MiB(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func (s *Server) firmware(w http.ResponseWriter, r *http.Request) {
	s.showFirmware(w, r, http.StatusOK, firmwarePage{})
}

func (s *Server) showFirmware(w http.ResponseWriter, r *http.Request, status int, p firmwarePage) {
	var err error
	if p.FirmwareView, err = s.b.Firmware(r.Context()); err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, status, "firmware", frame{Title: s.texts.say("firmware.title"), Active: "phones", Live: "/firmware/events", Body: p})
}

func (s *Server) firmwareEvents(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func(l *live) error {
		v, err := s.b.Firmware(r.Context())
		if err != nil {
			return err
		}
		return l.swap("firmware", firmwarePage{FirmwareView: v}, "rollouts")
	})
}

// uploadImage streams a file of a form to the box. The fields stand before the
// file in the form, so that nothing has to be kept of it here.
func (s *Server) uploadImage(w http.ResponseWriter, r *http.Request) {
	api.SlowUpload(w)
	parts, err := r.MultipartReader()
	if err != nil {
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return
	}
	fields := map[string]string{}
	for {
		part, err := parts.NextPart()
		if err != nil {
			s.firmwareFailed(w, r, firmwarePage{}, &api.Invalid{Text: s.texts.say("firmware.no-file")})
			return
		}
		if part.FormName() == "file" && part.FileName() != "" {
			s.takeImage(w, r, fields, part)
			return
		}
		text, err := io.ReadAll(io.LimitReader(part, 4<<10))
		if err != nil || len(fields) > 20 {
			s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
			return
		}
		fields[part.FormName()] = strings.TrimSpace(string(text))
	}
}

func (s *Server) takeImage(w http.ResponseWriter, r *http.Request, fields map[string]string, part *multipart.Part) {
	e := api.ImageEdit{
		Vendor: fields["vendor"], Version: fields["version"], Label: fields["label"], Checksum: fields["checksum"],
		File: path.Base(strings.ReplaceAll(part.FileName(), `\`, "/")), Size: -1,
	}
	if _, err := s.b.PutImage(r.Context(), e, part); err != nil {
		s.firmwareFailed(w, r, firmwarePage{}, err)
		return
	}
	done(w, r, "/firmware", "image")
}

// firmwareFailed shows the page with what was wrong.
func (s *Server) firmwareFailed(w http.ResponseWriter, r *http.Request, p firmwarePage, err error) {
	bad, ok := errors.AsType[*api.Invalid](err)
	if !ok {
		s.failed(w, r, err)
		return
	}
	p.Error = bad.Text
	s.showFirmware(w, r, http.StatusUnprocessableEntity, p)
}

// firmwareDo does what the button of a form says.
func (s *Server) firmwareDo(w http.ResponseWriter, r *http.Request) {
	if !s.parsed(w, r) {
		return
	}
	form := r.PostForm
	vendor, model, _ := strings.Cut(form.Get("model"), "/")
	p := firmwarePage{Open: form.Get("model")}
	key, err := form.Get("do"), error(nil)
	switch key {
	case "remove":
		err = s.b.RemoveImage(r.Context(), form.Get("image"), "")
	case "rollout":
		err = s.planRollout(r, vendor, model)
	case "pin", "unpin":
		e := api.FirmwarePinEdit{Vendor: vendor, Model: model, Hardware: form.Get("hardware"), OtherFamily: form.Get("other_family") != ""}
		if key == "pin" {
			e.Image = form.Get("image")
		}
		err = s.b.PinFirmware(r.Context(), e)
	case "stop", "resume", "rollback":
		id, bad := strconv.ParseInt(form.Get("id"), 10, 64)
		if bad != nil {
			s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
			return
		}
		err = s.changeRollout(r, key, id)
	default:
		s.fail(w, r, http.StatusUnprocessableEntity, s.texts.say("error.form"))
		return
	}
	if err != nil {
		s.firmwareFailed(w, r, p, err)
		return
	}
	done(w, r, "/firmware", "firmware-"+key)
}

func (s *Server) planRollout(r *http.Request, vendor, model string) error {
	atOnce, err := strconv.Atoi(r.PostForm.Get("at_once"))
	if err != nil {
		return &api.Invalid{Field: "at_once", Text: s.texts.say("firmware.at-once-bad")}
	}
	plan := api.FirmwarePlan{
		Vendor: vendor, Model: model, Hardware: r.PostForm.Get("hardware"), Image: r.PostForm.Get("image"), AtOnce: atOnce, OtherFamily: r.PostForm.Get("other_family") != "",
	}
	for _, text := range append(r.PostForm["first"], strings.Fields(r.PostForm.Get("more"))...) {
		if text == "" {
			continue
		}
		m, err := mac.Parse(text)
		if err != nil {
			return &api.Invalid{Field: "first", Text: s.texts.say("enrol.mac-bad", text)}
		}
		plan.First = append(plan.First, m)
	}
	_, err = s.b.StartRollout(r.Context(), plan)
	return err
}

func (s *Server) changeRollout(r *http.Request, verb string, id int64) (err error) {
	switch verb {
	case "stop":
		_, err = s.b.StopRollout(r.Context(), id)
	case "resume":
		_, err = s.b.ResumeRollout(r.Context(), id)
	case "rollback":
		_, err = s.b.RollbackFirmware(r.Context(), id)
	}
	return err
}
