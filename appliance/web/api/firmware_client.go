package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Firmware asks for images, pins, roll-outs and what phones run.
func (c *Client) Firmware(ctx context.Context) (v FirmwareView, err error) {
	return v, c.call(ctx, http.MethodGet, "/firmware", nil, &v)
}

// PutImage sends a file, as large as it may be.
func (c *Client) PutImage(ctx context.Context, e ImageEdit, body io.Reader) (out FirmwareImage, err error) {
	path := "/firmware/images/" + url.PathEscape(e.Vendor) + "/" + url.PathEscape(e.Version) + "/" + url.PathEscape(e.File)
	query := url.Values{"label": {e.Label}, "checksum": {e.Checksum}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://patchbay"+Prefix+path+"?"+query.Encode(), body)
	if err != nil {
		return out, fmt.Errorf("make the request: %w", err)
	}
	req.ContentLength = e.Size
	req.Header.Set("Content-Type", "application/octet-stream")
	slow := &http.Client{Transport: c.http.Transport}
	if t, ok := c.http.Transport.(*http.Transport); ok { // a slow disk may take long for the last bytes
		patient := t.Clone()
		patient.ResponseHeaderTimeout = imageTime
		slow.Transport = patient
	}
	defer slow.CloseIdleConnections()
	res, err := slow.Do(req)
	if err != nil {
		return out, c.explain(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return out, fault(res)
	}
	return out, decodeBody(res.Body, &out)
}

// PrintFirmware writes roll-outs, pins, images and what phones run.
func PrintFirmware(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	v, err := c.Firmware(ctx)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("ROLL-OUT", "PHONES", "VERSION", "STATE", "SEEN WITH IT", "CHANGED")
	for _, r := range v.Rollouts {
		state := r.State
		if r.Back {
			state += ", leads back"
		}
		t.row(strconv.FormatInt(r.ID, 10), targetWords(r.Vendor, r.Model, r.Hardware), r.Version, state, fmt.Sprintf("%d of %d", r.Seen(), len(r.Steps)), When(r.Changed))
		for _, s := range r.Steps {
			if r.State != "done" && r.State != "undone" && (s.State != "waiting" || s.Reason != "") {
				t.row("", s.MAC.String(), s.Name, s.State, s.Text, When(s.Since))
			}
		}
	}
	t.row("")
	t.row("PIN", "IMAGE", "SINCE", "BY")
	for _, p := range v.Pins {
		t.row(targetWords(p.Vendor, p.Model, p.Hardware), p.Image, When(p.Since), p.By)
	}
	t.row("")
	t.row("IMAGE", "FILE", "BYTES", "SHA-256", "VENDOR'S CHECKSUM")
	for _, i := range v.Images {
		for n, f := range i.Files {
			id := i.ID
			if i.Used {
				id += " (in use)"
			}
			if n > 0 {
				id = ""
			}
			t.row(id, f.Name, strconv.FormatInt(f.Size, 10), f.SHA256, dash(f.Checked))
		}
	}
	t.row("")
	t.row("MODEL", "RUNS", "PHONES", "")
	for _, m := range v.Models {
		for _, n := range m.Versions() {
			t.row(targetWords(m.Vendor, m.Model, ""), dash(n.Firmware), strconv.Itoa(n.Phones), n.Below)
		}
	}
	return t.flush()
}

func targetWords(vendor, model, hardware string) string {
	return strings.TrimSuffix(vendor+"/"+model+"/"+hardware, "/")
}

// AddImage sends files to an image, and says what it is then.
func AddImage(ctx context.Context, w io.Writer, socket string, e ImageEdit, files []string) error {
	if e.Checksum != "" && len(files) > 1 {
		return errors.New("a checksum is that of one file; add the files one after the other")
	}
	c := NewClient(socket)
	defer c.Close()
	for _, name := range files {
		i, err := c.addFile(ctx, e, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		at := max(0, slices.IndexFunc(i.Files, func(f FirmwareFile) bool { return f.Name == filepath.Base(name) }))
		sum := ""
		if at < len(i.Files) {
			sum = "  SHA-256 " + i.Files[at].SHA256
		}
		if _, err := fmt.Fprintf(w, "%s  %s%s\n", i.ID, filepath.Base(name), sum); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) addFile(ctx context.Context, e ImageEdit, name string) (FirmwareImage, error) {
	f, err := os.Open(name)
	if err != nil {
		return FirmwareImage{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return FirmwareImage{}, err
	}
	e.File, e.Size = filepath.Base(name), info.Size()
	return c.PutImage(ctx, e, f)
}

// RemoveImage removes an image, or one file of it.
func RemoveImage(ctx context.Context, w io.Writer, socket, id, file string) error {
	path := "/firmware/images/" + url.PathEscape(id)
	if file != "" {
		path += "/" + url.PathEscape(file)
	}
	return firmwareDone(ctx, w, socket, http.MethodDelete, path, nil, "removed")
}

// PinFirmware pins an image without a roll-out, or takes a pin away.
func PinFirmware(ctx context.Context, w io.Writer, socket string, e FirmwarePinEdit) error {
	said := "the pin is taken away; phones keep what they run"
	if e.Image != "" {
		said = "pinned; each phone loads it when it next fetches its configuration"
	}
	return firmwareDone(ctx, w, socket, http.MethodPut, "/firmware/pins", e, said)
}

func firmwareDone(ctx context.Context, w io.Writer, socket, method, path string, in any, said string) error {
	c := NewClient(socket)
	defer c.Close()
	if err := c.call(ctx, method, path, in, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, said)
	return err
}

// StartRollout begins to bring an image to phones.
func StartRollout(ctx context.Context, w io.Writer, socket string, p FirmwarePlan) error {
	return rolloutDone(ctx, w, socket, "/firmware/rollouts", p)
}

// ChangeRollout stops a roll-out, goes on with it, or rolls it back.
func ChangeRollout(ctx context.Context, w io.Writer, socket string, id int64, verb string) error {
	return rolloutDone(ctx, w, socket, "/firmware/rollouts/"+strconv.FormatInt(id, 10)+"/"+verb, nil)
}

func rolloutDone(ctx context.Context, w io.Writer, socket, path string, in any) error {
	c := NewClient(socket)
	defer c.Close()
	var r FirmwareRollout
	if err := c.call(ctx, http.MethodPost, path, in, &r); err != nil {
		return err
	}
	said := fmt.Sprintf("roll-out %d of %s to %s: %s", r.ID, r.Version, targetWords(r.Vendor, r.Model, r.Hardware), r.State)
	switch {
	case r.State == "undone" && !r.Back:
		said += "; no image was pinned before and none is kept of what the phones ran, so they keep what they run"
	case r.Back:
		said += "; it leads the phones back"
	}
	_, err := fmt.Fprintln(w, said)
	return err
}
