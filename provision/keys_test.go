package provision

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeyPages: keys stand where the model has them, behind those of lines.
func TestKeyPages(t *testing.T) {
	c := catalog(t)
	m := addr(t, "0c:38:3e:00:53:01")
	for _, tc := range []struct {
		model    string
		accounts int
		keys     []Key
		want     string
		last     string
	}{
		{
			"X5U-V2", 2,
			[]Key{{Kind: KeySpeed, Value: "1"}, {Kind: KeySpeed, Value: "2", Position: 4}, {Kind: KeySpeed, Value: "3", Position: 5}, {Kind: KeySpeed, Value: "4", Position: 11}, {Kind: KeySpeed, Value: "5", Slot: 2, Position: 22}},
			"dssSide[1]: Fkey[1] SIP1, Fkey[2] SIP2, Fkey[3] 1@1/f, Fkey[4] 2@1/f; internal[1]: Fkey[1] 3@1/f; internal[2]: Fkey[1] 4@1/f; internal[3]: Fkey[6] 5@2/f", "3",
		},
		{
			"X6U-Pro", 1,
			[]Key{{Kind: KeyBLF, Value: "202", Position: 17}, {Kind: KeyPark, Value: "701", Position: 18}},
			"dssSide[1]: Fkey[1] SIP1; internal[1]: Fkey[12] 202@1/ba**202; internal[2]: Fkey[1] 701@1/c", "2",
		},
		{"V62 Pro", 1, []Key{{Kind: KeySpeed, Value: "1", Position: 8}}, "internal[1]: Fkey[1] SIP1; internal[2]: Fkey[1] 1@1/f", "2"},
		{"V62", 1, []Key{{Kind: KeySpeed, Value: "1", Position: 8}}, "internal[1]: Fkey[1] SIP1; internal[2]: Fkey[3] 1@1/f", "2"},
		{"X3SG", 1, []Key{{Kind: KeySpeed, Value: "1", Position: 8}}, "internal[1]: Fkey[1] SIP1, Fkey[8] 1@1/f", ""},
		{"i16SV", 1, []Key{{Kind: KeySpeed, Value: "1"}}, "internal[1]: Fkey[1] 1@1/f", ""},
		{"X5U", 1, []Key{{Kind: KeySignIn, Value: "https://box/x", Position: 3}}, "dssSide[1]: Fkey[1] SIP1", ""},
		{"X5U", 1, nil, "", ""},
	} {
		t.Run(fmt.Sprintf("%s/%d", tc.model, len(tc.keys)), func(t *testing.T) {
			v, _ := c.Vendor("fanvil")
			body, _, err := c.render(v, fileOf(v, RolePhone), Phone{MAC: m, Model: tc.model, Accounts: accounts(m, tc.accounts), Keys: tc.keys}, berlin(), "")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(keysIn(string(body)), "; "); got != tc.want {
				t.Error("(-want +got)\n" + cmp.Diff(tc.want, got))
			}
			got, err := parseConfig("fanvil", body)
			if err != nil || got["FuncKeyPageNum"] != tc.last {
				t.Errorf("%q pages, want %q (%v)", got["FuncKeyPageNum"], tc.last, err)
			}
		})
	}
}

// keysIn reads the keys of a Fanvil out of a file, by page.
func keysIn(body string) (pages []string) {
	_, body, _ = strings.Cut(body, "<dsskey>")
	body, _, _ = strings.Cut(body, "</dsskey>")
	indexed := strings.NewReplacer("<", "", ` index="`, "[", `">`, "]")
	for line := range strings.Lines(body) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "<dssSide "), strings.HasPrefix(line, "<internal "):
			pages = append(pages, indexed.Replace(line)+":")
		case strings.HasPrefix(line, "<Fkey "):
			if last := &pages[len(pages)-1]; strings.HasSuffix(*last, ":") {
				*last += " " + indexed.Replace(line)
			} else {
				*last += ", " + indexed.Replace(line)
			}
		case strings.HasPrefix(line, "<Value>"):
			pages[len(pages)-1] += " " + strings.TrimSuffix(strings.TrimPrefix(line, "<Value>"), "</Value>")
		}
	}
	return pages
}
