package provision

import (
	"errors"
	"net/netip"
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
		{"yealink SIP-T28P 2.60.0.110 00:15:65:13:ae:0b", "yealink", "T28P", "2.60.0.110", "00156513ae0b"},
		{"Yealink SIP-T21P_E2 52.80.0.3 00:15:65:4c:4c:26", "yealink", "T21P_E2", "52.80.0.3", "0015654c4c26"},
		{"Yealink SIP-T31G 124.85.257.55 80:5e:c0:d5:7d:72", "yealink", "T31G", "124.85.257.55", "805ec0d57d72"},
		{"Yealink W90B 130.85.0.19 80:5e:0c:00:00:01", "yealink", "W90B", "130.85.0.19", "805e0c000001"},
		{"Yealink CP920 78.84.0.15 80:5e:c0:00:00:01", "yealink", "CP920", "78.84.0.15", "805ec0000001"},
		{"VP530P 23.70.0.40 00:15:65:31:4b:c0", "yealink", "VP530P", "23.70.0.40", "001565314bc0"},
		{"W60B 77.83.0.10 00:15:65:bb:bb:bb", "yealink", "W60B", "77.83.0.10", "001565bbbbbb"},
		{"FileTransport PolycomSoundPointIP-SPIP_335-UA/4.0.3.7562 Type/Application", "poly", "SPIP 335", "4.0.3.7562", ""},
		{"FileTransport PolycomSoundPointIP-SPIP_450-UA/3.2.1.0078", "poly", "SPIP 450", "3.2.1.0078", ""},
		{"FileTransport PolycomRealPresenceTrio-Trio_8800-UA/5.4.0.12197 Type/Application", "poly", "Trio 8800", "5.4.0.12197", ""},
		{"PolycomVVX-VVX_600-UA/5.4.0.5841", "poly", "VVX 600", "5.4.0.5841", ""},
		{"Mozilla/4.0 (compatible; MSIE 6.0) PolycomVVX-VVX_411-UA/5.8.0.13851", "poly", "VVX 411", "5.8.0.13851", ""},
		{"Cisco-CP-8841-3PCC/11.0 (00562b043615)", "cisco-mpp", "8841", "11.0", "00562b043615"},
		{"Cisco-CP-6821-3PCC/11-3-1MPP-865_9c4 (00562b043615)(FCH2443D9R4)", "cisco-mpp", "6821", "11-3-1MPP-865_9c4", "00562b043615"},
		{"Linksys/SPA-942-6.1.5(a) (88019FA42805)", "cisco-spa", "SPA-942", "6.1.5(a)", "88019fa42805"},
		{"Cisco/SPA508G-7.4.4 (0002FDFF2103)(CBT141400UK)", "cisco-spa", "SPA508G", "7.4.4", "0002fdff2103"},
		{"Cisco/SPA525G-7.4.4 (CBT141900G7)", "cisco-spa", "SPA525G", "7.4.4", ""},
		{"Sipura/SPA2002-3.1.18", "cisco-spa", "SPA2002", "3.1.18", ""},
		{"AUDC-IPPhone/2.0.0_build_15 (420HD; 00908F3BBCBA)", "audiocodes", "420HD", "2.0.0_build_15", "00908f3bbcba"},
		{"AUDC/3.4.6.604 AUDC-IPPhone-C450HD_UC_3.4.6.604/1", "audiocodes", "C450HD", "3.4.6.604", ""},
		{"AUDC-IPPhone/2.2.2", "audiocodes", "", "2.2.2", ""},
		{"Mozilla/4.0 (compatible; snom lid 3605)", "snom", "", "3605", ""},
		{"Mozilla/4.0 (compatible; snom320-SIP 6.5.20; snom320 jffs2 v3.36; snom320 linux 3.38)", "snom", "320", "6.5.20", ""},
		{"Mozilla/4.0 (compatible; snom320-SIP 8.4.18 1.1.3-s)", "snom", "320", "8.4.18", ""},
		{"Mozilla/4.0 (compatible; snom710-SIP 8.7.5.35 1.1.5-IFX-05.01.12 000413741767)", "snom", "710", "8.7.5.35", "000413741767"},
		{"Mozilla/4.0 (compatible; snomPA1-SIP 8.4.35 1.1.3-s)", "snom", "PA1", "8.4.35", ""},
		{"Mozilla/4.0 (compatible; snom870-SIP 8.4.35 SPEAr300 SNOM 1.4)", "snom", "870", "8.4.35", ""},
		{"Mozilla/4.0 (compatible; snomD785-SIP 10.1.169.16 2010.12-00001-gd311851f1 (Feb 25 2019 - 14:19:43) 00041396D9B4 SXM:0 UXM:0 UXMC:0)", "snom", "D785", "10.1.169.16", "00041396d9b4"},
		{"Mozilla/4.0 (compatible; Snom M900 05.20.0001 000413b60680)", "snom", "M900", "05.20.0001", "000413b60680"},
		{"Grandstream Model HW GXP2135 SW 1.0.7.97 DevId 000b828aa872", "grandstream", "GXP2135", "1.0.7.97", "000b828aa872"},
		{"Grandstream Model HW GXV3240 V1.6B SW 1.0.1.27 DevId 000b82632815", "grandstream", "GXV3240", "1.0.1.27", "000b82632815"},
		{"Grandstream Model HW HT802V2 V1.0A SW 1.0.5.4 DevId ec74d763e419", "grandstream", "HT802V2", "1.0.5.4", "ec74d763e419"},
		{"Grandstream GXP2000 (gxp2000e.bin:1.2.5.3/boot55e.bin:1.1.6.9) DevId 000b822726c8", "grandstream", "GXP2000", "1.2.5.3", "000b822726c8"},
		{"Grandstream GRP2612W 1.0.5.67", "grandstream", "GRP2612W", "1.0.5.67", ""},
		{"Fanvil X4 2.10.2.6887 0c383e07e16c", "fanvil", "X4", "2.10.2.6887", "0c383e07e16c"},
		{"Fanvil X6U Pro 0.0.10 0c383e2cd782", "fanvil", "X6U Pro", "0.0.10", "0c383e2cd782"},
		{"Fanvil i10SV 2.12.10.1 0c383e2397f4", "fanvil", "i10SV", "2.12.10.1", "0c383e2397f4"},
		{"N510 IP PRO/42.245.00.000.000;7C2F804DF9A9", "gigaset", "N510 IP PRO", "42.245.00.000.000", "7c2f804df9a9"},
		{"N510 IP PRO/42.258.00.000.000", "gigaset", "N510 IP PRO", "42.258.00.000.000", ""},
		{"Gigaset N720 DM PRO/70.108.00.000.000", "gigaset", "N720 DM PRO", "70.108.00.000.000", ""},
		{"C590 IP/42.076.00.000.000", "gigaset", "C590 IP", "42.076.00.000.000", ""},
		{"Aastra6731i MAC:00-08-5D-23-74-29 V:3.2.0.1011-SIP", "mitel", "6731i", "3.2.0.1011", "00085d237429"},
		{"Aastra55i MAC:00-08-5D-20-DA-5B V:2.6.0.1008-SIP", "mitel", "55i", "2.6.0.1008", "00085d20da5b"},
		{"Aastra57i MAC:00-08-5D-1A-98-70 V:2.0.1.1055-0035-00-A1", "mitel", "57i", "2.0.1.1055-0035-00-A1", "00085d1a9870"},
		{"Mitel6869i MAC:00-08-5D-4B-9B-1D V:4.0.0.63-SIP", "mitel", "6869i", "4.0.0.63", "00085d4b9b1d"},
		{"Panasonic_KX-UT113/01.133 (0080f0c8c381)", "panasonic", "KX-UT113", "01.133", "0080f0c8c381"},
		{"Panasonic_KX-UT670/01.022 (0080f000000)", "panasonic", "KX-UT670", "01.022", ""},
		{"Htek UC926 2.0.4.2 00:1f:c1:00:00:00", "htek", "UC926", "2.0.4.2", "001fc1000000"},
		{"Flyingvoice FIP13G V0.6.24 00:21:F2:22:AE:F1", "flyingvoice", "FIP13G", "0.6.24", "0021f222aef1"},
		{"Digium D40 1_4_0_0_57389", "sangoma", "D40", "1_4_0_0_57389", ""},
		{"AVAYA/SIP12x0\xff/04.01.13.00", "avaya", "12x0", "04.01.13.00", ""},
		{"Mozilla/4.0 (compatible; MSIE 6.0) AVAYA/J179-4.1.3.0.6 (MAC:c81fea83e85a)", "avaya", "J179", "4.1.3.0.6", "c81fea83e85a"},
		{"SmartNode (Model:SN4112/JS/EUI; Serial:00A0BA08933C; Software Version:R6.2 2012-09-11 H323 SIP FXS FXO; Hardware Version:4.4)", "patton", "SN4112", "6.2", "00a0ba08933c"},
		{"Thomson ST2022 hw2 fw3.54 00-14-7F-E1-DB-1A", "technicolor", "ST2022", "3.54", "00147fe1db1a"},
		{"FileTransport SpectraLink-SL_8440-UA/4.0.2.1 Type/Application", "spectralink", "SL_8440", "4.0.2.1", ""},
		{"Algo-8180/5.3.4", "algo", "8180", "5.3.4", ""},
		{"curl/7.88.1", "", "", "", ""},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "", "", "", ""},
		{"dnf/4.14", "", "", "", ""},
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

// TestByDHCP reads option 60 as clients were seen to send it.
func TestByDHCP(t *testing.T) {
	c := catalog(t)
	for class, want := range map[string][2]string{
		"yealink":          {"yealink", ""},
		"Yealink SIP-T46U": {"yealink", "T46U"},
		"Poly-EdgeE220":    {"poly", "Edge E220"}, "Poly-EdgeE550": {"poly", "Edge E550"}, "Poly-TrioC60": {"poly", "Trio C60"},
		"Polycom-VVX410": {"poly", "VVX 410"},
		"Cisco Systems, Inc. IP Phone CP-8841-3PCC\x00": {"cisco-mpp", "8841"},
		"Cisco Systems, Inc. IP Phone CP-8841":          {"cisco-mpp", ""},
		"CISCO ATA191-MPP":                              {"cisco-mpp", "ATA191"},
		"CISCO ATA190":                                  {"cisco-spa", "ATA190"},
		"LINKSYS SPA-942":                               {"cisco-spa", "SPA-942"},
		"Cisco SPA504G":                                 {"cisco-spa", "SPA504G"},
		"Grandstream GXP1405 dslforum.org":              {"grandstream", "GXP1405"},
		"Grandstream HT802 dslforum.org":                {"grandstream", "HT802"},
		"snom320":                                       {"snom", "320"}, "snomD785": {"snom", "D785"}, "snomPA1": {"snom", "PA1"}, "snomM900": {"snom", "M900"},
		"Gigaset_N720_DM_PRO":         {"gigaset", "N720_DM_PRO"},
		"N510_IP_PRO":                 {"gigaset", "N510_IP_PRO"},
		"C470IP":                      {"gigaset", "C470"},
		"C590_IP":                     {"gigaset", "C590"},
		"Fanvil X5U":                  {"fanvil", "X5U"},
		"AastraIPPhone6731i":          {"mitel", "6731i"},
		"digium_D40":                  {"sangoma", "D40"},
		"KIRK.IP6000":                 {"spectralink", "IP6000"},
		"AXIS,Network Camera,P3214-V": {"axis", "P3214-V"},
		"ccp.avaya.com":               {"avaya", ""},
		"MSFT 5.0":                    {"", ""}, "android-dhcp-14": {"", ""}, "udhcp 1.35.0": {"", ""}, "dhcpcd-9.4.1:Linux-6.1": {"", ""}, "PXEClient:Arch:00007": {"", ""},
		"HUAWEI Access Point": {"", ""}, "Cisco AP c3700": {"", ""}, "docsis3.1": {"", ""}, "Hewlett-Packard JetDirect": {"", ""}, "ubnt": {"", ""}, "alexa-dhcp": {"", ""},
	} {
		id := c.byDHCP(mac.Addr{}, class, nil)
		vendor := ""
		if id.vendor != nil {
			vendor = id.vendor.Name
		}
		if got := [2]string{vendor, id.model}; got != want {
			t.Errorf("%q: %q, want %q", class, got, want)
		}
	}
}

// TestOption55: what is requested tells a phone of a maker whose block it is
// from, and nobody else.
func TestOption55(t *testing.T) {
	c := catalog(t)
	mpp := []byte{1, 3, 6, 15, 35, 66, 150, 2, 7, 42, 43, 58, 59, 159, 160}
	enterprise := []byte{1, 42, 66, 6, 3, 15, 150, 35}
	shared, elsewhere := mac.Addr{0xd0, 0xec, 0x35, 0, 0x53, 1}, mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
	for _, tc := range []struct {
		name      string
		m         mac.Addr
		class     string
		requested []byte
		want      string
	}{
		{"block and list agree", shared, "", mpp, "cisco-mpp"},
		{"a class that says nothing", shared, "udhcp 1.35.0", mpp, "cisco-mpp"},
		{"list of the other firmware", shared, "", enterprise, ""},
		{"block alone", shared, "", nil, ""},
		{"list alone", elsewhere, "", mpp, ""},
		{"another order", shared, "", append([]byte{160}, mpp[:14]...), ""},
		{"list of another maker", shared, "", []byte{1, 2, 3, 4, 6, 7, 12, 15, 28, 42, 43, 60, 66, 67}, ""},
		{"a class that says more", shared, "yealink", mpp, "yealink"},
	} {
		options, _, vendor, _, _, phone := c.Boot(tc.m, tc.class, "", tc.requested, netip.MustParseAddr("192.0.2.1"), 80, "en")
		if vendor != tc.want || phone != (tc.want != "") || tc.want != "" && len(options) == 0 {
			t.Errorf("%s: %q, a phone: %v, %d options; want %q", tc.name, vendor, phone, len(options), tc.want)
		}
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
		{"in the inventory, of no maker that is known", "00005e005301.cfg", "Acme SIP/1.0", "-", "generic", RolePhone, "00005e005301"},
		{"of no maker that is known, by a name of its own", "acme-00005e005301.txt", "", "generic", "generic", RolePhone, "00005e005301"},
		{"of no maker, and now it says of which", "00005e005301.cfg", "FileTransport PolyEdge-Edge_E450-UA/8.0.0.15602 Type/Application", "generic", "poly", RolePhone, "00005e005301"},
		{"of no maker, not in the inventory", "acme-00005e005301.txt", "", "", "", "", ""},
		{"certificate, for anybody", "ca.pem", "", "", "generic", RoleCommon, ""},
		{"certificate, for a Yealink", "ca.pem", "Yealink SIP-T46U 108.86.0.45 00:15:65:00:53:01", "yealink", "generic", RoleCommon, ""},
		{"digest of Algo", "algom0022ee005301.md5", "", "", "algo", RolePhone, "0022ee005301"},
		{"settings of Poly", "0004f2005301-settings.cfg", "", "", "poly", RolePhone, "0004f2005301"},
		{"DECT base of snom", "snomM900-000413005301.htm", "", "", "snom", RolePhone, "000413005301"},
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
