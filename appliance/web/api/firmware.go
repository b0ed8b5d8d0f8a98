package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"patchbay/dhcp/mac"
)

// MaxImage is how many bytes a file of a firmware image may have.
const MaxImage = 1 << 30

// imageTime is how long the upload of a file may take.
const imageTime = time.Hour

// Firmware is the images of phones, and the way to the phones.
type Firmware interface {
	// Firmware returns images, pins, roll-outs and what phones run.
	Firmware(ctx context.Context) (FirmwareView, error)
	// PutImage adds a file to an image, which is made if there is none. It is on
	// disk, whole, on return. Errors are [*Invalid].
	PutImage(ctx context.Context, e ImageEdit, body io.Reader) (FirmwareImage, error)
	// RemoveImage removes an image, or one file of it; [*Invalid] while it is in
	// use, [ErrNotFound].
	RemoveImage(ctx context.Context, id, file string) error
	// PinFirmware has phones load an image when each fetches next, without a
	// roll-out; no image ends that.
	PinFirmware(ctx context.Context, e FirmwarePinEdit) error
	// StartRollout begins to bring an image to phones.
	StartRollout(ctx context.Context, e FirmwarePlan) (FirmwareRollout, error)
	// StopRollout tells no other phone of the image.
	StopRollout(ctx context.Context, id int64) (FirmwareRollout, error)
	// ResumeRollout goes on, and tries those that failed once more.
	ResumeRollout(ctx context.Context, id int64) (FirmwareRollout, error)
	// RollbackFirmware leads phones back to what they ran, and returns the
	// roll-out that does.
	RollbackFirmware(ctx context.Context, id int64) (FirmwareRollout, error)
}

// FirmwareView is everything about firmware.
type FirmwareView struct {
	Room     int64             `json:"room"` // bytes that images may still have
	Images   []FirmwareImage   `json:"images"`
	Pins     []FirmwarePin     `json:"pins"`
	Rollouts []FirmwareRollout `json:"rollouts"` // newest first
	Models   []FirmwareModel   `json:"models"`
	Vendors  []FirmwareVendor  `json:"vendors"` // whose phones can be told of an image
}

// FirmwareVendor is a vendor whose phones can be told of an image.
type FirmwareVendor struct {
	Name  string `json:"name"` // in the catalogue
	Title string `json:"title"`
}

// FirmwareImage is what phones of a vendor load.
type FirmwareImage struct {
	ID      string         `json:"id"`
	Vendor  string         `json:"vendor"`
	Title   string         `json:"title"` // of the vendor
	Version string         `json:"version"`
	Label   string         `json:"label,omitempty"`
	Files   []FirmwareFile `json:"files"`
	Added   time.Time      `json:"added"`
	Used    bool           `json:"used"` // it is pinned, or on its way to phones
}

// FirmwareFile is one file of an image.
type FirmwareFile struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"` // bytes
	SHA256  string `json:"sha256"`
	Checked string `json:"checked,omitempty"` // kind of the vendor's checksum that it was compared with
}

// FirmwarePin says which image phones run.
type FirmwarePin struct {
	Vendor   string    `json:"vendor"`             // name in the catalogue
	Model    string    `json:"model"`              // as the inventory has it
	Hardware string    `json:"hardware,omitempty"` // revision; empty: all that have no pin of their own
	Image    string    `json:"image"`
	Since    time.Time `json:"since"`
	By       string    `json:"by"`
}

// FirmwareRollout brings an image to phones.
type FirmwareRollout struct {
	Vendor   string         `json:"vendor"`             // name in the catalogue
	Model    string         `json:"model"`              // as the inventory has it
	Hardware string         `json:"hardware,omitempty"` // revision; empty: all that have no pin of their own
	ID       int64          `json:"id"`
	Title    string         `json:"title"` // of the vendor
	Image    string         `json:"image"`
	Version  string         `json:"version"`
	Before   string         `json:"before,omitempty"` // the image that was pinned
	Back     bool           `json:"back"`
	AtOnce   int            `json:"at_once"`
	State    string         `json:"state"` // canary, going, stopped, halted, done, undone
	Created  time.Time      `json:"created"`
	Changed  time.Time      `json:"changed"`
	By       string         `json:"by"`
	Steps    []FirmwareStep `json:"steps"`
}

// Seen counts the phones that run the version.
func (r FirmwareRollout) Seen() (n int) {
	for _, s := range r.Steps {
		if s.State == "seen" {
			n++
		}
	}
	return n
}

// FirmwareStep is one phone of a roll-out.
type FirmwareStep struct {
	MAC    mac.Addr  `json:"mac"`
	Name   string    `json:"name,omitempty"` // of its line, or where it stands
	State  string    `json:"state"`          // waiting, away, asked, loading, loaded, seen, failed
	Reason string    `json:"reason,omitempty"`
	Text   string    `json:"text,omitempty"` // Reason in words
	Before string    `json:"before,omitempty"`
	Tries  int       `json:"tries"`
	First  bool      `json:"first"`
	Since  time.Time `json:"since"`
}

// FirmwareModel is what the phones of a model run.
type FirmwareModel struct {
	Vendor string          `json:"vendor"`
	Title  string          `json:"title"`
	Model  string          `json:"model"`
	Phones []FirmwarePhone `json:"phones"`
}

// Versions counts the phones by what they run, in the order of the list.
func (m FirmwareModel) Versions() (out []VersionCount) {
	for _, p := range m.Phones {
		found := false
		for i := range out {
			if found = out[i].Firmware == p.Firmware; found {
				out[i].Phones++
				break
			}
		}
		if !found {
			out = append(out, VersionCount{p.Firmware, 1, p.Below})
		}
	}
	return out
}

// VersionCount is how many phones run a version.
type VersionCount struct {
	Firmware string
	Phones   int
	Below    string
}

// FirmwarePhone is one phone of a model.
type FirmwarePhone struct {
	MAC      mac.Addr `json:"mac"`
	Name     string   `json:"name,omitempty"` // of its line, or where it stands
	Hardware string   `json:"hardware,omitempty"`
	Firmware string   `json:"firmware,omitempty"`
	Online   bool     `json:"online"`
	Below    string   `json:"below,omitempty"` // why the cloud gateway would not take it so
}

// ImageEdit is a file that is added to an image.
type ImageEdit struct {
	Vendor, Version, Label, File string
	Size                         int64  // bytes; below 0: not known
	Checksum                     string // the vendor's, in hexadecimal; empty: none
}

// FirmwarePinEdit is the request to pin an image without a roll-out.
type FirmwarePinEdit struct {
	Vendor      string `json:"vendor"`             // name in the catalogue
	Model       string `json:"model"`              // as the inventory has it
	Hardware    string `json:"hardware,omitempty"` // revision; empty: all that have no pin of their own
	Image       string `json:"image"`              // empty: none
	OtherFamily bool   `json:"other_family,omitempty"`
}

// FirmwarePlan is the request to bring an image to phones.
type FirmwarePlan struct {
	Vendor      string     `json:"vendor"`             // name in the catalogue
	Model       string     `json:"model"`              // as the inventory has it
	Hardware    string     `json:"hardware,omitempty"` // revision; empty: all that have no pin of their own
	Image       string     `json:"image"`
	First       []mac.Addr `json:"first"`                  // phones that go before all others
	AtOnce      int        `json:"at_once"`                // how many load it at the same time
	OtherFamily bool       `json:"other_family,omitempty"` // it may be of another kind than what phones run
}

func (h *handler) firmwareRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/firmware", Handler: h.do(h.firmware)},
		{Method: http.MethodPut, Path: "/firmware/images/{vendor}/{version}/{file}", Handler: h.putImage},
		{Method: http.MethodDelete, Path: "/firmware/images/{image}", Handler: h.do(h.removeImage)},
		{Method: http.MethodDelete, Path: "/firmware/images/{image}/{file}", Handler: h.do(h.removeImage)},
		{Method: http.MethodPut, Path: "/firmware/pins", Handler: h.do(h.pinFirmware)},
		{Method: http.MethodPost, Path: "/firmware/rollouts", Handler: h.do(h.startRollout)},
		{Method: http.MethodPost, Path: "/firmware/rollouts/{id}/stop", Handler: h.do(h.rollout(h.b.StopRollout))},
		{Method: http.MethodPost, Path: "/firmware/rollouts/{id}/resume", Handler: h.do(h.rollout(h.b.ResumeRollout))},
		{Method: http.MethodPost, Path: "/firmware/rollouts/{id}/rollback", Handler: h.do(h.rollout(h.b.RollbackFirmware))},
	}
}

func (h *handler) firmware(r *http.Request) (int, any, error) {
	v, err := h.b.Firmware(r.Context())
	v.Images, v.Pins, v.Rollouts, v.Models, v.Vendors = orEmpty(v.Images), orEmpty(v.Pins), orEmpty(v.Rollouts), orEmpty(v.Models), orEmpty(v.Vendors)
	for i := range v.Images {
		v.Images[i].Files = orEmpty(v.Images[i].Files)
	}
	for i := range v.Rollouts {
		v.Rollouts[i].Steps = orEmpty(v.Rollouts[i].Steps)
	}
	for i := range v.Models {
		v.Models[i].Phones = orEmpty(v.Models[i].Phones)
	}
	return http.StatusOK, v, err
}

// SlowUpload lets a request take as long as a large file needs. A server that
// has no deadlines is fine too.
func SlowUpload(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	until := time.Now().Add(imageTime)
	_ = errors.Join(c.SetReadDeadline(until), c.SetWriteDeadline(until))
}

// putImage takes the body as it comes: it never is in memory as a whole.
func (h *handler) putImage(w http.ResponseWriter, r *http.Request) {
	SlowUpload(w)
	h.within(MaxImage, func(r *http.Request) (int, any, error) {
		q := r.URL.Query()
		e := ImageEdit{
			Vendor: r.PathValue("vendor"), Version: r.PathValue("version"), File: r.PathValue("file"),
			Label: q.Get("label"), Checksum: q.Get("checksum"), Size: r.ContentLength,
		}
		i, err := h.b.PutImage(r.Context(), e, r.Body)
		i.Files = orEmpty(i.Files)
		return http.StatusOK, i, err
	})(w, r)
}

func (h *handler) removeImage(r *http.Request) (int, any, error) {
	return 0, nil, h.b.RemoveImage(r.Context(), r.PathValue("image"), r.PathValue("file"))
}

func (h *handler) pinFirmware(r *http.Request) (int, any, error) {
	var in FirmwarePinEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.PinFirmware(r.Context(), in)
}

func (h *handler) startRollout(r *http.Request) (int, any, error) {
	var in FirmwarePlan
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	out, err := h.b.StartRollout(r.Context(), in)
	out.Steps = orEmpty(out.Steps)
	return http.StatusOK, out, err
}

func (h *handler) rollout(do func(context.Context, int64) (FirmwareRollout, error)) operation {
	return func(r *http.Request) (int, any, error) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			return 0, nil, &Invalid{Field: "id", Text: "the id of a roll-out is a number"}
		}
		out, err := do(r.Context(), id)
		out.Steps = orEmpty(out.Steps)
		return http.StatusOK, out, err
	}
}
