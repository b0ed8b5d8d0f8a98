package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// fetchYealink asks for boot files, which firmware from V80 on does first. If
// there is none it takes the file of the model, then its own; a later file
// wins over an earlier one.
func (f *fetcher) fetchYealink(ctx context.Context, fresh *changes) (settings, error) {
	own := f.p.MAC.Hex() + ".cfg"
	names := []string{f.p.CommonFile, own}
	for _, boot := range []string{f.p.MAC.Hex() + ".boot", "y000000000000.boot"} {
		body, err := optional(f.get(ctx, boot))
		if err != nil {
			return settings{}, err
		}
		if body != nil {
			names = includesOf(body)
			break
		}
	}
	values := make(map[string]string)
	found := false
	for _, name := range names {
		body, err := optional(f.get(ctx, name))
		if err != nil {
			return settings{}, err
		}
		if body == nil {
			continue
		}
		if err := parseYealink(body, values); err != nil {
			return settings{}, fmt.Errorf("%s: %w", name, err)
		}
		fresh.note(name, body)
		found = found || name != f.p.CommonFile
	}
	if !found {
		return settings{}, fmt.Errorf("%s: %w", own, errNoConfig)
	}
	if values["static.auto_provision.custom.protect"] == "1" {
		if _, err := optional(f.get(ctx, f.p.MAC.Hex()+"-local.cfg")); err != nil {
			return settings{}, err
		}
	}
	accounts, err := yealinkAccounts(values)
	return settings{accounts: accounts, values: values}, err
}

// fetchPoly does what a VVX 500 was seen to do: the log of its start, its
// master or only file, the firmware, the files that the master lists, its
// overrides, licences, lists and directories, and the log of the application.
func (f *fetcher) fetchPoly(ctx context.Context, fresh *changes) (settings, error) {
	own := f.p.MAC.Hex()
	f.agent = f.p.fill(f.p.UpdaterAgent)
	if err := f.put(ctx, own+"-boot.log", []byte("000000.000|so   |*|00|Updater started\n")); err != nil {
		f.note("can't store its log: %v", err)
	}
	f.agent = f.p.fill(f.p.UserAgent)
	master, name, err := f.polyMaster(ctx)
	if err != nil {
		return settings{}, err
	}
	fresh.note(name, master)
	top, err := parsePoly(master, f.substitute)
	if err != nil {
		return settings{}, fmt.Errorf("%s: %w", name, err)
	}
	m := top.master
	// The first file that names a parameter wins over the later ones.
	values := top.values
	if m.firmware != "" {
		// The part number goes before the file name; no firmware is normal.
		values["APP_FILE_PATH"] = m.firmware
		if err := f.polyAsks(ctx, m.firmware); err != nil {
			return settings{}, err
		}
	}
	for _, name := range m.files {
		body, err := f.get(ctx, name)
		if err != nil {
			return settings{}, fmt.Errorf("a file of CONFIG_FILES ends the update: %w", err)
		}
		fresh.note(name, body)
		file, err := parsePoly(body, f.substitute)
		if err != nil {
			return settings{}, fmt.Errorf("%s: %w", name, err)
		}
		for key, value := range file.values {
			if _, known := values[key]; !known {
				values[key] = value
			}
		}
	}
	if err := f.polyExtras(ctx, m, values, fresh); err != nil {
		return settings{}, err
	}
	accounts, err := polyAccounts(values)
	return settings{accounts: accounts, values: values}, err
}

// polyAsks looks at the image that the master file names.
func (f *fetcher) polyAsks(ctx context.Context, name string) error {
	target := f.at(within(strings.TrimPrefix(path.Dir(name), "."), f.p.PartNumber+"."+path.Base(name)))
	_, _, err := f.piece(ctx, target, 0)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// polyMaster gets the master file: the one that the URL names, or the phone's
// own, or that of all phones.
func (f *fetcher) polyMaster(ctx context.Context) (body []byte, name string, err error) {
	names := []string{f.p.MAC.Hex() + ".cfg", "000000000000.cfg"}
	if strings.HasSuffix(f.base.Path, ".cfg") {
		names = []string{f.base.Path[strings.LastIndexByte(f.base.Path, '/')+1:]}
	}
	for _, name := range names {
		body, err := optional(f.get(ctx, name))
		if err != nil || body != nil {
			return body, name, err
		}
	}
	return nil, "", fmt.Errorf("%s: %w", strings.Join(names, ", "), errNoConfig)
}

// polyExtras fetches what may be missing. Overrides win over everything.
func (f *fetcher) polyExtras(ctx context.Context, m polyMaster, values map[string]string, fresh *changes) error {
	own := f.p.MAC.Hex()
	for _, name := range []string{within(m.override, own+"-phone.cfg"), within(m.override, own+"-web.cfg")} {
		body, err := optional(f.get(ctx, name))
		if err != nil {
			return err
		}
		if body == nil {
			continue
		}
		file, err := parsePoly(body, f.substitute)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fresh.note(name, body)
		maps.Copy(values, file.values)
	}
	for _, name := range []string{
		within(m.licence, "000000000000-license.cfg"), within(m.licence, own+"-license.cfg"),
		within(m.lists, own+"-calls.xml"), within(m.contacts, own+"-directory.xml"), within(m.contacts, "000000000000-directory.xml"),
	} {
		if _, err := optional(f.get(ctx, name)); err != nil {
			return err
		}
	}
	log := within(m.logs, own+"-app.log")
	if _, err := optional(f.do(ctx, http.MethodHead, f.at(log), nil)); err != nil {
		f.note("can't look at its log: %v", err)
	}
	if err := f.put(ctx, log, []byte("000000.000|so   |*|00|Application started\n")); err != nil {
		f.note("can't store its log: %v", err)
	}
	return nil
}

// within puts a name into a folder of the master file, which may be empty.
func within(folder, name string) string {
	if folder == "" {
		return name
	}
	return strings.TrimSuffix(folder, "/") + "/" + name
}

func (f *fetcher) substitute(s string) string {
	return strings.NewReplacer(
		"[PHONE_MAC_ADDRESS]", f.p.MAC.Hex(), "[PHONE_MODEL]", f.p.Model, "[PHONE_PART_NUMBER]", f.p.PartNumber,
	).Replace(s)
}

// fetchCisco fetches the URL of the option with its macros expanded, then the
// Profile_Rules that it finds there, until a file names nothing new.
func (f *fetcher) fetchCisco(ctx context.Context, fresh *changes) (settings, error) {
	const maxFiles = 6
	values := make(map[string]string)
	expand := f.macros().expand
	start, err := url.PathUnescape(f.base.String())
	if err != nil {
		return settings{}, fmt.Errorf("provisioning URL: %w", err)
	}
	start = expand(start)
	if strings.HasSuffix(start, "/") || strings.Count(start, "/") < 3 {
		return settings{}, fmt.Errorf("%s names no file, so the phone fetches nothing: %w", start, errNoConfig)
	}
	queue, done := []string{start}, map[string]bool{}
	for len(queue) > 0 && len(done) < maxFiles {
		target := queue[0]
		queue = queue[1:]
		if done[target] {
			continue
		}
		done[target] = true
		body, err := f.do(ctx, http.MethodGet, target, nil)
		if errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("%w: %w", errNoConfig, err)
		}
		if err != nil {
			return settings{}, err
		}
		file := make(map[string]string)
		if err := parseCisco(body, file); err != nil {
			return settings{}, fmt.Errorf("%s: %w", target, err)
		}
		fresh.note(target, body)
		maps.Copy(values, file)
		for _, key := range []string{"Profile_Rule", "Profile_Rule_B", "Profile_Rule_C", "Profile_Rule_D"} {
			next, err := ruleURL(file[key])
			if err != nil {
				return settings{}, fmt.Errorf("%s: %w", key, err)
			}
			if next == "" {
				continue
			}
			if next, err = relative(target, expand(next)); err != nil {
				return settings{}, fmt.Errorf("%s: %w", key, err)
			}
			queue = append(queue, next)
		}
	}
	accounts, err := ciscoAccounts(values)
	return settings{accounts: accounts, values: values}, err
}

func (f *fetcher) macros() macros {
	return macros{
		"MA": f.p.MAC.Hex(), "MAU": strings.ToUpper(f.p.MAC.Hex()), "MAC": f.p.MAC.String(),
		"PN": f.p.ProductName, "PSN": f.p.SeriesName, "SN": f.p.Serial,
		"SWVER": f.p.Firmware, "HWVER": "1.0", "IP": f.ip.String(),
		"CCERT": "Installed", "PRVST": "0",
	}
}

func relative(from, to string) (string, error) {
	base, err := url.Parse(from)
	if err != nil {
		return "", fmt.Errorf("%q: %w", from, err)
	}
	u, err := base.Parse(to)
	if err != nil {
		return "", fmt.Errorf("%q: %w", to, err)
	}
	if u.Scheme != "http" {
		return "", fmt.Errorf("%q: the lab speaks plain HTTP only", to)
	}
	return u.String(), nil
}
