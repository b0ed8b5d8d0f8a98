package provision

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"patchbay/dhcp/mac"
)

var readingBox = netip.MustParseAddr("192.0.2.1")

func readings(t *testing.T, port uint16, lang string) map[string]Reading {
	t.Helper()
	all := map[string]Reading{}
	for _, r := range catalog(t).Readings(readingBox, port, lang) {
		if _, ok := all[r.Name]; ok {
			t.Errorf("two kinds of phones are called %s", r.Name)
		}
		all[r.Name] = r
	}
	return all
}

func TestReadings(t *testing.T) {
	all := readings(t, 8080, "de")
	const url = "http://192.0.2.1:8080/lang_de/"
	for name, want := range map[string]Reading{
		"yealink": {
			Title: "Yealink", Renders: true, Sends: []string{"yealink"}, Begins: []string{"yealink", "Yealink"},
			Reads: []uint8{66, 43}, Options: []ReadingOption{{Code: 66, Text: url}}, VLANCodes: []uint8{132}, VLANValue: "{vlan}",
		},
		"poly": {
			Title: "Poly", Renders: true, Sends: []string{"Poly-EdgeE450", "Polycom-VVX450"}, Begins: []string{"Poly-", "Polycom"}, Reads: []uint8{160, 66},
			Options:   []ReadingOption{{Code: 160, Text: url}, {Code: 66, Text: url}},
			VLANCodes: []uint8{128, 144, 157, 191}, VLANValue: "VLAN-A={vlan};",
		},
		"cisco-mpp": {
			Title: "Cisco", Renders: true, Ends: []string{"-3PCC"}, Reads: []uint8{66, 160, 159, 150},
			Options: []ReadingOption{
				{Code: 66, Text: url + "$PSN.xml"},
				{Code: 160, Text: url + "$PSN.xml"},
				{Code: 159, Text: url + "$PSN.xml"},
				{Code: 150, Addrs: []netip.Addr{readingBox}},
			},
		},
		"cisco-mpp-ata": {
			Title: "Cisco ATA", Renders: true, Sends: []string{"CISCO ATA191-MPP", "CISCO ATA192-MPP"}, Begins: []string{"CISCO ATA191-MPP", "CISCO ATA192-MPP"},
			Reads: []uint8{160}, Options: []ReadingOption{{Code: 160, Text: url + "$MA.xml"}},
		},
		"gigaset": {
			Title: "Gigaset", Renders: true, Sends: []string{"Gigaset_N720_DM_PRO"}, Begins: []string{"Gigaset_", "N510_IP_PRO", "C470IP", "C590_IP"},
			Reads: []uint8{114, 66}, Options: []ReadingOption{{Code: 114, Text: url}, {Code: 66, Text: url}},
		},
	} {
		want.Name = name
		got := all[name]
		if name == "cisco-mpp" {
			if !slices.Contains(got.Sends, "Cisco Systems, Inc. IP Phone CP-8841-3PCC") {
				t.Errorf("cisco-mpp sends %q", got.Sends)
			}
			got.Sends = nil
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Reading{}, "OUIs", "Requests"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	if _, ok := all["axis"]; ok {
		t.Error("cameras are among the phones")
	}
	if got := all["yealink"].OUIs; !slices.Contains(got, "001565") {
		t.Errorf("blocks of Yealink: %q", got)
	}
	if got := all["cisco-mpp"].OUIs; got != nil {
		t.Errorf("blocks of Cisco: %q; none tells a phone", got)
	}
	for name, r := range all {
		if len(r.Requests) == 0 || len(r.Reads) == 0 || len(r.Options) == 0 {
			t.Errorf("%s: requests %v, reads %v, options %v", name, r.Requests, r.Reads, r.Options)
		}
		for _, o := range r.Options {
			if !slices.Contains(r.Reads, o.Code) {
				t.Errorf("%s is given option %d and does not read it", name, o.Code)
			}
		}
	}
}

// TestReadingsAgreeWithBoot: another server is told to answer what ours does.
func TestReadingsAgreeWithBoot(t *testing.T) {
	c := catalog(t)
	for name, r := range readings(t, 80, "fr") {
		if !r.Renders {
			continue
		}
		for _, sent := range r.Sends {
			options, _, _, _, _, _ := c.Boot(mac.Addr{}, sent, "", r.Requests, readingBox, 80, "fr")
			for _, o := range r.Options {
				value := []byte(o.Text)
				for _, a := range o.Addrs {
					value = a.AsSlice()
				}
				if diff := cmp.Diff(options[o.Code], value); diff != "" {
					t.Errorf("%s, %q, option %d (-boot +reading)\n%s", name, sent, o.Code, diff)
				}
			}
		}
	}
}

func TestAskFaults(t *testing.T) {
	const head = "name='x'\ntitle='X'\noption60=['^x']\n"
	for _, tc := range []struct{ name, text, want string }{
		{"foreign name", "[[ask]]\nname='y'", `does not begin with "x"`},
		{"not ours", "[[ask]]\nsends=['y']\nbegins=['y']", "not recognised by option60"},
		{"not matched", "[[ask]]\nsends=['xa']\nbegins=['xb']\nends=['b']", "neither a beginning nor an end"},
		{"VLAN without a place", "[vlan]\ncodes=[132]\nvalue='20'", "belong together"},
		{"VLAN without a code", "[vlan]\nvalue='{vlan}'", "belong together"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readVendor("x", head+tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}
