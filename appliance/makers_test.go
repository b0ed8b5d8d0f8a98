package appliance

import (
	"regexp"
	"strings"
	"testing"

	"patchbay/dhcp/mac"
)

func TestMaker(t *testing.T) {
	a := addressBox(t, t.TempDir())
	defer func() { _ = a.close() }()
	for _, tc := range []struct {
		name string
		m    mac.Addr
		want string
	}{
		{"router", mac.Addr{0x4c, 0x5e, 0x0c, 1, 2, 3}, "MikroTik"},
		{"virtual machine", mac.Addr{0x52, 0x54, 0x00, 1, 2, 3}, "QEMU"},
		{"phone", mac.Addr{0x00, 0x15, 0x65, 1, 2, 3}, "Yealink"},
		{"nobody's", mac.Addr{0x00, 0x00, 0x5e, 0, 0x53, 1}, ""},
		{"not known", mac.Addr{}, ""},
	} {
		if got := a.maker(tc.m); got != tc.want {
			t.Errorf("%s: maker of %v is %q, want %q", tc.name, tc.m, got, tc.want)
		}
	}
}

// TestMakersText: every line is read whole, and no prefix is there twice.
func TestMakersText(t *testing.T) {
	form := regexp.MustCompile(`^[A-Za-z][A-Za-z -]*:( [0-9A-F]{6})+$`)
	n := 0
	for line := range strings.Lines(makersText) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if !form.MatchString(line) {
			t.Errorf("line %q", line)
		}
		n += len(strings.Fields(line[strings.Index(line, ":")+1:]))
	}
	if got := len(makers()); got != n || n < 1000 {
		t.Errorf("%d makers of %d prefixes", got, n)
	}
}
