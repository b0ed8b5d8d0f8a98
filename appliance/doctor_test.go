package appliance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/web/api"
)

var testLAN = LAN{Interface: "eth1", Address: netip.MustParseAddr("192.0.2.1"), Subnet: netip.MustParsePrefix("192.0.2.0/24")}

func TestDoctorInterface(t *testing.T) {
	with := func(p string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(p)} }
	for _, tc := range []struct {
		name    string
		state   ifaceState
		verdict string
		says    string
	}{
		{"good", ifaceState{up: true, running: true, addrs: with("192.0.2.1/24")}, api.CheckOK, "up, with 192.0.2.1/24"},
		{"missing", ifaceState{err: errors.New("no such network interface")}, api.CheckBad, "ip link"},
		{"off", ifaceState{addrs: with("192.0.2.1/24")}, api.CheckBad, "ip link set eth1 up"},
		{"no cable", ifaceState{up: true, addrs: with("192.0.2.1/24")}, api.CheckBad, "check the cable"},
		{"no address", ifaceState{up: true, running: true}, api.CheckBad, "give it 192.0.2.1/24"},
		{"another length", ifaceState{up: true, running: true, addrs: with("192.0.2.1/25")}, api.CheckBad, "lan.subnet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f findings
			f.iface(testLAN, tc.state)
			if len(f) != 1 || f[0].Verdict != tc.verdict || !strings.Contains(f[0].Text+f[0].Fix, tc.says) || (f[0].Fix == "") != (tc.verdict == api.CheckOK) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestDoctorNeighbors(t *testing.T) {
	here := api.Neighbor{Interface: "eth1", System: "sw1", Port: "7"}
	for _, tc := range []struct {
		name      string
		all       []api.Neighbor
		listening bool
		want      string
	}{
		{"heard", []api.Neighbor{here}, true, "ok hangs on sw1, port 7"},
		{"on another interface", []api.Neighbor{{Interface: "eth2"}}, true, "note no switch told"},
		{"not listening", nil, false, ""},
	} {
		var f findings
		f.neighbors(testLAN, tc.all, tc.listening)
		got := ""
		for _, c := range f {
			got += c.Verdict + " " + c.Text
		}
		if !strings.HasPrefix(got, tc.want) || (tc.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestDoctorGateway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	defer func() { _ = l.Close() }()
	for _, tc := range []struct {
		name, address, fault, verdict, says string
	}{
		{"answers", open, "", api.CheckOK, "answers on its port"},
		{"answers, but", open, "certificate has expired", api.CheckBad, "gateway.ca"},
		{"refused", nobody, "", api.CheckBad, "connection refused"},
		{"a name that is none", "gw.invalid:5061", "", api.CheckBad, "gateway.address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f findings
			f.gateway(context.Background(), tc.address, tc.fault)
			if len(f) != 1 || f[0].Verdict != tc.verdict || !strings.Contains(f[0].Text+f[0].Fix, tc.says) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestDoctorClock(t *testing.T) {
	for at, want := range map[time.Time]string{time.Unix(0, 0): api.CheckBad, notBefore.Add(time.Hour): api.CheckOK} {
		var f findings
		f.clock(at)
		if f[0].Verdict != want {
			t.Errorf("%v: %+v", at, f)
		}
	}
}

// TestDoctorWithoutDaemon: what can be seen from outside is told, and the
// first thing is that the box does not run.
func TestDoctorWithoutDaemon(t *testing.T) {
	cfg := Default()
	cfg.LANs = []LAN{{Interface: "does-not-exist", Address: testLAN.Address, Subnet: testLAN.Subnet}}
	checks := Examine(t.Context(), cfg, errors.New("nobody answers"))
	if len(checks) != 3 || checks[0].Verdict != api.CheckBad || !strings.Contains(checks[0].Text, "nobody answers") || checks[1].Verdict != api.CheckBad {
		t.Errorf("%+v", checks)
	}
}
