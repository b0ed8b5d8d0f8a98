package switchport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"patchbay/dhcp/mac"
)

// Catalysts have one BRIDGE-MIB for each VLAN, and answer with that of VLAN 1
// if none is named. The others are reached by the community with "@" and the
// VLAN behind it, in version 3 by the context "vlan-" and the VLAN (Cisco,
// "SNMP Community String Indexing", and document 13492).
const (
	oidObjectID  = ".1.3.6.1.2.1.1.2.0"            // SNMPv2-MIB sysObjectID
	oidCisco     = ".1.3.6.1.4.1.9."               // what it begins with
	oidBasePorts = ".1.3.6.1.2.1.17.1.2.0"         // BRIDGE-MIB dot1dBaseNumPorts
	oidVLANState = ".1.3.6.1.4.1.9.9.46.1.3.1.1.2" // CISCO-VTP-MIB vtpVlanState, by domain and VLAN

	vlanOperational = 1
	mostVLANs       = 4094
	vlansTime       = 2 * time.Minute // for all; those that it does not reach come first the next time
	vlanRetries     = 1               // a Catalyst is silent about a VLAN that it does not let one ask for
	mostNamed       = 8               // VLANs in an error
)

// vlan is what a switch said of one VLAN.
type vlan struct {
	tried  time.Time
	learnt []place
}

// place is where an address was learnt.
type place struct {
	m    mac.Addr
	port string
}

// readVLANs adds to t what a Catalyst says of each VLAN. What fails is told in
// t.missing, and holds as it was before.
func (r *reader) readVLANs(ctx context.Context, s Switch, before table, t *table) {
	todo, cisco := r.catalystVLANs()
	if cisco && len(todo) == 0 && len(r.base) > 0 && !r.vlanTable {
		t.missing = errors.New("it is a Cisco that lists no VLANs; have CISCO-VTP-MIB (1.3.6.1.4.1.9.9.46) and BRIDGE-MIB in the view that this box may read")
	}
	// Those asked longest ago come first: where failing ones take all the time,
	// the rest has its turn the next time.
	slices.SortStableFunc(todo, func(a, b int) int { return before.vlans[a].tried.Compare(before.vlans[b].tried) })
	t.vlans = make(map[int]vlan)
	ctx, cancel := context.WithTimeout(ctx, vlansTime)
	defer cancel()
	r.g.Context, r.g.Retries = ctx, vlanRetries
	var failed []int
	var fault error
	for _, id := range todo {
		v := before.vlans[id]
		if ctx.Err() == nil && (fault == nil || !r.vlanTable) {
			learnt, err := r.readVLAN(s, id)
			v.tried = time.Now()
			if err == nil {
				v.learnt = learnt
			} else {
				failed, fault = append(failed, id), cmp.Or(fault, err)
			}
		}
		t.vlans[id] = v
		for _, p := range v.learnt {
			t.note(p.m, p.port)
		}
	}
	if fault != nil && !r.vlanTable { // else Q-BRIDGE-MIB has said all
		t.missing = fmt.Errorf("in %s: %w; %s", named(failed), fault, s.vlanAdvice())
	}
}

// catalystVLANs lists the VLANs of a switch of Cisco; of another, none.
func (r *reader) catalystVLANs() (ids []int, cisco bool) {
	if r.err != nil {
		return nil, false
	}
	got, err := r.g.Get([]string{oidObjectID})
	if err != nil {
		r.err = fmt.Errorf("read %s: %w", oidObjectID, err)
		return nil, false
	}
	if len(got.Variables) != 1 {
		return nil, false
	}
	if id, _ := got.Variables[0].Value.(string); !strings.HasPrefix(id, oidCisco) {
		return nil, false
	}
	r.column(oidVLANState, func(index []int, v gosnmp.SnmpPDU) {
		id := index[len(index)-1]
		reserved := id >= 1002 && id <= 1005 // for token ring and FDDI
		if number(v) == vlanOperational && id >= 1 && id <= mostVLANs && !reserved && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	})
	return ids, r.err == nil
}

// readVLAN reads the forwarding table of one VLAN.
func (r *reader) readVLAN(s Switch, id int) (learnt []place, err error) {
	if s.Community != "" {
		r.g.Community = s.Community + "@" + strconv.Itoa(id)
	} else {
		r.g.ContextName = "vlan-" + strconv.Itoa(id)
	}
	// A walk takes a refusal for the end of the table.
	got, err := r.g.Get([]string{oidBasePorts})
	if err != nil {
		return nil, err
	}
	if got.Error != gosnmp.NoError {
		return nil, errors.New(got.Error.String())
	}
	in := &reader{g: r.g, names: r.names, base: make(map[int]int)}
	in.basePorts()
	in.forwarding(oidFDB, func(m mac.Addr, port string) { learnt = append(learnt, place{m, port}) })
	return learnt, in.err
}

// named writes "VLANs 10, 20".
func named(ids []int) string {
	ids = slices.Sorted(slices.Values(ids))
	var b strings.Builder
	for i, id := range ids {
		switch {
		case i == mostNamed:
			return fmt.Sprintf("%s and %d more", b.String(), len(ids)-i)
		case i > 0:
			b.WriteString(", ")
		case len(ids) > 1:
			b.WriteString("VLANs ")
		default:
			b.WriteString("VLAN ")
		}
		b.WriteString(strconv.Itoa(id))
	}
	return b.String()
}

// vlanAdvice is what to do on a switch that does not answer for its VLANs.
func (s Switch) vlanAdvice() string {
	if s.Community != "" {
		return "let the switch answer this box to its community with @ and the VLAN behind it, and have BRIDGE-MIB in the view of the community"
	}
	level := "noauth"
	switch {
	case s.AuthPassword != "" && s.PrivPassword != "":
		level = "priv"
	case s.AuthPassword != "":
		level = "auth"
	}
	return "give the user's group the contexts of VLANs on the switch (snmp-server group GROUP v3 " + level + " context vlan- match prefix)"
}
