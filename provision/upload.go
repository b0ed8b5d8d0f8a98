package provision

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Limits of what phones write. The largest log of a Poly has 1 MiB.
const (
	uploadLimit  = 2 << 20  // bytes of one file
	drainLimit   = 4 << 20  // of a body that is refused: who is cut off in the middle reads no answer
	strangeLimit = 64 << 10 // as drainLimit, from an address that nobody vouches for
	uploadsHeld  = 16       // bodies that are held in memory at once
)

// UploadStore keeps what phones write: logs, overrides, directories.
type UploadStore interface {
	// Keep returns when the file is on disk. name is as short as a file name,
	// printable, and no path.
	Keep(ctx context.Context, m mac.Addr, name string, content []byte) error
}

var (
	tooLarge    = reply{status: http.StatusRequestEntityTooLarge, body: []byte("too large\n"), kind: notFound.kind}
	tooMany     = reply{status: http.StatusTooManyRequests, body: []byte("too many requests\n"), kind: notFound.kind}
	notWritable = reply{status: http.StatusMethodNotAllowed, body: []byte("method not allowed\n"), kind: notFound.kind}
	brokeOff    = reply{status: http.StatusBadRequest, body: []byte("upload broke off\n"), kind: notFound.kind}
)

// mayUpload says whether a phone may write this file: its own only, and only
// one that phones of its kind are known to write. The window need not be open,
// for what a phone writes is no secret that it gets. If it may not, the reply
// is the answer.
func (s *Server) mayUpload(ctx context.Context, q query) (sight, reply, bool) {
	name, lang, err := cleanPath(q.path)
	if err != nil {
		return sight{}, badPath(err), false
	}
	t := s.look(name, lang, q)
	if !t.found || !t.match.file.Put {
		return t, notWritable, false
	}
	if reason := s.permit(t); reason != "" && reason != story.WindowClosed {
		s.refuse(q, t, reason)
		s.level(ctx, q)
		return t, notFound, false
	}
	return t, reply{}, true
}

// upload takes a file that a phone writes by HTTP. A phone that is refused
// shows errors on its screen, so it is told clearly and early.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, q query) reply {
	t, answer, ok := s.mayUpload(r.Context(), q)
	if !ok {
		drain := int64(drainLimit)
		if !s.vouched(q.remote) {
			drain = strangeLimit
		}
		if answer.status != http.StatusMethodNotAllowed || drain == strangeLimit {
			s.limit.charge(q.remote, costUpload)
		}
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, drain))
		return answer
	}
	s.limit.charge(q.remote, costUpload)
	if r.ContentLength > drainLimit {
		s.refuse(q, t, story.UploadTooLarge)
		return tooLarge
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return tryLater
	}
	var content bytes.Buffer
	content.Grow(int(max(0, min(r.ContentLength, uploadLimit))) + bytes.MinRead) // read whole without growing
	_, err := content.ReadFrom(http.MaxBytesReader(w, r.Body, uploadLimit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		_, _ = io.CopyN(io.Discard, r.Body, drainLimit-uploadLimit)
		s.refuse(q, t, story.UploadTooLarge)
		return tooLarge
	case err != nil:
		s.log.Debug("upload broke off", "component", "provision", "mac", t.who, "err", err)
		return brokeOff
	}
	return s.keep(r.Context(), q, t, content.Bytes())
}

// keep stores what a phone has written and says so on its story.
func (s *Server) keep(ctx context.Context, q query, t sight, content []byte) reply {
	if ok, note := s.writes.take(q.remote); !ok {
		s.tooFast(q, note)
		return tooMany
	}
	s.enlist(ctx, q, t)
	if s.cfg.Uploads != nil {
		if err := s.cfg.Uploads.Keep(ctx, t.who, printable(path.Base(t.name)), content); err != nil {
			s.log.Error("upload not kept", "component", "provision", "mac", t.who, "err", err)
			return tryLater
		}
	}
	s.tell(t.who, q, story.Uploaded, story.Args{File: printable(q.path), Bytes: int64(len(content)), Via: string(q.door)})
	return reply{status: http.StatusOK, kind: notFound.kind}
}
