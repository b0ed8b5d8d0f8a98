package provision

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"patchbay/dhcp/mac"
)

func TestFirmware(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	if err := os.WriteFile(filepath.Join(dir, "T46U-108.86.0.70.rom"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "outside"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"yealink-1/.image.json", "yealink-1/x.rom", ".gone-yealink-2/x.rom"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, hidden)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, hidden), []byte("image"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	loads := make(chan string, 100)
	r := newRigWith(t, true, func(c *Config) {
		c.Firmware = root
		c.Image = func(p Phone) Image { return ImageOf("yealink-1", "x.rom", "1") }
		c.Loads = func(m mac.Addr, file string, whole bool) {
			loads <- fmt.Sprintf("%v %s %v", m, file, whole)
		}
	})
	const path = "/firmware/T46U-108.86.0.70.rom"
	full := r.get(yealink, path, yealinkUA)
	if full.Status != 200 || full.Body != string(content) || full.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("%d, %d bytes, %v", full.Status, len(full.Body), full.Header)
	}
	etag := full.Header.Get("ETag")
	for _, tc := range []struct {
		name, method, path string
		headers            []string
		status, bytes      int
	}{
		{"HEAD", "HEAD", path, nil, 200, 0},
		{"a range", "GET", path, []string{"Range", "bytes=100-199"}, 206, 100},
		{"the rest", "GET", path, []string{"Range", "bytes=79990-"}, 206, 10},
		{"of the same file", "GET", path, []string{"Range", "bytes=0-9", "If-Range", etag}, 206, 10},
		{"of another file", "GET", path, []string{"Range", "bytes=0-9", "If-Range", `"x"`}, 200, len(content)},
		{"behind the end", "GET", path, []string{"Range", "bytes=90000-"}, 416, -1},
		{"unchanged", "GET", path, []string{"If-None-Match", etag}, 304, 0},
		{"with language", "GET", "/lang_de" + path, nil, 200, len(content)},
		{"no such image", "GET", "/firmware/none.rom", nil, 404, -1},
		{"up", "GET", "/firmware/../outside", nil, 404, -1},
		{"a link out", "GET", "/firmware/link", nil, 404, -1},
		{"a folder", "GET", "/firmware/folder", nil, 404, -1},
		{"the folder itself", "GET", "/firmware/", nil, 404, -1},
		{"of an image", "GET", "/firmware/yealink-1/x.rom", nil, 200, 5},
		{"the list of an image", "GET", "/firmware/yealink-1/.image.json", nil, 404, -1},
		{"a hidden folder", "GET", "/firmware/.gone-yealink-2/x.rom", nil, 404, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.limit.forget()
			got := r.ask(home(yealink), tc.method, tc.path, yealinkUA, nil, tc.headers...)
			if got.Status != tc.status || tc.bytes >= 0 && len(got.Body) != tc.bytes {
				t.Errorf("%d with %d bytes, want %d with %d", got.Status, len(got.Body), tc.status, tc.bytes)
			}
			if tc.method == http.MethodHead && got.Header.Get("Content-Length") != "80000" {
				t.Errorf("length %s", got.Header.Get("Content-Length"))
			}
		})
	}
	for len(loads) > 0 {
		<-loads
	}
	for _, part := range []string{"bytes=0-1", "bytes=2-3", "bytes=4-4"} {
		r.ask(home(yealink), http.MethodGet, "/firmware/yealink-1/x.rom", yealinkUA, nil, "Range", part)
	}
	r.ask(home(yealink), http.MethodHead, "/firmware/yealink-1/x.rom", yealinkUA, nil)
	if file, fault := fetch(t, home(yealink), r.tftp, rrq(1, "firmware/yealink-1/x.rom")); fault != "" || string(file) != "image" {
		t.Errorf("an image by TFTP: %q, %s", file, fault)
	}
	begun, whole := yealink.String()+" yealink-1/x.rom false", yealink.String()+" yealink-1/x.rom true"
	for i, want := range []string{begun, begun, begun, whole, begun, whole} {
		if got := <-loads; got != want {
			t.Errorf("load %d: %q, want %q", i, got, want)
		}
	}
	if file, fault := fetch(t, home(yealink), r.tftp, rrq(1, "firmware/T46U-108.86.0.70.rom")); fault != "" || !bytes.Equal(file, content) {
		t.Errorf("by TFTP: %d bytes, %s", len(file), fault)
	}
}
