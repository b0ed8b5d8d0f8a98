package provision

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

func TestCatalogReads(t *testing.T) {
	c := catalog(t)
	want := []string{
		"2n", "akuvox", "alcatel", "algo", "ascom", "audiocodes", "auerswald", "avaya", "avm", "axis", "cisco-mpp", "cisco-spa",
		"cyberdata", "escene", "fanvil", "flyingvoice", "generic", "gigaset", "grandstream", "htek", "innovaphone", "mitel", "obihai", "panasonic",
		"patton", "poly", "sangoma", "snom", "spectralink", "technicolor", "unify", "vtech", "wildix", "yealink", "zycoo",
	}
	if diff := cmp.Diff(want, c.Vendors()); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	for _, name := range []string{"algo", "audiocodes", "cisco-mpp", "cyberdata", "fanvil", "generic", "gigaset", "grandstream", "poly", "snom", "yealink"} {
		if v, _ := c.Vendor(name); v == nil || !v.Renders() {
			t.Errorf("%s has no templates", name)
		}
	}
}

func TestReadVendorFaults(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "name='x'\ntitle='X'\ncolour='red'", "unknown key colour"},
		{"other name", "name='y'\ntitle='Y'", `name = "y"`},
		{"no title", "name='x'", "title is missing"},
		{"bad OUI", "name='x'\ntitle='X'\nouis=['0015']", "six hexadecimal digits"},
		{"bad pattern", "name='x'\ntitle='X'\noption60=['(']", "option60"},
		{"option without value", "name='x'\ntitle='X'\n[[dhcp]]\ncode=66", "code and value"},
		{"mixed form", "name='x'\ntitle='X'\n[[dhcp]]\ncode=66\nvalue='{url}{ip4}'", "stands alone"},
		{"unknown role", "name='x'\ntitle='X'\n[[file]]\nmatch='^a$'\nrole='secret'", "unknown role"},
		{"loose pattern", "name='x'\ntitle='X'\n[[file]]\nmatch='a'\nrole='common'", "not anchored"},
		{"secret for all", "name='x'\ntitle='X'\n[[file]]\nmatch='^a$'\nrole='phone'", "MAC address in its name"},
		{"useless template", "name='x'\ntitle='X'\n[[file]]\nmatch='^a$'\nrole='optional'\ntemplate='a'", "no template"},
		{"model without ports", "name='x'\ntitle='X'\n[[model]]\nmatch='a'", "accounts and max"},
		{"not TOML", "name=", "vendor x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readVendor("x", tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestSlots(t *testing.T) {
	c := catalog(t)
	for _, tc := range []struct {
		vendor, model string
		first, most   int
	}{
		{"yealink", "T46U", 1, 16},
		{"yealink", "T21P_E2", 1, 2},
		{"poly", "VVX 500", 1, 12},
		{"poly", "Edge E450", 1, 12},
		{"cisco-mpp", "8841", 1, 10},
		{"cisco-mpp", "ATA191", 2, 2},
		{"cisco-mpp", "ata192", 2, 2},
		{"cisco-mpp", "9999", 1, 1},
		{"nobody", "1", 1, 1},
	} {
		first, most := c.Slots(tc.vendor, tc.model)
		if first != tc.first || most != tc.most {
			t.Errorf("%s %s: %d of %d, want %d of %d", tc.vendor, tc.model, first, most, tc.first, tc.most)
		}
	}
}

func TestFirmwareFamily(t *testing.T) {
	c := catalog(t)
	for _, tc := range [][3]string{
		{"yealink", "108.86.0.70", "108"},
		{"yealink", "28.72.0.1", "28"},
		{"gigaset", "83.V2.11.0", "83"},
		{"gigaset", "42.258.00.000.000", "42"},
		{"poly", "6.3.1.8427", ""},
		{"yealink", "odd", ""},
		{"nobody", "1.2", ""},
	} {
		if got := c.FirmwareFamily(tc[0], tc[1]); got != tc[2] {
			t.Errorf("%s %s: %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
}

func TestNotify(t *testing.T) {
	c := catalog(t)
	for vendor, want := range map[string]Notify{
		"yealink":   {Resync: "check-sync;reboot=false", Reboot: "check-sync;reboot=true"},
		"poly":      {Resync: "check-sync", Reboot: "check-sync"},
		"cisco-mpp": {Resync: "check-sync", Reboot: "reboot", Digest: true},
		"ascom":     {Resync: "check-sync", Reboot: "check-sync"},
		"":          {Resync: "check-sync", Reboot: "check-sync"},
	} {
		if got := c.Notify(vendor); got != want {
			t.Errorf("%s: %+v, want %+v", vendor, got, want)
		}
	}
}

type bootAnswer struct {
	Options       map[uint8]string
	Always        []uint8
	Vendor, Model string
	URL           string
	Phone         bool
}

func TestBoot(t *testing.T) {
	c := catalog(t)
	server := netip.MustParseAddr("192.0.2.1")
	all := []byte{1, 3, 6, 15, 42, 43, 60, 66, 114, 150, 159, 160}
	for _, tc := range []struct {
		name        string
		mac         string
		class, user string
		requested   []byte
		port        uint16
		lang        string
		want        bootAnswer
	}{
		{
			"Yealink by its class", "00:15:65:00:53:01", "yealink", "", all, 80, "en",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, []uint8{66}, "yealink", "", "http://192.0.2.1/", true},
		},
		{
			"Yealink by its block, in German, other port", "80:5e:c0:00:53:01", "", "", all, 8080, "de",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1:8080/lang_de/", 160: "http://192.0.2.1:8080/lang_de/"}, []uint8{66}, "yealink", "", "http://192.0.2.1:8080/lang_de/", true},
		},
		{
			"Poly Edge", "48:25:67:00:53:01", "Poly-EdgeE220", "", all, 80, "",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, []uint8{160}, "poly", "Edge E220", "http://192.0.2.1/", true},
		},
		{
			"Poly by a class in a block of HP", "f0:4e:a4:00:53:01", "Poly-EdgeE350", "", all, 80, "",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, []uint8{160}, "poly", "Edge E350", "http://192.0.2.1/", true},
		},
		{
			"a laptop of HP is no Poly", "f0:4e:a4:00:53:02", "MSFT 5.0", "",
			[]byte{1, 3, 6, 15},
			80, "",
			bootAnswer{},
		},
		{
			"SoundPoint, binary class", "00:04:f2:00:53:01", "\x00\x00\x36\x3d\x24\x01\x07Polycom\x02\x15SoundPointIP-SPIP_601\xff", "", all, 80, "",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, []uint8{160}, "poly", "SPIP 601", "http://192.0.2.1/", true},
		},
		{
			"SoundPoint, binary class made printable", "00:04:f2:00:53:01", "..6=$..Polycom..SoundPointIP-SPIP_601", "", all, 80, "",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, []uint8{160}, "poly", "SPIP 601", "http://192.0.2.1/", true},
		},
		{
			"Cisco MPP", "00:00:5e:00:53:01", "Cisco Systems, Inc. IP Phone CP-8841-3PCC\x00", "", all, 80, "ja",
			bootAnswer{
				map[uint8]string{66: "http://192.0.2.1/lang_ja/$PSN.xml", 160: "http://192.0.2.1/lang_ja/$PSN.xml", 159: "http://192.0.2.1/lang_ja/$PSN.xml", 150: "\xc0\x00\x02\x01"},
				nil, "cisco-mpp", "8841", "http://192.0.2.1/lang_ja/$PSN.xml", true,
			},
		},
		{
			"Cisco adapter", "00:00:5e:00:53:01", "CISCO ATA191-MPP", "", all, 80, "",
			bootAnswer{map[uint8]string{160: "http://192.0.2.1/$MA.xml"}, nil, "cisco-mpp", "ATA191", "http://192.0.2.1/$MA.xml", true},
		},
		{
			"Cisco enterprise gets nothing", "00:00:5e:00:53:01", "Cisco Systems, Inc. IP Phone CP-8841\x00", "", all, 80, "",
			bootAnswer{Vendor: "cisco-mpp", Phone: true},
		},
		{
			"other vendor that asks", "00:04:13:00:53:01", "snom320", "",
			[]byte{66},
			80, "",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/"}, []uint8{66}, "snom", "320", "http://192.0.2.1/", true},
		},
		{
			"other vendor that does not ask", "00:0b:82:00:53:01", "Grandstream GXP1405 dslforum.org", "",
			[]byte{1, 3, 6, 12, 15, 28, 43, 125},
			80, "",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, []uint8{66}, "grandstream", "GXP1405", "http://192.0.2.1/", true},
		},
		{
			"Gigaset", "7c:2f:80:00:53:01", "Gigaset_N720_DM_PRO", "", all, 80, "de",
			bootAnswer{map[uint8]string{66: "http://192.0.2.1/lang_de/", 114: "http://192.0.2.1/lang_de/"}, []uint8{114}, "gigaset", "N720_DM_PRO", "http://192.0.2.1/lang_de/", true},
		},
		{
			"vendor without templates that does not ask", "00:90:7a:00:53:01", "KIRK.IP6000", "",
			[]byte{1, 3, 6},
			80, "",
			bootAnswer{Options: map[uint8]string{}, Vendor: "spectralink", Model: "IP6000", Phone: true},
		},
		{
			"camera", "00:40:8c:00:53:01", "AXIS,Network Camera,P3214-V", "", all, 80, "",
			bootAnswer{Vendor: "axis", Model: "P3214-V"},
		},
		{
			"unknown that asks for both", "00:00:5e:00:53:01", "udhcp 1.35.0", "",
			[]byte{1, 3, 66, 160},
			80, "",
			bootAnswer{Options: map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, URL: "http://192.0.2.1/"},
		},
		{
			"unknown that asks for everything", "00:00:5e:00:53:01", "", "", all, 80, "",
			bootAnswer{Options: map[uint8]string{66: "http://192.0.2.1/", 160: "http://192.0.2.1/"}, URL: "http://192.0.2.1/"},
		},
		{"unknown without a list", "00:00:5e:00:53:01", "", "", nil, 80, "", bootAnswer{Options: map[uint8]string{}}},
		{"PXE", "00:15:65:00:53:01", "PXEClient:Arch:00007:UNDI:003016", "", all, 80, "", bootAnswer{}},
		{"HTTP boot", "00:00:5e:00:53:01", "HTTPClient:Arch:00016", "", all, 80, "", bootAnswer{}},
		{"iPXE", "00:00:5e:00:53:01", "", "iPXE", all, 80, "", bootAnswer{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			options, always, vendor, model, url, phone := c.Boot(addr(t, tc.mac), tc.class, tc.user, tc.requested, server, tc.port, tc.lang)
			got := bootAnswer{Always: always, Vendor: vendor, Model: model, URL: url, Phone: phone}
			if options != nil {
				got.Options = map[uint8]string{}
			}
			for code, value := range options {
				got.Options[code] = string(value)
			}
			for _, never := range []uint8{43, 60, 114} {
				if _, ok := options[never]; ok && vendor != "gigaset" {
					t.Errorf("option %d is sent", never)
				}
			}
			if len(got.Options) == 0 && len(tc.want.Options) == 0 {
				got.Options, tc.want.Options = nil, nil
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

func TestBootWithoutAddress(t *testing.T) {
	options, _, _, _, _, phone := catalog(t).Boot(mac.Addr{0, 0x15, 0x65}, "yealink", "", []byte{66}, netip.Addr{}, 80, "")
	if options != nil || phone {
		t.Errorf("options %v for a server without an address", options)
	}
}

func FuzzPolyClass(f *testing.F) {
	f.Add("\x00\x00\x36\x3d\x24\x01\x07Polycom\x02\x15SoundPointIP-SPIP_601\x03\x012\xff")
	f.Add("\x00\x00\x36\x3d")
	f.Add("\x00\x00\x36\x3d\x02\x02\xff")
	f.Add("..6=.Polycom.VVX-VVX_410")
	f.Fuzz(func(t *testing.T, class string) {
		model, ok := polyBinaryClass(class)
		if !ok && model != "" {
			t.Errorf("%q: model %q of no Poly", class, model)
		}
		if safe(model) != nil {
			t.Errorf("%q: model %q is not printable", class, model)
		}
	})
}

// TestBelow: versions are compared within one family of images, and only where
// the gateway says what it takes.
func TestBelow(t *testing.T) {
	c := catalog(t)
	for _, tc := range []struct {
		name, vendor, model, firmware string
		want                          Gap
		below                         bool
	}{
		{"the branch of a Yealink", "yealink", "T46S", "66.82.0.30", Gap{"66.82.0.30", "83", "66.86.5.1", false}, true},
		{"of the branch", "yealink", "T46S", "66.83.0.10", Gap{}, false},
		{"a newer branch than the approved", "yealink", "T46S", "66.87.0.1", Gap{}, false},
		{"approved though the branch is lower", "yealink", "T21P", "34.72.0.75", Gap{}, false},
		{"lower than that", "yealink", "T21P", "34.72.0.70", Gap{"34.72.0.70", "83", "34.72.0.75", false}, true},
		{"numbers, not text", "poly", "VVX 450", "5.10.0.1", Gap{}, false},
		{"older UCS", "poly", "VVX 450", "5.9.4.9999", Gap{"5.9.4.9999", "5.9.5", "6.4.3.5814", false}, true},
		{"the image for Skype below its minimum", "audiocodes", "420HD", "3.1.0.54", Gap{"3.1.0.54", "3.2.1", "2.2.16.681", false}, true},
		{"the image for Skype", "audiocodes", "420HD", "3.2.1.100", Gap{}, false},
		{"the SIP image, which is a lower number", "audiocodes", "420HD", "2.2.8.61", Gap{}, false},
		{"an image that the gateway does not name", "audiocodes", "C450HD", "1.9.4", Gap{"1.9.4", "3.2.1", "3.4.8.808", true}, true},
		{"dashes for dots", "cisco-mpp", "8841", "11-3-1MPP-865", Gap{}, false},
		{"an early load", "cisco-mpp", "8841", "11.0.1", Gap{"11.0.1", "11.1.1MPP", "12-0-3MPP", false}, true},
		{"a V within", "gigaset", "N870 IP PRO", "83.V2.11.0", Gap{"83.V2.11.0", "2.52.0", "2.52.0", false}, true},
		{"a V within, new", "gigaset", "N870 IP PRO", "83.V2.52.0", Gap{}, false},
		{"an adapter", "obihai", "OBi302", "3.2.4.8000", Gap{"3.2.4.8000", "3.2.4.8441", "3.2.5.8732", false}, true},
		{"a base", "ascom", "IPBS3", "11.8.9", Gap{}, false},
		{"noughts before a number", "alcatel", "M5", "2.14.03.000.2345", Gap{}, false},
		{"a DECT base of Poly", "poly", "Rove B2", "8.0.4.1", Gap{"8.0.4.1", "8.0.5.0002", "8.0.5.0002", false}, true},
		{"a model of no list", "grandstream", "GRP2614", "1.0.0.1", Gap{}, false},
		{"not known yet", "yealink", "T46S", "", Gap{}, false},
		{"of no vendor", "", "", "1", Gap{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, below := c.Below(tc.vendor, tc.model, tc.firmware); got != tc.want || below != tc.below {
				t.Errorf("%+v %v, want %+v %v", got, below, tc.want, tc.below)
			}
		})
	}
}

func TestToldFile(t *testing.T) {
	c := catalog(t)
	for _, tc := range []struct {
		vendor, model string
		files         []string
		want          string
	}{
		{"yealink", "T46U", []string{"readme.txt", "T46U-108.86.0.70.rom"}, "T46U-108.86.0.70.rom"},
		{"poly", "VVX 450", []string{"3111-48450-001.sip.ld"}, "sip.ld"},
		{"cisco-mpp", "8841", []string{"kern88xx.sbn", "sip88xx.11-3-1.loads"}, "sip88xx.11-3-1.loads"},
		{"grandstream", "GRP2614", []string{"grp2614fw.bin"}, "grp2614fw.bin"},
		{"yealink", "T46U", []string{"notes.txt"}, ""},
		{"snom", "M900", []string{"M900.bin"}, ""},
		{"algo", "8180", []string{"8180.bin"}, ""},
		{"nobody", "1", []string{"x.bin"}, ""},
	} {
		got, err := c.ToldFile(tc.vendor, tc.model, tc.files)
		if got != tc.want || (err != nil) != (tc.want == "") || err != nil && !errors.Is(err, ErrNoImage) {
			t.Errorf("%s %s %v: %q, %v", tc.vendor, tc.model, tc.files, got, err)
		}
	}
}

// TestHardware reads revisions where phones tell them.
func TestHardware(t *testing.T) {
	c := catalog(t)
	for agent, want := range map[string]string{
		"Grandstream Model HW GXP2160 V1.4A SW 1.0.11.74 DevId 000b82a1b2c3": "V1.4A",
		"AUDC-IPPhone/2.2.8.61 (440HDG-Rev0; 00908F602AAC)":                  "Rev0",
		"Yealink-T46G 28.71.0.81 28.1.0.128.0.0.0":                           "28.1.0.128.0.0.0",
		"Yealink SIP-T46G 28.72.0.1 00:15:65:4a:a9:37":                       "",
	} {
		if got := c.ReadAgent(agent); got.Hardware != want || got.Firmware == "" {
			t.Errorf("%s: %+v, want %q", agent, got, want)
		}
	}
	for name, want := range map[string]string{"3111-48450-001.sip.ld": "3111-48450-001", "sip.ld": "", "fanvil_x5u_v2_hwv2_0.txt": "hwv2_0"} {
		found := c.byFile(name)
		if len(found) == 0 || found[0].hardware != want {
			t.Errorf("%s: %+v, want %q", name, found, want)
		}
	}
}
