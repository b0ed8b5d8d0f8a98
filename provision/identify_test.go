package provision

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// The User-Agents are those that phones were seen to send.
func TestByAgent(t *testing.T) {
	c := catalog(t)
	for _, tc := range []struct{ agent, vendor, model, firmware, mac string }{
		{"Yealink SIP-T46G 28.72.0.1 00:15:65:4a:a9:37", "yealink", "T46G", "28.72.0.1", "0015654aa937"},
		{"Yealink SIP-T38G  38.70.0.125 00:15:65:2f:c3:5e", "yealink", "T38G", "38.70.0.125", "0015652fc35e"},
		{"Yealink SIP-T56A  58.80.0.25 001565f429a4", "yealink", "T56A", "58.80.0.25", "001565f429a4"},
		{"Yealink SIP VP-T49G 51.80.0.10 00:15:65:9b:5a:44", "yealink", "T49G", "51.80.0.10", "0015659b5a44"},
		{"W52P 25.30.0.2 00:15:65:44:b3:7c", "yealink", "W52P", "25.30.0.2", "00156544b37c"},
		{"Yealink-T46G 28.71.0.81 28.1.0.128.0.0.0", "yealink", "T46G", "28.71.0.81", ""},
		{"Yealink SIP-T21P 34.72.14.6", "yealink", "T21P", "34.72.14.6", ""},
		{"FileTransport PolycomVVX-VVX_500-UA/5.9.7.47435 Type/Application", "poly", "VVX 500", "5.9.7.47435", ""},
		{"FileTransport PolycomVVX-VVX_500-UA/5.9.7.47435 Type/Updater", "poly", "VVX 500", "", ""},
		{"FileTransport PolycomSoundStationIP-SSIP_5000-UA/4.0.3.7562 (SN:0004f2e765da) Type/Application", "poly", "SSIP 5000", "4.0.3.7562", "0004f2e765da"},
		{"FileTransport PolyEdge-Edge_E450-UA/8.0.0.15602 Type/Application", "poly", "Edge E450", "8.0.0.15602", ""},
		{"FileTransport PolyCCX-CCX_500-UA/9.4.1.0508 (SN:64167f9f4c90) Type/Application", "poly", "CCX 500", "9.4.1.0508", "64167f9f4c90"},
		{"PolyEdge-Edge_E350-UA/8.3.1.0614_f04ea4691c59", "poly", "Edge E350", "8.3.1.0614", "f04ea4691c59"},
		{"Cisco-CP-7832-3PCC/11.0.1 (00562b043615)", "cisco-mpp", "7832", "11.0.1", "00562b043615"},
		{"Cisco/ATA191-MPP-11-1-0-MSR4 (FCH2443D9R4)", "cisco-mpp", "ATA191", "11-1-0-MSR4", ""},
		{"AUDC-IPPhone/2.2.8.61 (440HDG-Rev0; 00908F602AAC)", "audiocodes", "440HDG", "2.2.8.61", "00908f602aac"},
		{"Mozilla/4.0 (compatible; snomD785-SIP 10.1.33.33 2010.12-00004-g9ba52f5 000413922D24 SXM:0 UXM:0)", "snom", "D785", "10.1.33.33", "000413922d24"},
		{"Grandstream Model HW GRP2614 SW 1.0.5.15 DevId c074ad0b63ee", "grandstream", "GRP2614", "1.0.5.15", "c074ad0b63ee"},
		{"Fanvil X5U-V2 2.12.16.17 0c383e557eb1", "fanvil", "X5U-V2", "2.12.16.17", "0c383e557eb1"},
		{"Gigaset N870 IP PRO/83.V2.11.0+build.a546b91;7C2F80E0D605", "gigaset", "N870 IP PRO", "83.V2.11.0", "7c2f80e0d605"},
		{"curl/7.88.1", "", "", "", ""},
		{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "", "", "", ""},
		{"", "", "", "", ""},
		{strings.Repeat("Yealink ", 100), "", "", "", ""},
	} {
		t.Run(tc.agent, func(t *testing.T) {
			id := c.byAgent(tc.agent)
			vendor, hex := "", ""
			if id.vendor != nil {
				vendor = id.vendor.Name
			}
			if !id.mac.IsZero() {
				hex = id.mac.Hex()
			}
			got := []string{vendor, id.model, id.firmware, hex}
			if diff := cmp.Diff([]string{tc.vendor, tc.model, tc.firmware, tc.mac}, got); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	c := catalog(t)
	for _, tc := range []struct {
		name, file, agent, stored string // stored "-": in the inventory without a vendor
		vendor                    string
		role                      Role
		mac                       string
	}{
		{"common file of Yealink", "y000000000028.cfg", "", "", "yealink", RoleCommon, ""},
		{"common file, three digits", "y000000000107.cfg", "", "", "yealink", RoleCommon, ""},
		{"boot file", "001565005301.boot", "", "", "yealink", RoleOptional, "001565005301"},
		{"shared name by block", "001565005301.cfg", "", "", "yealink", RolePhone, "001565005301"},
		{"upper case", "0004F2005301.CFG", "", "", "poly", RolePhone, "0004f2005301"},
		{"shared name by User-Agent", "00005e005301.cfg", "FileTransport PolyEdge-Edge_E450-UA/8.0.0.15602 Type/Application", "", "poly", RolePhone, "00005e005301"},
		{"inventory outweighs User-Agent", "00005e005301.cfg", "FileTransport PolyEdge-Edge_E450-UA/8.0.0.15602 Type/Application", "yealink", "yealink", RolePhone, "00005e005301"},
		{"inventory outweighs block", "001565005301.cfg", "", "poly", "poly", RolePhone, "001565005301"},
		{"name that the vendor does not use", "001565005301.xml", "", "yealink", "", "", ""},
		{"nothing tells", "00005e005301.cfg", "", "", "", "", ""},
		{"in the inventory without vendor", "00005e005301.xml", "", "-", "cisco-mpp", RolePhone, "00005e005301"},
		{"tie by a shared block", "00562b005301.xml", "", "", "cisco-mpp", RolePhone, "00562b005301"},
		{"master of Poly", "000000000000.cfg", "", "", "poly", RoleCommon, ""},
		{"license", "000000000000-license.cfg", "", "", "poly", RoleOptional, ""},
		{"log", "0004f2005301-app.log", "", "", "poly", RoleUpload, "0004f2005301"},
		{"log that two vendors write", "0004f2005301-boot.log", "FileTransport PolycomVVX-VVX_500-UA/5.9.7.47435 Type/Updater", "", "poly", RoleUpload, "0004f2005301"},
		{"firmware", "3111-44500-001.3111-44500-001.sip.ld", "", "", "poly", RoleFirmware, ""},
		{"first contact of Cisco", "8841-3PCC.xml", "", "", "cisco-mpp", RoleCommon, ""},
		{"variant", "CP-8841-3PCC.cfg", "", "", "cisco-mpp", RoleCommon, ""},
		{"macro as it is", "$PSN.xml", "", "", "cisco-mpp", RoleCommon, ""},
		{"adapter by User-Agent", "00005e005301.xml", "Cisco/ATA191-MPP-11-1-0-MSR4 (FCH2443D9R4)", "", "cisco-mpp", RolePhone, "00005e005301"},
		{"Grandstream asks for binary", "cfg000b82005301", "", "", "grandstream", RoleOptional, "000b82005301"},
		{"snom", "snomD785-000413005301.htm", "", "", "snom", RolePhone, "000413005301"},
		{"multicast address", "01005e005301.cfg", "", "-", "", "", ""},
		{"zero address", "000000000000.xml", "", "-", "", "", ""},
		{"nonsense", "favicon.ico", "", "", "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			matches := c.byFile(tc.file)
			var asked mac.Addr
			for _, m := range matches {
				if !m.mac.IsZero() {
					asked = m.mac
				}
			}
			got, ok := choose(matches, Phone{Vendor: strings.TrimPrefix(tc.stored, "-")}, tc.stored != "", c.byAgent(tc.agent), asked)
			if !ok {
				if tc.vendor != "" {
					t.Fatalf("nothing chosen, want %s", tc.vendor)
				}
				return
			}
			hex := ""
			if !got.mac.IsZero() {
				hex = got.mac.Hex()
			}
			if got.vendor.Name != tc.vendor || got.file.Role != tc.role || hex != tc.mac {
				t.Errorf("%s %s %q, want %s %s %q", got.vendor.Name, got.file.Role, hex, tc.vendor, tc.role, tc.mac)
			}
		})
	}
}

func TestCleanPath(t *testing.T) {
	for _, tc := range []struct {
		path, name, lang string
		err              error
	}{
		{"/001565005301.cfg", "001565005301.cfg", "", nil},
		{"001565005301.cfg", "001565005301.cfg", "", nil},
		{"//001565005301.cfg", "001565005301.cfg", "", nil},
		{"/lang_de/001565005301.cfg", "001565005301.cfg", "de", nil},
		{"/LANG_DE//$PSN.xml", "$PSN.xml", "de", nil},
		{"/lang_de", "", "de", nil},
		{"/lang_klingon/a.cfg", "a.cfg", "", nil},
		{"/ipp/dhcpoption160.cfg", "ipp/dhcpoption160.cfg", "", nil},
		{"/", "", "", nil},
		{"", "", "", nil},
		{"/../etc/passwd", "", "", errPathEscape},
		{"/a/../b", "", "", errPathEscape},
		{"/lang_de/../../etc/passwd", "", "", errPathEscape},
		{"/./a", "", "", errPathEscape},
		{"..", "", "", errPathEscape},
		{`/..\..\etc\passwd`, "", "", errPathSyntax},
		{"/a\x00.cfg", "", "", errPathSyntax},
		{"/a\r\nb", "", "", errPathSyntax},
		{"/\xff", "", "", errPathSyntax},
		{"/" + strings.Repeat("a", 64<<10), "", "", errPathTooLong},
	} {
		name, lang, err := cleanPath(tc.path)
		if name != tc.name || lang != tc.lang || !errors.Is(err, tc.err) {
			t.Errorf("%.40q: %q %q %v, want %q %q %v", tc.path, name, lang, err, tc.name, tc.lang, tc.err)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("/a\r\nb\x00\xff"); got != "/a..b.." {
		t.Errorf("got %q", got)
	}
	if got := printable(strings.Repeat("ä", 100)); len(got) > 130 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("got %q", got)
	}
}

// FuzzIdentify: whatever comes in, a file of one phone names that phone, and
// a clean name stays in the tree.
func FuzzIdentify(f *testing.F) {
	f.Add("/lang_de/001565005301.cfg", "Yealink SIP-T46U 108.86.0.45 00:15:65:00:53:01")
	f.Add("/000000000000.cfg", "FileTransport PolycomVVX-VVX_500-UA/5.9.7.47435 Type/Updater")
	f.Add("/$PSN.xml", "Cisco-CP-8841-3PCC/11.0 (00562b043615)")
	f.Add("/../../etc/passwd", "")
	f.Add("/a\x00", "\xff")
	c := catalog(f)
	f.Fuzz(func(t *testing.T, path, agent string) {
		id := c.byAgent(agent)
		if id.vendor == nil && (id.model != "" || id.firmware != "" || !id.mac.IsZero()) {
			t.Errorf("%q tells %+v of no vendor", agent, id)
		}
		name, lang, err := cleanPath(path)
		if err != nil {
			if name != "" || lang != "" {
				t.Errorf("%q: name %q with error %v", path, name, err)
			}
			return
		}
		for segment := range strings.SplitSeq(name, "/") {
			if segment == ".." || segment == "." || strings.ContainsAny(segment, "\\\x00\r\n") || segment == "" && name != "" {
				t.Errorf("%q: name %q", path, name)
			}
		}
		if lang != "" && !isLanguage(lang) {
			t.Errorf("%q: language %q", path, lang)
		}
		for _, m := range c.byFile(name) {
			if m.file.Role != RolePhone {
				continue
			}
			if m.mac.IsZero() || m.mac.IsMulticast() {
				t.Errorf("%q: file of phone %s", name, m.mac)
			}
			plain := strings.ToLower(strings.ReplaceAll(name, "-", ""))
			if !strings.Contains(plain, m.mac.Hex()) {
				t.Errorf("%q is read as a file of %s", name, m.mac)
			}
		}
	})
}

func BenchmarkIdentify(b *testing.B) {
	c := catalog(b)
	b.ReportAllocs()
	for b.Loop() {
		id := c.byAgent("Yealink SIP-T46U 108.86.0.45 00:15:65:00:53:01")
		name, _, _ := cleanPath("/lang_de/001565005301.cfg")
		if _, ok := choose(c.byFile(name), Phone{}, false, id, id.mac); !ok {
			b.Fatal("not identified")
		}
	}
}
