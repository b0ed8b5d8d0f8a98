package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"time"
)

//go:embed static
var staticFiles embed.FS

// files are the embedded style sheet, script and icon. Their addresses carry
// a hash of the content, so that a browser may keep them for ever.
type files struct {
	content map[string][]byte
	hash    map[string]string
}

func loadFiles() (*files, error) {
	f := &files{content: map[string][]byte{}, hash: map[string]string{}}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return nil, fmt.Errorf("static files: %w", err)
	}
	for _, e := range entries {
		b, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("static files: %w", err)
		}
		sum := sha256.Sum256(b)
		f.content[e.Name()], f.hash[e.Name()] = b, hex.EncodeToString(sum[:6])
	}
	return f, nil
}

// url is the address of a file.
func (f *files) url(name string) string { return "/static/" + name + "?v=" + f.hash[name] }

func (f *files) serve(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	b, ok := f.content[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == f.hash[name] {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}

// downloadCA gives the certificate of the box's own CA, to be trusted by who
// compared its fingerprint.
func (s *Server) downloadCA(w http.ResponseWriter, r *http.Request) {
	if s.ca == nil {
		s.fail(w, r, http.StatusNotFound, s.texts.say("error.missing"))
		return
	}
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	w.Header().Set("Content-Disposition", `attachment; filename="patchbay-ca.crt"`)
	_, _ = w.Write(s.ca)
}
