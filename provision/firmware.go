package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"patchbay/appliance/story"
)

// imageTime is how long a phone may take for an image.
const imageTime = 30 * time.Minute

// firmwareFolder is the folder of images in the tree of the doors.
const firmwareFolder = "firmware/"

// ErrNoImage is wrapped if phones can't be told of an image; the text says why.
var ErrNoImage = errors.New("phones can't be told of it")

// firmware answers a question for a file of the directory of images. Phones
// ask at firmware/NAME or firmware/IMAGE/NAME, or by the name that their vendor
// gives to images, wherever they look for it. An image is no secret: it goes to
// anybody. ok is false if there is none of that name.
func (s *Server) firmware(ctx context.Context, q query, t sight) (r reply, ok bool) {
	if s.cfg.Firmware == nil {
		return reply{}, false
	}
	file, inFolder := strings.CutPrefix(t.name, firmwareFolder)
	if !inFolder && (!t.found || t.match.file.Role != RoleFirmware) {
		return reply{}, false
	}
	s.revision(ctx, q, t)
	if !inFolder {
		file = s.within(t, path.Base(t.name))
	}
	f, info, err := s.openImage(file)
	if err != nil {
		return reply{}, false
	}
	r = reply{
		status: http.StatusOK, kind: "application/octet-stream", file: f, size: info.Size(), modified: info.ModTime(),
		etag: fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()),
	}
	if !q.head && t.itself() {
		if q.ranges == "" {
			s.tell(t.who, q, story.Served, story.Args{File: printable(q.path), Via: string(q.door), Evidence: t.evidence, Bytes: info.Size(), Vendor: t.agentTitle(), Model: t.agent.model, Firmware: t.agent.firmware})
		}
		s.cfg.Loads(t.who, file, false)
		r.delivered = func() { s.cfg.Loads(t.who, file, true) }
	}
	return r, true
}

// within is the path of a file in the image that a phone is told of, or else in
// the directory itself.
func (s *Server) within(t sight, base string) string {
	if s.cfg.Image == nil || !t.known || !t.itself() {
		return base
	}
	told := s.cfg.Image(t.stored).Path
	folder, _ := cutLast(strings.TrimPrefix(told, firmwareFolder), "/")
	if folder == "" {
		return base
	}
	if _, err := s.cfg.Firmware.Stat(folder + "/" + base); err != nil {
		return base
	}
	return folder + "/" + base
}

// openImage opens a regular file of the directory. Names that begin with a dot
// are the box's own.
func (s *Server) openImage(file string) (*os.File, os.FileInfo, error) {
	if strings.HasPrefix(file, ".") || strings.Contains(file, "/.") {
		return nil, nil, os.ErrNotExist
	}
	f, err := s.cfg.Firmware.Open(file) // nothing outside can be reached
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = os.ErrInvalid
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// revision notes the hardware revision of a phone that asks for an image by it.
func (s *Server) revision(ctx context.Context, q query, t sight) {
	if !t.known || !t.itself() {
		return
	}
	for _, m := range s.names.ask(path.Base(t.name), s.catalog.byFile) {
		if m.vendor.Name != t.stored.Vendor || m.hardware == "" || m.hardware == t.stored.Hardware {
			continue
		}
		t.match, t.found = m, true
		s.enlist(ctx, q, t)
		return
	}
}

// agentTitle is the vendor by the User-Agent, as people write it.
func (t sight) agentTitle() string {
	if t.agent.vendor == nil {
		return ""
	}
	return t.agent.vendor.Title
}

// writeFile sends an image: whole, or the ranges that a phone asks for when it
// goes on after a break (RFC 9110 §14), with all preconditions.
func (s *Server) writeFile(w http.ResponseWriter, r *http.Request, a reply) {
	defer a.file.Close()
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", a.etag)
	// A phone writes an image to its flash while it reads it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(imageTime))
	http.ServeContent(w, r, "", a.modified, a.file)
	// The file stands where the answer ended, also where the kernel sent it.
	if at, err := a.file.Seek(0, io.SeekCurrent); err == nil && r.Method == http.MethodGet && at >= a.size {
		a.whole()
	}
}

// image is a file of the directory as TFTP sends it.
type image struct {
	*os.File
	reply reply
}

// Whole implements [tftp.Whole].
func (i image) Whole() { i.reply.whole() }

// ToldFile says which file of an image a phone of a model is told of: the path
// below firmware/IMAGE/. Errors wrap [ErrNoImage].
func (c *Catalog) ToldFile(vendor, model string, files []string) (string, error) {
	v, ok := c.byName[vendor]
	if !ok || v.Firmware.Entry == "" {
		return "", fmt.Errorf("no source names the setting by which phones of %s are told of an image: %w", cmp.Or(vendor, "an unknown vendor"), ErrNoImage)
	}
	if v.Firmware.Not != "" && v.Firmware.not.MatchString(model) {
		return "", fmt.Errorf("no source names the setting by which a %s %s is told of an image: %w", v.Title, model, ErrNoImage)
	}
	i := slices.IndexFunc(files, v.Firmware.entry.MatchString)
	if i < 0 {
		return "", fmt.Errorf("none of its files is the one that %s phones are told of (%s): %w", v.Title, v.Firmware.Entry, ErrNoImage)
	}
	return cmp.Or(v.Firmware.Name, files[i]), nil
}

// ImageOf is an image as a phone is told of it: the folder of the directory
// that holds it, the file by [Catalog.ToldFile], and its version.
func ImageOf(folder, file, version string) Image {
	return Image{Path: firmwareFolder + folder + "/" + file, Version: version}
}

// Gap is why a firmware is not what the cloud gateway takes.
type Gap struct {
	Firmware string
	Minimum  string
	Approved string // empty: not known
	// Other means that it is of an image that the gateway names no version of,
	// so that nothing can be compared.
	Other bool
}

// Below reports whether the gateway takes phones of this model only with
// another firmware. Versions are compared within one family of images; what is
// not known is not below.
func (c *Catalog) Below(vendor, model, firmware string) (Gap, bool) {
	v, ok := c.byName[vendor]
	if !ok || firmware == "" {
		return Gap{}, false
	}
	gap := c.gaps.ask(vendor+"/"+model+"/"+firmware, func(string) *Gap {
		if g, below := v.below(model, firmware); below {
			return &g
		}
		return nil
	})
	if gap == nil {
		return Gap{}, false
	}
	return *gap, true
}

// below is [Catalog.Below] for one vendor.
func (v *Vendor) below(model, firmware string) (Gap, bool) {
	i := slices.IndexFunc(v.Minimums, func(m Minimum) bool { return m.models.MatchString(model) })
	if i < 0 {
		return Gap{}, false
	}
	m := v.Minimums[i]
	gap := Gap{Firmware: firmware, Minimum: m.Version, Approved: m.Approved}
	family, rest := v.split(firmware)
	lowest, low := v.split(m.Version)
	approved, good := v.split(m.Approved)
	switch {
	case m.Approved != "" && approved == family && compareVersions(rest, good) >= 0:
		return Gap{}, false // whatever the minimum is
	case lowest == "" || lowest == family:
		if compareVersions(rest, low) >= 0 {
			return Gap{}, false
		}
		return gap, true
	case m.Approved != "" && approved == family:
		return Gap{}, false // of the image that the gateway loads; the minimum is of another one
	}
	gap.Other = true
	return gap, true
}

// split takes the family from a version.
func (v *Vendor) split(version string) (family, rest string) {
	if v.family == nil {
		return "", version
	}
	at := v.family.FindStringSubmatchIndex(version)
	if at == nil {
		return "", version
	}
	return version[at[2]:at[3]], strings.TrimLeft(version[at[3]:], ".-Vv")
}

// compareVersions compares versions of one image part by part: numbers by
// value, words as text. The longer of two that begin alike is the newer one.
func compareVersions(a, b string) int {
	x, y := parts(a), parts(b)
	for i := range min(len(x), len(y)) {
		n, errX := strconv.ParseUint(x[i], 10, 64)
		m, errY := strconv.ParseUint(y[i], 10, 64)
		order := strings.Compare(strings.ToLower(x[i]), strings.ToLower(y[i]))
		if errX == nil && errY == nil {
			order = cmp.Compare(n, m)
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(len(x), len(y))
}

// parts cuts a version into numbers and words.
func parts(version string) (out []string) {
	kind := func(r rune) int {
		switch {
		case unicode.IsDigit(r):
			return 1
		case unicode.IsLetter(r):
			return 2
		}
		return 0
	}
	last := 0
	for _, r := range version {
		k := kind(r)
		switch {
		case k == 0:
		case k == last:
			out[len(out)-1] += string(r)
		default:
			out = append(out, string(r))
		}
		last = k
	}
	return out
}

// ReadAgent reads the User-Agent of any protocol; Vendor is empty if it is of
// no vendor that is known.
func (c *Catalog) ReadAgent(agent string) Sighting {
	id := c.byAgent(agent)
	if id.vendor == nil {
		return Sighting{}
	}
	return Sighting{MAC: id.mac, Vendor: id.vendor.Name, Model: id.model, Firmware: id.firmware, Hardware: id.hardware}
}
