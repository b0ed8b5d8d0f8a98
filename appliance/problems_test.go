package appliance

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/appliance/switchport"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/firmware"
)

func TestProblems(t *testing.T) {
	good := condition{gatewayConfigured: true, gatewayUp: true, siteLineConfigured: true, siteLineOK: true, pools: []poolUse{{"eth1", 10, 100}}}
	for _, tc := range []struct {
		name   string
		change func(*condition)
		want   []string
	}{
		{"all is well", func(*condition) {}, nil},
		{"no gateway", func(c *condition) { c.gatewayConfigured = false }, []string{"no-gateway"}},
		{"gateway down hides what follows from it", func(c *condition) { c.gatewayUp, c.siteLineOK = false, false }, []string{"gateway-down"}},
		{"no site line", func(c *condition) { c.siteLineConfigured = false }, []string{"no-site-line"}},
		{"site line refused", func(c *condition) { c.siteLineOK = false }, []string{"site-line"}},
		{"pool nearly full", func(c *condition) { c.pools[0].used = 90 }, []string{"pool-nearly-full"}},
		{"pool full", func(c *condition) { c.pools[0].used = 100 }, []string{"pool-full"}},
		{"somebody walks", func(c *condition) { c.walks = []provision.Walk{{Phones: 16}} }, []string{"walk"}},
		{"a roll-out that stopped", func(c *condition) {
			c.halted = []firmware.Rollout{{Version: "1", Steps: []firmware.Step{{State: firmware.Failed, Why: story.FirmwareNotSeen}}}}
		}, []string{"firmware-halted"}},
		{"firmware that the gateway would not take", func(c *condition) { c.tooOld = 3 }, []string{"firmware-old"}},
		{"no certificate", func(c *condition) { c.orderFault = errors.New("refused") }, []string{"no-certificate"}},
		{"an uploaded certificate that ends soon", func(c *condition) { c.uploaded, c.publicEnds = true, c.now.Add(certificateSoon-1) }, []string{"certificate-ends"}},
		{"an uploaded certificate that ends later", func(c *condition) { c.uploaded, c.publicEnds = true, c.now.Add(certificateSoon+1) }, nil},
		{"an ordered certificate that ends soon", func(c *condition) { c.publicEnds = c.now.Add(1) }, nil},
		{"no HTTPS", func(c *condition) { c.noHTTPS = errors.New("in use") }, []string{"no-https"}},
		{"PnP without an answer", func(c *condition) { c.pnpHeld = []pnpHeld{{reason: story.AddressOfOther}} }, []string{"pnp-held"}},
		{"a drill that failed", func(c *condition) { c.drillFaults = []string{"no way"} }, []string{"drill"}},
		{"a switch is silent", func(c *condition) {
			c.silentSwitches = []switchport.Fault{{Switch: "core", Err: errors.New("timeout")}}
		}, []string{"switch-silent"}},
		{"no pool", func(c *condition) { c.pools[0] = poolUse{"eth1", 0, 0} }, nil},
		{"worst first", func(c *condition) { c.dropped, c.clockUnset, c.gatewayUp = 3, true, false }, []string{"gateway-down", "clock", "dropped"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good
			c.pools = append([]poolUse(nil), good.pools...)
			tc.change(&c)
			var got []string
			for _, p := range problems(c) {
				got = append(got, p.Code)
				if p.Text == "" || p.Fix == "" {
					t.Errorf("%s says nothing", p.Code)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

func TestConflictNamesTheOtherServer(t *testing.T) {
	got := problems(condition{
		gatewayConfigured: true, gatewayUp: true, siteLineConfigured: true, siteLineOK: true,
		conflicts: []conflict{{iface: "eth1", ip: netip.MustParseAddr("192.0.2.254"), mac: mac.Addr{0, 0, 0x5e, 0, 0x53, 1}, quiet: true}},
	})
	if len(got) != 1 || !strings.Contains(got[0].Text, "192.0.2.254 (00:00:5e:00:53:01)") || !strings.Contains(got[0].Text, "makes no offers") {
		t.Errorf("got %+v", got)
	}
}
