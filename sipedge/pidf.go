package sipedge

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"patchbay/dhcp/mac"
)

// Place is where a phone stands, as the emergency services are told. The zero
// value is nowhere known.
type Place struct {
	Name string // as people on site call it
	// Civic is the address by element of RFC 5139 §3 and RFC 4119 §2.2.1:
	// country, A1 to A6, RD, HNO, PC, NAM, BLD, FLR, ROOM, LOC and so on.
	Civic []CivicPart
	// Latitude and Longitude in degrees, WGS 84; HasPoint says that they are set.
	Latitude, Longitude float64
	HasPoint            bool
	// ELIN is the number by which the emergency services call this place
	// back, E.164 with +; empty: that of the line.
	ELIN string
	// How says what the place was told by.
	How string
}

// CivicPart is one element of a civic address.
type CivicPart struct{ Element, Value string }

// Known says whether there is anything to tell.
func (p Place) Known() bool { return len(p.Civic) > 0 || p.HasPoint || p.Name != "" }

// Locator says where phones are. It is asked when an emergency call comes, and
// must neither block nor touch the disk.
type Locator interface {
	// Locate returns the place of an account's phone, which may be zero where
	// nobody knows the phone. ip is the address that it calls from, invalid
	// where that is not known; reported is the P-Access-Network-Info of its
	// call (RFC 7315 §5.4), may be empty.
	Locate(a mac.Account, ip netip.Addr, reported string) Place
}

// pidf writes the place as a presence document (RFC 4119, RFC 5139, RFC 5491)
// for the entity, an address of record.
func (p Place) pidf(entity string, now time.Time) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\r\n")
	b.WriteString(`<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"` +
		` xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"` +
		` xmlns:cl="urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr" xmlns:gml="http://www.opengis.net/gml" entity="` + escape(entity) + `">` + "\r\n")
	// RFC 5491 §3.4: a device is where it is.
	b.WriteString(`<dm:device id="phone"><gp:geopriv><gp:location-info>`)
	if p.HasPoint {
		fmt.Fprintf(&b, `<gml:Point srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>%s %s</gml:pos></gml:Point>`,
			strconv.FormatFloat(p.Latitude, 'f', -1, 64), strconv.FormatFloat(p.Longitude, 'f', -1, 64))
	}
	if civic := p.civic(); len(civic) > 0 {
		b.WriteString("<cl:civicAddress>")
		for _, c := range civic {
			b.WriteString("<cl:" + c.Element + ">" + escape(c.Value) + "</cl:" + c.Element + ">")
		}
		b.WriteString("</cl:civicAddress>")
	}
	// RFC 4119 §2.2.2: the call takes it along, nobody keeps it.
	b.WriteString(`</gp:location-info><gp:usage-rules><gbp:retransmission-allowed>true</gbp:retransmission-allowed>` +
		`<gbp:retention-expiry>` + now.UTC().Add(24*time.Hour).Format(time.RFC3339) + `</gbp:retention-expiry></gp:usage-rules>` +
		`<gp:method>Manual</gp:method></gp:geopriv><dm:deviceID>urn:patchbay:phone</dm:deviceID>` +
		`<dm:timestamp>` + now.UTC().Format(time.RFC3339) + `</dm:timestamp></dm:device>` + "\r\n</presence>\r\n")
	return b.Bytes()
}

// civic is the address, with the name of the place where nothing else tells it.
func (p Place) civic() []CivicPart {
	for _, c := range p.Civic {
		if c.Element == "LOC" {
			return p.Civic
		}
	}
	if p.Name == "" {
		return p.Civic
	}
	return append(p.Civic[:len(p.Civic):len(p.Civic)], CivicPart{"LOC", p.Name})
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}

// joinParts joins a session description and a place into one body (RFC 2046
// §5.1, RFC 6442 §4.1). It returns the content type with it.
func joinParts(sdp, pidf []byte, boundary, cid string) (kind string, body []byte) {
	var b bytes.Buffer
	part := func(header string, content []byte) {
		b.WriteString("--" + boundary + "\r\n" + header + "\r\n\r\n")
		b.Write(content)
		b.WriteString("\r\n")
	}
	part("Content-Type: application/sdp", sdp)
	part("Content-Type: application/pidf+xml\r\nContent-ID: <"+cid+">\r\nContent-Disposition: render;handling=optional", pidf)
	b.WriteString("--" + boundary + "--\r\n")
	return "multipart/mixed;boundary=" + boundary, b.Bytes()
}
