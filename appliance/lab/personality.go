package lab

import (
	"encoding/binary"
	"strings"

	"patchbay/dhcp/mac"
)

// dialect is the family of file names and file formats that a phone speaks.
type dialect uint8

const (
	yealink dialect = iota
	poly
	cisco
	audiocodes
	snom
	snomBase // M series
	grandstream
	grandPort  // HT801, HT802: settings for each port
	grandPorts // HT812, HT814, HT818: ports of a profile
	fanvil
	gigaset // N610, N670, N870
	n510    // N510
	n720    // N720
	algo
	cyberdata
	other // of no maker that is known
)

// Personality is what makes a phone that of a vendor. It is data; the file
// formats are in the config_<vendor>.go of the dialect.
type Personality struct {
	Vendor   string // for people
	Model    string // as the vendor writes it
	MAC      mac.Addr
	Firmware string
	Hostname string // option 12; {MAC} and {mac} are replaced

	VendorClass []byte  // option 60
	Requested   []uint8 // option 55
	BootOptions []uint8 // the options that may hold the provisioning URL, best first

	// User agents; {fw}, {mac} (bare, lower case) and {mac:} (colons) are replaced.
	UserAgent    string // of HTTP
	UpdaterAgent string // of HTTP before the application runs; empty if the same
	SIPAgent     string

	CommonFile  string // Yealink: the file of the model
	PartNumber  string // Poly: prefix of the firmware file
	ProductName string // Cisco: $PN
	SeriesName  string // Cisco: $PSN
	Serial      string // Cisco: $SN

	// Names are the files that it asks for, in its order, where that is no
	// business of the code; placeholders as in the agents.
	Names []string
	// Mark is how sure it is that such phones behave so: A read in a vendor's
	// document or seen on the wire, B from one source of others, C a guess.
	// Source says which.
	Mark, Source string
	// Boot is what the phone was recorded to do, or must do by its vendor's
	// document: status, method and path of each request.
	Boot []string
	// Ports is how many accounts it comes up with.
	Ports int
	// Stranger: nothing tells that it is a phone, so an administrator adds it.
	Stranger bool
	// LanguageKey is the setting of the language of the screen, Languages its
	// values by ISO 639-1. A language that is not there is one that the vendor
	// does not have.
	LanguageKey string
	Languages   map[string]string

	dialect     dialect
	codecs      []law // in the order in which they are offered
	event       uint8 // payload type of telephone-event that it offers
	portPerLine bool  // one SIP port for each account instead of one for all
	httpsOn66   bool
}

// WithMAC returns the same phone with another address, for labs that have
// many of a kind.
func (p Personality) WithMAC(m mac.Addr) Personality {
	p.MAC = m
	return p
}

// String returns vendor and model.
func (p Personality) String() string { return p.Vendor + " " + p.Model }

func (p Personality) fill(s string) string {
	return strings.NewReplacer(
		"{fw}", p.Firmware, "{mac:}", p.MAC.String(), "{mac}", p.MAC.Hex(),
		"{MAC}", strings.ToUpper(p.MAC.Hex()), "{sn}", p.Serial, "{model}", p.Model, "{lower}", strings.ToLower(p.Model), "{common}", p.CommonFile, "{series}", p.SeriesName,
	).Replace(s)
}

// YealinkT46U is a desk phone of the generation with 12-digit model files.
func YealinkT46U() Personality {
	return Personality{
		Vendor: "Yealink", Model: "SIP-T46U",
		MAC:      mac.Addr{0x80, 0x5e, 0xc0, 0x46, 0x0a, 0x01},
		Firmware: "108.86.0.70",
		Hostname: "SIP-T46U",
		// The string of third-party servers; the list is that of the manual
		// of the T4 series ("supported DHCP options").
		VendorClass: []byte("yealink"),
		Requested:   []uint8{1, 2, 3, 4, 6, 7, 12, 15, 28, 42, 43, 60, 66, 67},
		// Custom options come first only where somebody has listed one.
		BootOptions: []uint8{66, 43},
		UserAgent:   "Yealink SIP-T46U {fw} {mac:}",
		SIPAgent:    "Yealink SIP-T46U {fw}",
		CommonFile:  "y000000000108.cfg",
		Ports:       1,
		Mark:        "A", Source: "User-Agents and files of Wazo and FusionPBX, administrator guide",
		Boot:        []string{"404 GET /{mac}.boot", "404 GET /y000000000000.boot", "200 GET /{common}", "200 GET /{mac}.cfg"},
		LanguageKey: "lang.gui",
		Languages:   map[string]string{"en": "English", "es": "Spanish", "de": "German", "fr": "French", "pt": "Portuguese"},
		dialect:     yealink,
		codecs:      []law{muLaw, aLaw},
		event:       101,
	}
}

// PolyEdgeE450 is a phone of the family that followed the VVX, with the plain
// text form of option 60.
func PolyEdgeE450() Personality {
	return Personality{
		Vendor: "Poly", Model: "Edge E450",
		MAC:          mac.Addr{0x48, 0x25, 0x67, 0x45, 0x0a, 0x02},
		Firmware:     "8.0.0.15602",
		Hostname:     "Poly_{mac}",
		VendorClass:  []byte("Poly-EdgeE450"),
		Requested:    []uint8{1, 33, 3, 6, 15, 28, 42, 51, 58, 59, 66, 160},
		BootOptions:  []uint8{160, 66},
		UserAgent:    "FileTransport PolyEdge-Edge_E450-UA/{fw} Type/Application",
		UpdaterAgent: "FileTransport PolyEdge-Edge_E450-UA/{fw} Type/Updater",
		SIPAgent:     "PolyEdge-Edge_E450-UA/{fw}",
		PartNumber:   "3111-33530-001",
		Ports:        1,
		Mark:         "A", Source: "User-Agent seen; order of a captured VVX 500",
		Boot: []string{
			"200 PUT /{mac}-boot.log", "200 GET /{mac}.cfg", "404 GET /{mac}-phone.cfg", "404 GET /{mac}-web.cfg",
			"404 GET /000000000000-license.cfg", "404 GET /{mac}-license.cfg", "404 GET /{mac}-calls.xml", "404 GET /{mac}-directory.xml",
			"404 GET /000000000000-directory.xml", "404 HEAD /{mac}-app.log", "200 PUT /{mac}-app.log",
		},
		LanguageKey: "lcl.ml.lang",
		Languages: map[string]string{
			"en": "English_United_States", "es": "Spanish_Spain", "ja": "Japanese_Japan", "de": "German_Germany", "fr": "French_France", "pt": "Portuguese_Portugal",
		},
		dialect: poly,
		codecs:  []law{aLaw, muLaw},
		event:   127,
	}
}

// PolyVVX450 is the older family, with the binary form of option 60.
func PolyVVX450() Personality {
	p := PolyEdgeE450()
	p.Model = "VVX 450"
	p.MAC = mac.Addr{0x64, 0x16, 0x7f, 0x45, 0x0a, 0x03}
	p.Firmware = "6.3.1.8427"
	p.Hostname = "Polycom_{mac}"
	p.VendorClass = polyBinaryClass("VVX-VVX_450", "3111-48450-001,1", "SIP/6.3.1.8427/01-Jan-20 00:00", "UP/6.3.1.8427/01-Jan-20 00:00")
	p.UserAgent = "FileTransport PolycomVVX-VVX_450-UA/{fw} Type/Application"
	p.UpdaterAgent = "FileTransport PolycomVVX-VVX_450-UA/{fw} Type/Updater"
	p.SIPAgent = "PolycomVVX-VVX_450-UA/{fw}"
	p.PartNumber = "3111-48450-001"
	p.Mark, p.Source = "B", "form of the VVX 500"
	return p
}

// polyBinaryClass builds the layout of the UC Software administrator guide:
// enterprise 13885, length, then records of company, model, part number,
// application and updater, then ff.
func polyBinaryClass(model, part, application, updater string) []byte {
	var records []byte
	for i, s := range []string{"Polycom", model, part, application, updater} {
		records = append(records, byte(i+1), byte(len(s)))
		records = append(records, s...)
	}
	records = append(records, 0xff)
	class := binary.BigEndian.AppendUint32(nil, 13885)
	return append(append(class, byte(len(records))), records...)
}

// CiscoCP8841 is a desk phone with multiplatform firmware.
func CiscoCP8841() Personality {
	return Personality{
		Vendor: "Cisco", Model: "CP-8841-3PCC",
		MAC:      mac.Addr{0x00, 0x56, 0x2b, 0x88, 0x41, 0x04},
		Firmware: "11.0",
		Hostname: "SEP{MAC}",
		// The class ends in a NUL octet, as captured.
		VendorClass: []byte("Cisco Systems, Inc. IP Phone CP-8841-3PCC\x00"),
		Requested:   []uint8{1, 3, 6, 15, 35, 66, 150, 2, 7, 42, 43, 58, 59, 159, 160},
		BootOptions: []uint8{66, 160, 159, 150}, // DHCP_Option_To_Use from the factory
		UserAgent:   "Cisco-CP-8841-3PCC/{fw} ({mac})",
		SIPAgent:    "Cisco-CP-8841-3PCC/{fw} ({mac})",
		ProductName: "CP-8841-3PCC",
		SeriesName:  "8841-3PCC",
		Serial:      "FCH2001A0B4",
		Ports:       1,
		Mark:        "A", Source: "provisioning guide; captured option 60",
		Boot:        []string{"200 GET /{series}.xml", "200 GET /{mac}.xml"},
		LanguageKey: "Locale",
		Languages:   map[string]string{"en": "en-US", "es": "es-ES", "ja": "ja-JP", "de": "de-DE", "fr": "fr-FR", "pt": "pt-PT"},
		dialect:     cisco,
		codecs:      []law{muLaw, aLaw},
		event:       101,
		portPerLine: true,
	}
}

// CiscoATA191 is an adapter with two telephone ports.
func CiscoATA191() Personality {
	p := CiscoCP8841()
	p.Model = "ATA191-MPP"
	p.MAC = mac.Addr{0x00, 0x56, 0x2b, 0x19, 0x10, 0x05}
	p.Firmware = "11-1-0-MSR4"
	p.Hostname = "ATA{MAC}"
	p.VendorClass = []byte("CISCO ATA191-MPP")
	p.BootOptions = []uint8{160, 66, 159, 150}
	p.UserAgent = "Cisco/ATA191-MPP-{fw} ({sn})"
	p.SIPAgent = "Cisco/ATA191-MPP-{fw}"
	p.ProductName, p.SeriesName = "ATA191-MPP", "ATA191-MPP"
	p.Serial = "FCH2443D9R4"
	p.httpsOn66 = true
	p.Ports, p.Source = 2, "option 60 and User-Agent of Wazo"
	p.Boot, p.LanguageKey, p.Languages = []string{"200 GET /{mac}.xml"}, "", nil
	return p
}
