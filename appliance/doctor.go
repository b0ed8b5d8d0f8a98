package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patchbay/appliance/web/api"
)

// gatewayPatience bounds the try to reach the gateway.
const gatewayPatience = 3 * time.Second

// findings collects checks.
type findings []api.Check

func (f *findings) add(code, about, verdict, text, fix string) {
	*f = append(*f, api.Check{Code: code, About: about, Verdict: verdict, Text: text, Fix: fix})
}

// Examine implements api.Doctor.
func (b backend) Examine(ctx context.Context) []api.Check {
	var f findings
	f.add("running", "patchbay", api.CheckOK, "it runs since "+b.a.started.Local().Format("2006-01-02 15:04:05"), "")
	snapshot := b.Snapshot()
	for _, l := range b.a.cfg.LANs {
		f.iface(l, interfaceState(l.Interface))
		f.neighbors(l, snapshot.Neighbors, len(b.a.lldp) > 0)
		f.dhcp(l, b, snapshot.Pools)
	}
	f.clock(b.a.now())
	if b.a.uplink == nil {
		f.add("gateway", "gateway", api.CheckBad, "none is configured, so calls can't leave the house", "fill in [gateway] in patchbay.toml and restart the box")
	} else if up, since, fault, _ := b.a.uplink.Status(); up {
		f.add("gateway", "gateway", api.CheckOK, b.a.cfg.Gateway.Address+" is connected since "+since.Local().Format("2006-01-02 15:04:05"), "")
	} else {
		f.gateway(ctx, b.a.cfg.Gateway.Address, fault)
	}
	return f
}

// Examine looks at what can be seen from outside while the box does not run.
// unreachable says why it could not be asked.
func Examine(ctx context.Context, cfg Config, unreachable error) []api.Check {
	var f findings
	f.add("running", "patchbay", api.CheckBad, "it does not run: "+unreachable.Error(), "")
	for _, l := range cfg.LANs {
		f.iface(l, interfaceState(l.Interface))
	}
	f.clock(time.Now())
	if cfg.Gateway.Address != "" {
		f.gateway(ctx, cfg.Gateway.Address, "")
	}
	return f
}

// ifaceState is what the system says of an interface.
type ifaceState struct {
	err     error
	up      bool // switched on
	running bool // and a cable with somebody at the other end
	addrs   []netip.Prefix
}

func interfaceState(name string) ifaceState {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return ifaceState{err: err}
	}
	s := ifaceState{up: ifi.Flags&net.FlagUp != 0, running: ifi.Flags&net.FlagRunning != 0}
	list, err := ifi.Addrs()
	if err != nil {
		return ifaceState{err: err}
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			s.addrs = append(s.addrs, p)
		}
	}
	return s
}

// iface judges an interface: there, on, connected, with the right address.
func (f *findings) iface(l LAN, s ifaceState) {
	say := func(verdict, text, fix string) { f.add("interface", l.Interface, verdict, text, fix) }
	has := slices.ContainsFunc(s.addrs, func(p netip.Prefix) bool { return p.Addr() == l.Address })
	right := slices.Contains(s.addrs, netip.PrefixFrom(l.Address, l.Subnet.Bits()))
	switch {
	case s.err != nil:
		say(api.CheckBad, "there is no such interface", "compare lan.interface in patchbay.toml with what `ip link` shows")
	case !s.up:
		say(api.CheckBad, "it is switched off", "switch it on: `ip link set "+l.Interface+" up`, and in the network settings of the system for good")
	case !s.running:
		say(api.CheckBad, "no link: the cable is loose, or the other end is off", "check the cable and the port of the switch")
	case !has:
		say(api.CheckBad, fmt.Sprintf("it does not have the address %v", l.Address), fmt.Sprintf("give it %v/%d in the network settings of the system, or correct lan.address", l.Address, l.Subnet.Bits()))
	case !right:
		say(api.CheckBad, fmt.Sprintf("it has %v with another length than %v", l.Address, l.Subnet), "give it the length of lan.subnet, or correct lan.subnet")
	default:
		say(api.CheckOK, fmt.Sprintf("up, with %v/%d", l.Address, l.Subnet.Bits()), "")
	}
}

// neighbors tells what hangs at the other end of the cable.
func (f *findings) neighbors(l LAN, all []api.Neighbor, listening bool) {
	if !listening {
		return
	}
	found := false
	for _, n := range all {
		if n.Interface == l.Interface {
			found = true
			f.add("neighbor", l.Interface, api.CheckOK, "hangs on "+n.Words(), "")
		}
	}
	if !found {
		f.add("neighbor", l.Interface, api.CheckNote, "no switch told by LLDP or CDP who it is", "nothing to do; LLDP on the switch would name its port here, and tell phones their VLAN")
	}
}

// dhcp tells what the box does there, who else does it, and what is left.
func (f *findings) dhcp(l LAN, b backend, pools []api.Pool) {
	i := slices.IndexFunc(b.a.dhcp, func(d lanServer) bool { return d.lan.Interface == l.Interface })
	if i < 0 {
		f.add("dhcp", l.Interface, api.CheckNote, "this box gives out no addresses here", "set lan.dhcp if no other server leads the phones here")
		return
	}
	o := b.a.dhcp[i].server.Conflict()
	switch {
	case o.IsZero():
		f.add("dhcp", l.Interface, api.CheckOK, "no other DHCP server was seen", "")
	case o.Blocking:
		f.add("dhcp", l.Interface, api.CheckBad, fmt.Sprintf("another DHCP server, %v (%v), is here, so this box makes no offers", o.IP, o.MAC), "switch one of the two off")
	default:
		f.add("dhcp", l.Interface, api.CheckNote, fmt.Sprintf("another DHCP server, %v (%v), is here", o.IP, o.MAC), "make sure that it is meant to be there")
	}
	for _, p := range pools {
		if p.Interface != l.Interface {
			continue
		}
		verdict, fix := api.CheckOK, ""
		if p.Used >= p.Size {
			verdict, fix = api.CheckBad, "enlarge the pools in patchbay.toml, or shorten the lease"
		} else if float64(p.Used) >= poolNearlyFull*float64(p.Size) {
			verdict, fix = api.CheckNote, "enlarge the pools in patchbay.toml, or shorten the lease"
		}
		f.add("pool", l.Interface, verdict, fmt.Sprintf("%d of %d addresses are free from %v to %v", max(0, p.Size-p.Used), p.Size, p.First, p.Last), fix)
	}
}

// clock judges the time of day.
func (f *findings) clock(now time.Time) {
	if now.Before(notBefore) {
		f.add("clock", "clock", api.CheckBad, "it is not set: "+now.Format("2006-01-02 15:04"), "connect the box to the Internet, or name a time server in the settings of the system")
		return
	}
	f.add("clock", "clock", api.CheckOK, "it says "+now.Local().Format("2006-01-02 15:04:05 MST"), "")
}

// gateway tries to reach a gateway that is not connected, and says how far
// it got: name, way, port.
func (f *findings) gateway(ctx context.Context, address, fault string) {
	ctx, cancel := context.WithTimeout(ctx, gatewayPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	text, fix := "", ""
	if err == nil {
		_ = conn.Close()
		if fault == "" {
			f.add("gateway", "gateway", api.CheckOK, address+" answers on its port", "")
			return
		}
		text, fix = fmt.Sprintf("%s answers on its port, but the connection fails: %s", address, fault), "compare gateway.server_name and gateway.ca with the certificate of the gateway"
	} else {
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns):
			text, fix = fmt.Sprintf("the name in %s can't be resolved", address), "check gateway.address and the name servers of this system"
		case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
			text, fix = fmt.Sprintf("nothing comes back from %s", address), "check the cable to the Internet and that the firewall lets TCP out to this port"
		default:
			text, fix = fmt.Sprintf("%s can't be reached: %s", address, lastWords(err)), "check the cable to the Internet and the router"
		}
	}
	f.add("gateway", "gateway", api.CheckBad, text, fix)
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// lastWords is the innermost reason of a network error.
func lastWords(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		return s[i+2:]
	}
	return s
}
