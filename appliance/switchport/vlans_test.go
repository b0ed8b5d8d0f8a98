//go:build lab

package switchport

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

// startCatalyst runs what answers as a Catalyst does: with VLAN 1 if none is
// named, and with an agent of their own for VLANs 10, 20 and 40. It refuses to
// answer for VLAN 40, and does not know VLAN 30, which it lists.
func startCatalyst(t *testing.T) netip.AddrPort {
	t.Helper()
	vlan := func(port, index int, phones ...mac.Addr) string {
		var rows []string
		for _, m := range phones {
			rows = append(rows, fmt.Sprintf("%s=%d", dotted(m), port))
		}
		return inOrder(column(oidBasePortIfIndex, "integer", fmt.Sprintf("%d=%d", port, index)) + column(oidFDB, "integer", rows...))
	}
	conf := []string{
		"sysobjectid .1.3.6.1.4.1.9.1.1208", "view everything included .1",
		"createUser box-vlans SHA-256 auth-secret AES priv-secret", "group vlans usm box-vlans", `access vlans "" usm priv exact everything none none`,
	}
	for id, rows := range map[int]string{10: vlan(1, 10101, anna), 20: vlan(2, 10102, bert, carl), 40: vlan(4, 10104, emil)} {
		conf = append(conf, fmt.Sprintf("proxy -Cn vlan-%d -v 2c -c lab-community %v .1.3.6.1.2.1.17", id, startSwitch(t, rows)))
		if id != 40 {
			conf = append(conf,
				fmt.Sprintf("rocommunity lab-community@%d 127.0.0.1 -V everything vlan-%d", id, id),
				fmt.Sprintf("access vlans vlan-%d usm priv exact everything none none", id))
		}
	}
	rows := column(oidIfDescr, "string", "10101=GigabitEthernet1/0/1", "10102=GigabitEthernet1/0/2", "10103=GigabitEthernet1/0/3", "10104=GigabitEthernet1/0/4") +
		column(oidIfName, "string", "10101=Gi1/0/1", "10102=Gi1/0/2", "10103=Gi1/0/3", "10104=Gi1/0/4") +
		column(oidBasePortIfIndex, "integer", "3=10103") +
		column(oidFDB, "integer", dotted(dora)+"=3") +
		// VLAN 50 is suspended, and those for token ring and FDDI have no table.
		column(oidVLANState, "integer", "1.10=1", "1.20=1", "1.30=1", "1.40=1", "1.50=2", "1.1002=1", "1.1003=1", "1.1004=1", "1.1005=1")
	return startSwitch(t, inOrder(rows), conf...)
}

// Phones are found in each VLAN of a Catalyst; those that fail spoil no other.
func TestVLANs(t *testing.T) {
	at := startCatalyst(t)
	for _, tc := range []struct {
		s      Switch
		advice string
	}{
		{Switch{Name: "v2c", Address: at, Community: "lab-community"}, "@"},
		{Switch{Name: "v3", Address: at, User: "box-vlans", AuthPassword: "auth-secret", PrivPassword: "priv-secret"}, "v3 priv context vlan- match prefix"},
	} {
		t.Run(tc.s.Name, func(t *testing.T) {
			// What VLAN 30 said before it failed holds, and what VLAN 10 said is over.
			before := table{vlans: map[int]vlan{
				10: {time.Unix(1, 0), []place{{never, "Gi1/0/1"}}},
				30: {time.Unix(2, 0), []place{{emil, "Gi1/0/3"}}},
			}}
			got, err := ask(t.Context(), tc.s, before)
			if err != nil {
				t.Fatal(err)
			}
			f := New([]Switch{tc.s}, 0, nil, slog.New(slog.DiscardHandler))
			f.took(tc.s, got, nil)
			for m, want := range map[mac.Addr]string{anna: "Gi1/0/1", bert: "Gi1/0/2", carl: "Gi1/0/2", dora: "Gi1/0/3", emil: "Gi1/0/3"} {
				if p, ok := f.Port(m); !ok || p.Name != want {
					t.Errorf("%v is at %q, want %s", m, p.Name, want)
				}
			}
			if p, ok := f.Port(never); ok {
				t.Errorf("a phone that is gone is at %v", p)
			}
			if got.addresses["Gi1/0/2"] != 2 {
				t.Errorf("addresses of ports: %v", got.addresses)
			}
			faults := f.Faults()
			if len(faults) != 1 || faults[0].Switch != tc.s.Name {
				t.Fatalf("faults %+v", faults)
			}
			said := faults[0].Err.Error()
			t.Log(said)
			if !strings.HasPrefix(said, "in VLANs 30, 40: ") || !strings.Contains(said, tc.advice) || strings.Contains(said, "lab-community") {
				t.Errorf("the fault says %q", said)
			}
			var asked []int
			for id, v := range got.vlans {
				if time.Since(v.tried) > time.Minute {
					t.Errorf("VLAN %d was not asked", id)
				}
				asked = append(asked, id)
			}
			// Those asked longest ago come first.
			if v := got.vlans; !v[20].tried.Before(v[10].tried) || !v[10].tried.Before(v[30].tried) {
				t.Error("VLANs were not asked in turn")
			}
			if slices.Sort(asked); !slices.Equal(asked, []int{10, 20, 30, 40}) {
				t.Errorf("asked for VLANs %v", asked)
			}
		})
	}
}

// A Cisco that knows Q-BRIDGE-MIB has said all by it: where it does not know
// VLANs as contexts, it is asked for one only, and that is no fault.
func TestVLANsKnown(t *testing.T) {
	rows := core() + column(oidVLANState, "integer", "1.20=1", "1.30=1")
	at := startSwitch(t, inOrder(rows), "sysobjectid .1.3.6.1.4.1.9.12.3.1.3.1")
	got, err := ask(t.Context(), Switch{Address: at, Community: "lab-community"}, table{})
	if err != nil || got.missing != nil {
		t.Errorf("error %v, fault %v", err, got.missing)
	}
	if v := got.vlans; v[20].tried.IsZero() || !v[30].tried.IsZero() {
		t.Errorf("VLANs asked: %v", v)
	}
	if len(got.learnt[anna]) != 1 {
		t.Errorf("a phone is at %v", got.learnt[anna])
	}
}

func TestNamed(t *testing.T) {
	for want, ids := range map[string][]int{
		"VLAN 7":      {7},
		"VLANs 7, 20": {20, 7},
		"VLANs 1, 2, 3, 4, 5, 6, 7, 8 and 2 more": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
	} {
		if got := named(ids); got != want {
			t.Errorf("%v are %q, want %q", ids, got, want)
		}
	}
}

// A Catalyst that hides its VLANs is a fault: phones would be looked for in one alone.
func TestVLANsHidden(t *testing.T) {
	at := startSwitch(t, inOrder(access()), "sysobjectid .1.3.6.1.4.1.9.1.1208")
	got, err := ask(t.Context(), Switch{Address: at, Community: "lab-community"}, table{})
	if err != nil || got.missing == nil || !strings.Contains(got.missing.Error(), "CISCO-VTP-MIB") {
		t.Errorf("error %v, fault %v", err, got.missing)
	}
	if len(got.learnt) == 0 {
		t.Error("what it says of one VLAN is lost")
	}
}
