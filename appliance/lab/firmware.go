package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
)

// firmwareMark begins an image that phones of the lab take; the version and a
// line break follow.
const firmwareMark = "lab-firmware "

// pieceSize is how much of an image a phone asks for at once.
const pieceSize = 64 << 10

// FirmwareImage makes an image of so many bytes, by which a phone of the lab
// comes to run that version.
func FirmwareImage(version string, size int) []byte {
	head := firmwareMark + version + "\n"
	return append([]byte(head), bytes.Repeat([]byte{0xa5}, max(0, size-len(head)))...)
}

// image names the firmware that a configuration tells of, in the vendor's own
// keys; empty if it tells of none.
func (f *fetcher) image(ctx context.Context, values map[string]string) (string, error) {
	lower := strings.ToLower(f.p.Model)
	switch f.p.dialect {
	case yealink:
		return values["static.firmware.url"], nil
	case cisco:
		if values["Upgrade_Enable"] != "Yes" {
			return "", nil
		}
		return values["Upgrade_Rule"], nil
	case audiocodes:
		return values["provisioning/firmware/url"], nil
	case snom:
		if values["update_policy"] != "auto_update" {
			return "", nil
		}
		return values["firmware"], nil
	case grandstream, grandPort, grandPorts:
		if values["P192"] == "" || values["P238"] != "0" {
			return "", nil
		}
		return "http://" + values["P192"] + "/" + lower + "fw.bin", nil
	case poly:
		if name := values["APP_FILE_PATH"]; name != "" {
			return f.at(path.Dir(name) + "/" + f.p.PartNumber + "." + path.Base(name)), nil
		}
	case fanvil:
		if values["fwCheck.EnableAutoUpgrade"] != "1" {
			return "", nil
		}
		return f.fanvilImage(ctx, values["fwCheck.UpgradeServer1"], strings.ReplaceAll(lower, "-", "_"))
	case snomBase, gigaset, n510, n720, algo, cyberdata, other:
	}
	return "", nil
}

// fanvilImage reads the text that names the image for a model and revision.
func (f *fetcher) fanvilImage(ctx context.Context, folder, model string) (string, error) {
	folder = strings.TrimSuffix(folder, "/")
	text, err := optional(f.get(ctx, folder+"/fanvil_"+model+"_hwv2_0.txt"))
	if err != nil || text == nil {
		return "", err
	}
	values := map[string]string{}
	if err := parsePairs(text, values); err != nil {
		return "", err
	}
	if values["Version"] == f.p.Firmware {
		return "", nil
	}
	return folder + "/" + values["Firmware"], nil
}

// load fetches the image that a configuration tells of, piece by piece as
// phones with little memory do, and returns the version in it; empty if there
// is nothing to load.
func (f *fetcher) load(ctx context.Context, values map[string]string) (version string, err error) {
	target, err := f.image(ctx, values)
	if err != nil || target == "" {
		return "", err
	}
	var head []byte
	for at := 0; ; {
		piece, total, err := f.piece(ctx, target, at)
		if errors.Is(err, ErrNotFound) {
			return "", nil // phones go on with what they have
		}
		if err != nil {
			return "", err
		}
		if head == nil {
			line, _, _ := bytes.Cut(piece, []byte("\n"))
			head = bytes.Clone(line)
			if v, ok := strings.CutPrefix(string(head), firmwareMark); ok && v == f.p.Firmware {
				return "", nil // its head says that it is the one that runs
			}
		}
		if at += len(piece); at >= total {
			break
		}
	}
	version, ok := strings.CutPrefix(string(head), firmwareMark)
	if !ok {
		f.note("%s is no image for it", target)
		return "", nil
	}
	f.note("loaded firmware %s, and starts anew with it", version)
	return version, nil
}

// piece asks for a part of a file (RFC 9110 §14.2), and returns the length of
// the whole.
func (f *fetcher) piece(ctx context.Context, target string, at int) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("firmware %s: %w", target, err)
	}
	req.Header.Set("User-Agent", f.agent)
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, at+pieceSize-1))
	res, err := f.client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("firmware %s: %w", target, err)
	}
	defer res.Body.Close()
	if at == 0 || res.StatusCode != http.StatusPartialContent {
		f.log = append(f.log, fmt.Sprintf("%d GET %s", res.StatusCode, req.URL.Path))
	}
	switch res.StatusCode {
	case http.StatusNotFound:
		return nil, 0, fmt.Errorf("firmware %s: %w", target, ErrNotFound)
	case http.StatusPartialContent:
	default:
		return nil, 0, fmt.Errorf("firmware %s: %s", target, res.Status)
	}
	first, last, total := 0, 0, 0
	if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); err != nil || first != at {
		return nil, 0, fmt.Errorf("firmware %s: part %q of what was asked for from %d", target, res.Header.Get("Content-Range"), at)
	}
	piece, err := io.ReadAll(io.LimitReader(res.Body, pieceSize))
	if err == nil && len(piece) != last-first+1 {
		err = io.ErrUnexpectedEOF
	}
	return piece, total, err
}

// Firmware returns the version that the phone runs.
func (p *Phone) Firmware() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.p.Firmware
}

// personality is what the phone is now.
func (p *Phone) personality() Personality {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.p
}

// flash makes the phone run another version from its next start on. If it has
// just started, that is now.
func (r *run) flash(version string) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.p.Firmware = version
}
