package provision

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"patchbay/appliance/story"
)

// imageTime is how long a phone may take for an image.
const imageTime = 30 * time.Minute

// firmwareFolder is the folder of images in the tree of the doors.
const firmwareFolder = "firmware/"

// firmware answers a question for an image of the directory that an
// administrator fills. Phones ask at firmware/NAME, or by the name that their
// vendor gives to images, wherever they look for it. An image is no secret:
// it goes to anybody. ok is false if there is none of that name.
func (s *Server) firmware(q query, t sight) (r reply, ok bool) {
	if s.cfg.Firmware == nil {
		return reply{}, false
	}
	if !strings.HasPrefix(t.name, firmwareFolder) && (!t.found || t.match.file.Role != RoleFirmware) {
		return reply{}, false
	}
	f, err := s.cfg.Firmware.Open(path.Base(t.name)) // a name, not a path; nothing outside can be reached
	if err != nil {
		return reply{}, false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return reply{}, false
	}
	if !q.head && t.itself() && q.ranges == "" {
		s.tell(t.who, q, story.Served, story.Args{File: printable(q.path), Via: string(q.door), Evidence: t.evidence, Bytes: info.Size(), Vendor: t.agentTitle(), Model: t.agent.model, Firmware: t.agent.firmware})
	}
	return reply{
		status: http.StatusOK, kind: "application/octet-stream", file: f, size: info.Size(), modified: info.ModTime(),
		etag: fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()),
	}, true
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
func writeFile(w http.ResponseWriter, r *http.Request, a reply) {
	defer a.file.Close()
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", a.etag)
	// A phone writes an image to its flash while it reads it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(imageTime))
	http.ServeContent(w, r, "", a.modified, a.file)
}

// image is a file of the directory as TFTP sends it.
type image struct{ *os.File }
