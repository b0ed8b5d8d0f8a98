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
		"{MAC}", strings.ToUpper(p.MAC.Hex()), "{sn}", p.Serial,
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
		dialect:      poly,
		codecs:       []law{aLaw, muLaw},
		event:        127,
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
	return p
}
