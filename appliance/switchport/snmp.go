package switchport

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gosnmp/gosnmp"

	"patchbay/dhcp/mac"
)

// table is what one switch said.
type table struct {
	lldp      map[mac.Addr]string   // phones that named themselves: the port
	learnt    map[mac.Addr][]string // ports where an address was learnt
	addresses map[string]int        // how many addresses a port has
	uplinks   map[string]bool       // ports to other switches
	vlans     map[int]vlan          // of a Catalyst; they are in the above too
	missing   error                 // why some of them are as they were before
}

// note adds an address that was learnt at a port, perhaps in several VLANs.
func (t table) note(m mac.Addr, port string) {
	if !slices.Contains(t.learnt[m], port) {
		t.learnt[m] = append(t.learnt[m], port)
		t.addresses[port]++
	}
}

// The columns that are read.
const (
	oidBasePortIfIndex = ".1.3.6.1.2.1.17.1.4.1.2"     // BRIDGE-MIB dot1dBasePortIfIndex, by port
	oidFDB             = ".1.3.6.1.2.1.17.4.3.1.2"     // BRIDGE-MIB dot1dTpFdbPort, by address
	oidVLANFDB         = ".1.3.6.1.2.1.17.7.1.2.2.1.2" // Q-BRIDGE-MIB dot1qTpFdbPort, by table and address
	oidIfDescr         = ".1.3.6.1.2.1.2.2.1.2"        // IF-MIB ifDescr, by interface
	oidIfName          = ".1.3.6.1.2.1.31.1.1.1.1"     // IF-MIB ifName, by interface

	// LLDP-MIB (IEEE 802.1AB-2005), by time, port and neighbour.
	oidRemChassisKind  = ".1.0.8802.1.1.2.1.4.1.1.4"
	oidRemChassis      = ".1.0.8802.1.1.2.1.4.1.1.5"
	oidRemPortKind     = ".1.0.8802.1.1.2.1.4.1.1.6"
	oidRemPort         = ".1.0.8802.1.1.2.1.4.1.1.7"
	oidRemCapabilities = ".1.0.8802.1.1.2.1.4.1.1.12"
	oidLocPort         = ".1.0.8802.1.1.2.1.3.7.1.3" // name of a port, by port
)

// What LLDP says.
const (
	chassisMAC      = 4 // lldpRemChassisIdSubtype macAddress
	portMAC         = 3 // lldpRemPortIdSubtype macAddress
	capBridge       = 0x20
	capTelephone    = 0x04
	mostRows        = 200_000 // of one column; a switch that has more is none
	answerTimeout   = 2 * time.Second
	mostRepetitions = 25
)

// ask reads the tables of a switch, which said before what is in that table.
func ask(ctx context.Context, s Switch, before table) (table, error) {
	g := s.session(ctx)
	if err := g.Connect(); err != nil {
		return table{}, fmt.Errorf("reach %v: %w", s.Address, err)
	}
	defer g.Conn.Close()
	r := &reader{g: g}
	r.ports()
	t := r.table()
	r.readVLANs(ctx, s, before, &t)
	return t, r.err
}

func (s Switch) session(ctx context.Context) *gosnmp.GoSNMP {
	g := &gosnmp.GoSNMP{
		Target: s.Address.Addr().String(), Port: s.Address.Port(), Transport: "udp", Context: ctx,
		Timeout: answerTimeout, Retries: 2, MaxRepetitions: mostRepetitions, MaxOids: gosnmp.MaxOids,
		Version: gosnmp.Version2c, Community: s.Community,
	}
	if s.Community != "" {
		return g
	}
	g.Version, g.SecurityModel, g.MsgFlags = gosnmp.Version3, gosnmp.UserSecurityModel, gosnmp.NoAuthNoPriv
	u := &gosnmp.UsmSecurityParameters{UserName: s.User}
	if s.AuthPassword != "" {
		u.AuthenticationProtocol, u.AuthenticationPassphrase = gosnmp.SHA256, s.AuthPassword
		if s.SHA1 {
			u.AuthenticationProtocol = gosnmp.SHA
		}
		g.MsgFlags = gosnmp.AuthNoPriv
		if s.PrivPassword != "" {
			u.PrivacyProtocol, u.PrivacyPassphrase = gosnmp.AES, s.PrivPassword
			g.MsgFlags = gosnmp.AuthPriv
		}
	}
	g.SecurityParameters = u
	return g
}

// reader reads columns. The first error stays; nothing is asked after it.
type reader struct {
	g     *gosnmp.GoSNMP
	err   error
	names map[int]string // of interfaces
	base  map[int]int    // interface of a bridge port

	vlanTable bool // the switch knows Q-BRIDGE-MIB
}

// column calls f with each row: what follows the column in its name, and its
// value. A switch that does not know a column has no rows.
func (r *reader) column(oid string, f func(index []int, v gosnmp.SnmpPDU)) {
	if r.err != nil {
		return
	}
	n := 0
	err := r.g.BulkWalk(oid, func(v gosnmp.SnmpPDU) error {
		if n++; n > mostRows {
			return fmt.Errorf("more than %d rows", mostRows)
		}
		if rest, ok := strings.CutPrefix(v.Name, oid+"."); ok {
			if index, ok := numbers(rest); ok {
				f(index, v)
			}
		}
		return nil
	})
	if err != nil {
		r.err = fmt.Errorf("read %s: %w", oid, err)
	}
}

// numbers reads "1.2.3".
func numbers(s string) ([]int, bool) {
	var out []int
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

// address reads the last six numbers of an index.
func address(index []int) (m mac.Addr, ok bool) {
	if len(index) < len(m) {
		return m, false
	}
	for i, n := range index[len(index)-len(m):] {
		if n < 0 || n > 255 {
			return m, false
		}
		m[i] = byte(n)
	}
	return m, true
}

func number(v gosnmp.SnmpPDU) int { return int(gosnmp.ToBigInt(v.Value).Int64()) }

func octets(v gosnmp.SnmpPDU) []byte {
	b, _ := v.Value.([]byte)
	return b
}

// text is a name that can be shown.
func text(b []byte) string {
	s := strings.TrimSpace(strings.Trim(string(b), "\x00"))
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || len(s) > 64 {
		return ""
	}
	return s
}

// ports reads the names of the ports.
func (r *reader) ports() {
	r.names, r.base = make(map[int]string), make(map[int]int)
	for _, oid := range []string{oidIfDescr, oidIfName} { // the second is short, and what people say
		r.column(oid, func(index []int, v gosnmp.SnmpPDU) {
			if s := text(octets(v)); s != "" {
				r.names[index[0]] = s
			}
		})
	}
	r.basePorts()
}

func (r *reader) basePorts() {
	r.column(oidBasePortIfIndex, func(index []int, v gosnmp.SnmpPDU) { r.base[index[0]] = number(v) })
}

// name is that of a bridge port.
func (r *reader) name(port int) string {
	if s := r.names[r.base[port]]; s != "" {
		return s
	}
	return "port " + strconv.Itoa(port)
}

// table reads where addresses were learnt, and what neighbours say.
func (r *reader) table() table {
	t := table{
		lldp: make(map[mac.Addr]string), learnt: make(map[mac.Addr][]string),
		addresses: make(map[string]int), uplinks: make(map[string]bool),
	}
	r.forwarding(oidFDB, t.note)
	r.forwarding(oidVLANFDB, func(m mac.Addr, port string) {
		r.vlanTable = true
		t.note(m, port)
	})
	r.neighbours(t)
	return t
}

// forwarding calls f with each address of a forwarding table and its port.
func (r *reader) forwarding(oid string, f func(m mac.Addr, port string)) {
	r.column(oid, func(index []int, v gosnmp.SnmpPDU) {
		m, ok := address(index)
		if port := number(v); ok && port != 0 { // RFC 4188: learnt, but not at which port
			f(m, r.name(port))
		}
	})
}

// neighbour is what stands in one row of LLDP-MIB, column by column.
type neighbour struct {
	port                  int
	chassisKind, portKind int
	chassis, id           []byte
	capabilities          []byte
}

func (r *reader) neighbours(t table) {
	rows := make(map[string]*neighbour)
	row := func(index []int) *neighbour {
		key := fmt.Sprint(index)
		if rows[key] == nil {
			rows[key] = &neighbour{port: index[1]}
		}
		return rows[key]
	}
	for oid, put := range map[string]func(*neighbour, gosnmp.SnmpPDU){
		oidRemChassisKind:  func(n *neighbour, v gosnmp.SnmpPDU) { n.chassisKind = number(v) },
		oidRemChassis:      func(n *neighbour, v gosnmp.SnmpPDU) { n.chassis = octets(v) },
		oidRemPortKind:     func(n *neighbour, v gosnmp.SnmpPDU) { n.portKind = number(v) },
		oidRemPort:         func(n *neighbour, v gosnmp.SnmpPDU) { n.id = octets(v) },
		oidRemCapabilities: func(n *neighbour, v gosnmp.SnmpPDU) { n.capabilities = octets(v) },
	} {
		r.column(oid, func(index []int, v gosnmp.SnmpPDU) {
			if len(index) == 3 {
				put(row(index), v)
			}
		})
	}
	local := make(map[int]string)
	r.column(oidLocPort, func(index []int, v gosnmp.SnmpPDU) { local[index[0]] = text(octets(v)) })
	for _, n := range rows {
		name := r.lldpName(n.port, local[n.port])
		if len(n.capabilities) > 0 && n.capabilities[0]&capBridge != 0 && n.capabilities[0]&capTelephone == 0 {
			t.uplinks[name] = true
			continue
		}
		// LLDP-MED phones name themselves by their address as the port, or as
		// the chassis (ANSI/TIA-1057 §9.2.3).
		for _, id := range []struct {
			is bool
			b  []byte
		}{{n.portKind == portMAC, n.id}, {n.chassisKind == chassisMAC, n.chassis}} {
			if id.is && len(id.b) == len(mac.Addr{}) {
				t.lldp[mac.Addr(id.b)] = name
			}
		}
	}
}

// lldpName is the name of a port by its number in LLDP-MIB, which is that of
// the bridge port with some switches, that of the interface with others, and
// one of its own with the rest; said is how LLDP calls it.
func (r *reader) lldpName(port int, said string) string {
	for _, known := range r.names {
		if said != "" && said == known {
			return said
		}
	}
	if _, ok := r.base[port]; !ok && r.names[port] != "" {
		return r.names[port]
	}
	return r.name(port)
}
