package story

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// TestEveryCodeHasWords reads the constants from the source, so that a code
// without words can't be added unseen.
func TestEveryCodeHasWords(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	for _, entry := range files {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, _ := spec.Type.(*ast.Ident)
			lit, _ := spec.Values[0].(*ast.BasicLit)
			if kind == nil || lit == nil {
				return true
			}
			value := strings.Trim(lit.Value, `"`)
			switch kind.Name {
			case "Code":
				codes++
				if words[Code(value)] == nil {
					t.Errorf("code %s = %q has no words", spec.Names[0], value)
				}
			case "Reason":
				codes++
				if reasons[Reason(value)] == "" {
					t.Errorf("reason %s = %q has no words", spec.Names[0], value)
				}
			}
			return true
		})
	}
	if codes < 30 {
		t.Errorf("found %d codes and reasons: the test no longer sees them", codes)
	}
}

func TestArgsSurviveJSON(t *testing.T) {
	want := Args{
		IP:       netip.MustParseAddr("192.0.2.7"),
		Account:  mac.Account{MAC: mac.Addr{0, 0x15, 0x65, 1, 2, 3}, Slot: 2},
		Evidence: mac.OwnLease, Status: 404, Duration: 3 * time.Second, Options: []byte{66, 160}, Reason: WindowClosed,
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Args
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	if b, _ := json.Marshal(Args{}); string(b) != "{}" {
		t.Errorf("empty arguments take space: %s", b)
	}
}

func TestWords(t *testing.T) {
	got := Event{Code: Refused, Args: Args{IP: netip.MustParseAddr("192.0.2.7"), File: "/a.cfg", Via: "http", Reason: WindowClosed}}.Words()
	want := "192.0.2.7 was refused /a.cfg by HTTP: its time for fetching was over; restart the phone or open it again on its page"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := (Event{Code: "of.tomorrow"}).Words(); got != "of.tomorrow" {
		t.Errorf("unknown code: %q", got)
	}
}
