package provision

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

func TestAnnounce(t *testing.T) {
	c, err := NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddr("192.0.2.1")
	type answer struct {
		Vendor, Model, Firmware, URL string
		OK                           bool
	}
	for _, tc := range []struct {
		name   string
		mac    string
		claim  Claim
		stored Phone
		port   uint16
		lang   string
		want   answer
	}{
		{
			name: "Yealink", mac: "001565f4f9e1", claim: Claim{Vendor: "yealink", Model: "W52P", Firmware: "25.81.0.10"},
			want: answer{"yealink", "W52P", "25.81.0.10", "http://192.0.2.1/", true},
		},
		{
			name: "snom by OUI, the claim says OEM", mac: "000413874b49", claim: Claim{Vendor: "OEM", Model: "OEM", Firmware: "7.1.19"},
			want: answer{"snom", "", "", "http://192.0.2.1/", true},
		},
		{
			name: "Grandstream, another port and language", mac: "c074ad112233", claim: Claim{Vendor: "Grandstream", Model: "GRP2612W", Firmware: "1.0.5.67"}, port: 8080, lang: "de",
			want: answer{"grandstream", "GRP2612W", "1.0.5.67", "http://192.0.2.1:8080/lang_de/", true},
		},
		{
			name: "Fanvil of a shared block, by its claim", mac: "00a859000001", claim: Claim{Vendor: "Fanvil", Model: "X4"},
			want: answer{"fanvil", "X4", "", "http://192.0.2.1/", true},
		},
		{
			name: "Fanvil that names no model", mac: "0c383e557eb1", claim: Claim{Vendor: "Fanvil", Model: "VOIP PHONE", Firmware: "2.12.16.17"},
			want: answer{"fanvil", "", "2.12.16.17", "http://192.0.2.1/", true},
		},
		{
			name: "a model that is known stays", mac: "001565f4f9e1", claim: Claim{Vendor: "yealink", Model: "T46U"}, stored: Phone{Vendor: "yealink", Model: "SIP-T46U"},
			want: answer{"yealink", "", "", "http://192.0.2.1/", true},
		},
		{
			name: "Gigaset by its User-Agent", mac: "00005e005301", claim: Claim{Vendor: "OEM", Model: "OEM", Agent: "N510 IP PRO/42.258.00.000.000;00005E005301"},
			want: answer{"gigaset", "N510 IP PRO", "42.258.00.000.000", "http://192.0.2.1/", true},
		},
		{
			name: "AudioCodes without a vendor", mac: "00908f602aac", claim: Claim{Model: "440HD", Firmware: "2.2.2"},
			want: answer{"audiocodes", "440HD", "2.2.2", "http://192.0.2.1/", true},
		},
		{
			name: "the block outweighs the claim", mac: "001565f4f9e1", claim: Claim{Vendor: "Grandstream", Model: "GRP2612W"},
			want: answer{"yealink", "", "", "http://192.0.2.1/", true},
		},
		{
			name: "known to the inventory only", mac: "00005e005301", claim: Claim{Vendor: "OEM"}, stored: Phone{Vendor: "yealink"},
			want: answer{"yealink", "", "", "http://192.0.2.1/", true},
		},
		{name: "nobody", mac: "00005e005301", claim: Claim{Vendor: "OEM", Model: "OEM"}},
		{name: "a group address", mac: "011565f4f9e1", claim: Claim{Vendor: "yealink"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := mac.Parse(tc.mac)
			if err != nil {
				t.Fatal(err)
			}
			s, url, ok := c.Announce(m, tc.claim, tc.stored, server, tc.port, tc.lang)
			if diff := cmp.Diff(tc.want, answer{s.Vendor, s.Model, s.Firmware, url, ok}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if ok && s.MAC != m {
				t.Errorf("sighting of %v", s.MAC)
			}
		})
	}
	if _, _, ok := c.Announce(mac.Addr{0, 0x15, 0x65}, Claim{}, Phone{}, netip.MustParseAddr("2001:db8::1"), 80, ""); ok {
		t.Error("an address of IPv6 was announced")
	}
	// No phone reads more than one line.
	for _, v := range c.vendors {
		if u := v.address("http://192.0.2.1/", ""); strings.ContainsAny(u, " \r\n") || !strings.HasPrefix(u, "http://192.0.2.1/") {
			t.Errorf("%s: %q", v.Name, u)
		}
	}
}
