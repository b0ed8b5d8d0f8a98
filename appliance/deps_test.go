package appliance

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// leaves may be imported by every package of ours, and import only each other.
var leaves = []string{"patchbay/dhcp/mac", "patchbay/appliance/story", "patchbay/appliance/health"}

// mayImport is the map of docs/architecture.md: which packages of ours a
// package may know besides the leaves. A package that is missing here fails.
var mayImport = map[string][]string{
	"patchbay/dhcp/mac":                {},
	"patchbay/appliance/story":         {},
	"patchbay/appliance/health":        {},
	"patchbay/systemd":                 {},
	"patchbay/sock":                    {},
	"patchbay/media":                   {"patchbay/sock"},
	"patchbay/media/prompt":            {"patchbay/media"},
	"patchbay/dhcp":                    {"patchbay/sock"},
	"patchbay/dhcp/snippet":            {},
	"patchbay/provision":               {"patchbay/provision/tftp", "patchbay/sock"},
	"patchbay/provision/tftp":          {"patchbay/sock"},
	"patchbay/provision/upload":        {},
	"patchbay/provision/firmware":      {},
	"patchbay/provision/enrol":         {"patchbay/provision", "patchbay/provision/enrol/lineapi"},
	"patchbay/provision/enrol/lineapi": {},
	"patchbay/sipedge":                 {"patchbay/media", "patchbay/sock"},
	"patchbay/sipedge/hep":             {},
	"patchbay/appliance/store":         {"patchbay/dhcp", "patchbay/provision", "patchbay/provision/enrol", "patchbay/sipedge"},
	"patchbay/appliance/mdns":          {},
	"patchbay/appliance/switchport":    {},
	"patchbay/appliance/acme":          {},
	"patchbay/appliance/web":           {"patchbay/appliance/web/api"},
	"patchbay/appliance/web/api":       {},
	"patchbay/appliance/lab":           {},
	"patchbay/appliance/lab/bench":     {"patchbay/appliance", "patchbay/appliance/lab", "patchbay/dhcp", "patchbay/appliance/store", "patchbay/media", "patchbay/provision/enrol", "patchbay/sipedge"},
	"patchbay/appliance/lab/netns":     {"patchbay/appliance/lab"},
	"patchbay/appliance": {
		"patchbay/appliance/acme", "patchbay/appliance/mdns", "patchbay/appliance/store", "patchbay/appliance/switchport", "patchbay/appliance/web", "patchbay/appliance/web/api", "patchbay/dhcp", "patchbay/dhcp/snippet", "patchbay/media", "patchbay/media/prompt", "patchbay/provision",
		"patchbay/provision/enrol", "patchbay/provision/enrol/lineapi", "patchbay/provision/firmware", "patchbay/provision/upload", "patchbay/sipedge", "patchbay/sipedge/hep", "patchbay/systemd",
	},
	"patchbay/cmd/patchbay": {"patchbay/dhcp", "patchbay/appliance", "patchbay/systemd", "patchbay/appliance/lab", "patchbay/appliance/web/api"},
}

// onlyIn names the packages that may import a foreign module, and why no
// other may.
var onlyIn = []struct {
	prefix string
	homes  []string
	why    string
}{
	{"database/sql", []string{"patchbay/appliance/store"}, "all SQL has one home"},
	{"modernc.org/", []string{"patchbay/appliance/store"}, "all SQL has one home"},
	{"github.com/emiago/sipgo", []string{"patchbay/sipedge", "patchbay/appliance/lab"}, "its traps are handled in one place"},
	{"github.com/insomniacslk/dhcp", []string{"patchbay/dhcp", "patchbay/appliance/lab"}, "DHCP packets stop at the package"},
	{"github.com/mdlayher/", []string{"patchbay/dhcp", "patchbay/appliance/lab/bench"}, "raw frames are the business of one package"},
	{"github.com/pion/", []string{"patchbay/media", "patchbay/appliance/lab"}, "RTP and SRTP stop at the package"},
	{"github.com/miekg/dns", []string{"patchbay/appliance/acme", "patchbay/appliance/mdns", "patchbay/sipedge"}, "names are asked for and answered in few places"},
	{"golang.org/x/crypto/acme", []string{"patchbay/appliance/acme"}, "the authority is asked in one place"},
	{"github.com/BurntSushi/toml", []string{"patchbay/appliance", "patchbay/provision"}, "configuration and vendor data are the only TOML"},
	{"github.com/coreos/go-systemd", []string{"patchbay/systemd"}, "the service manager is behind one package"},
	{"golang.org/x/oauth2", []string{"patchbay/provision/enrol"}, "tokens stop at the package"},
	{"github.com/coreos/go-oidc", []string{"patchbay/provision/enrol"}, "tokens stop at the package"},
	{"github.com/gosnmp/", []string{"patchbay/appliance/switchport"}, "switches are asked in one place"},
	{"github.com/skip2/go-qrcode", []string{"patchbay/appliance/web"}, "only the page draws"},
	{"html/template", []string{"patchbay/appliance/web"}, "only the page makes HTML"},
}

// TestMap reads the imports of every file, tests included, since a test that
// reaches across would weld two packages together as firmly.
func TestMap(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		pkg := "patchbay/" + filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, "../")))
		seen[pkg] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			if fault := judge(pkg, name); fault != "" {
				t.Errorf("%s imports %s: %s", path, name, fault)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range seen {
		if _, ok := mayImport[pkg]; !ok {
			t.Errorf("%s is not on the map; give it a place in docs/architecture.md and here", pkg)
		}
	}
}

// judge says why a package must not import another; empty if it may.
func judge(pkg, imported string) string {
	if strings.HasPrefix(imported, "patchbay/") && imported != pkg && !slices.Contains(leaves, imported) && !slices.Contains(mayImport[pkg], imported) {
		return "the map does not allow it"
	}
	if slices.Contains(leaves, pkg) && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") && imported != "github.com/google/go-cmp/cmp" {
		return "a leaf imports no foreign module"
	}
	for _, rule := range onlyIn {
		if strings.HasPrefix(imported, rule.prefix) && !slices.Contains(rule.homes, pkg) {
			return rule.why
		}
	}
	return ""
}

// TestMapCanFail keeps the judge honest.
func TestMapCanFail(t *testing.T) {
	for _, tc := range []struct{ pkg, imported string }{
		{"patchbay/dhcp", "patchbay/provision"},
		{"patchbay/appliance/lab", "patchbay/provision"},
		{"patchbay/appliance/lab", "patchbay/sipedge"},
		{"patchbay/media", "patchbay/sipedge"},
		{"patchbay/sipedge", "database/sql"},
		{"patchbay/provision", "github.com/emiago/sipgo/sip"},
		{"patchbay/dhcp/mac", "golang.org/x/net/ipv4"},
	} {
		if judge(tc.pkg, tc.imported) == "" {
			t.Errorf("%s may import %s", tc.pkg, tc.imported)
		}
	}
	if got := judge("patchbay/sipedge", "patchbay/media"); got != "" {
		t.Errorf("sipedge may not use media: %s", got)
	}
}
