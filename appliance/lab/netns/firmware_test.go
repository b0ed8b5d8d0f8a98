//go:build lab

package netns

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFirmware keeps images on a small disk of its own: one is refused before
// the disk runs full, an upload is cut by kill -9, and what is left is fetched
// whole by curl in ranges and by tftp, and told by the phone's own key.
func TestFirmware(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	ca, _ := startCloud(t, n)
	dir := filepath.Join(n.dir, "state", "firmware")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=300m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	b := startBox(t, n, ca, "")
	const mac, version = "00:15:65:fa:00:01", "108.86.0.70"
	ns := n.addPhone(mac)
	n.lease(ns, "yealink")
	if status, text := n.get(ns, uaYealink(mac), "/"+bare(mac)+".cfg"); status != "200" || strings.Contains(text, "firmware.url") {
		t.Fatalf("%s\n%s", status, text)
	}

	image := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16) // 8 MiB
	add := func(version, name string, size int) (string, error) {
		file := n.write(name, string(bytes.Repeat(image, size/len(image))))
		return n.try(30*time.Second, "box", os.Getenv("PATCHBAY_BIN"), "firmware", "--config", b.config, "add", "yealink", version, file)
	}
	if out, err := add(version, "T46U.rom", len(image)); err != nil || !strings.Contains(out, "yealink-"+version) {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := add("108.86.0.80", "big.rom", 48<<20); err == nil || !strings.Contains(out, "of which 256 stay for the box") {
		t.Errorf("48 MiB where 36 are free: %v\n%s", err, out)
	}

	// A slow upload, and a power cut of the process under it.
	slow := n.start("upload", "box", "curl", "-s", "--unix-socket", filepath.Join(b.state, "control.sock"), "--limit-rate", "1M", "-T", filepath.Join(n.dir, "T46U.rom"), "http://box/api/v1/firmware/images/yealink/108.86.0.90/half.rom")
	n.eventually(10*time.Second, "the upload to be under way", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "yealink-108.86.0.90", ".new-*"))
		return len(left) > 0
	})
	b.kill()
	slow.stop(syscall.SIGTERM)
	b.start()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "yealink-"+version {
		t.Errorf("after kill -9: %v, %v", left, err)
	}
	var view struct {
		Images []struct{ Files []struct{ SHA256 string } }
	}
	sum := sha256.Sum256(image)
	if err := json.Unmarshal(b.must(http.MethodGet, "/firmware", nil), &view); err != nil || len(view.Images) != 1 || view.Images[0].Files[0].SHA256 != hex.EncodeToString(sum[:]) {
		t.Fatalf("%v %+v", err, view)
	}

	b.must(http.MethodPut, "/firmware/pins", map[string]any{"vendor": "yealink", "model": "T46U", "image": "yealink-" + version})
	n.lease(ns, "yealink")
	status, text := n.get(ns, uaYealink(mac), "/"+bare(mac)+".cfg")
	path := "/firmware/yealink-" + version + "/T46U.rom"
	if status != "200" || !strings.Contains(text, "static.firmware.url = http://"+boxLAN+path+"\n") {
		t.Fatalf("%s\n%s", status, text)
	}
	got := filepath.Join(n.dir, "got.rom")
	for _, part := range [][]string{{"-r", "0-999999"}, {"-C", "-"}} { // a part, and then the rest
		args := append([]string{"curl", "-s", "-f", "-A", uaYealink(mac), "-o", got}, part...)
		if out, err := n.try(30*time.Second, ns, append(args, "http://"+boxLAN+path)...); err != nil {
			t.Fatalf("curl %v: %v\n%s", part, err, out)
		}
	}
	if cat(got) != string(image) {
		t.Error("by HTTP in two parts: another file")
	}
	byTFTP := filepath.Join(n.dir, "tftp.rom")
	if out, err := n.try(60*time.Second, ns, "tftp", boxLAN, "-m", "binary", "-c", "get", path[1:], byTFTP); err != nil || cat(byTFTP) != string(image) {
		t.Errorf("by TFTP: %v\n%s", err, out)
	}

	// It starts anew, and says so.
	newer := strings.Replace(uaYealink(mac), "108.86.0.20", version, 1)
	if status, _ := n.get(ns, newer, "/"+bare(mac)+".cfg"); status != "200" {
		t.Fatal(status)
	}
	var phone struct{ Firmware string }
	if err := json.Unmarshal(b.must(http.MethodGet, "/phones/"+mac, nil), &phone); err != nil || phone.Firmware != version {
		t.Errorf("%v %+v", err, phone)
	}
}
