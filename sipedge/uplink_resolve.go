package sipedge

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// resolve finds the addresses of one server in the order in which they are
// tried. It asks the network and is never called where messages are received.
func resolve(ctx context.Context, r *net.Resolver, address string) ([]netip.AddrPort, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	port = cmp.Or(port, 5061)
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip, port)}, nil
	}
	out, err := resolveHost(ctx, r, host, port)
	if err != nil {
		return nil, fmt.Errorf("look up the gateway %s: %w", host, err)
	}
	return out, nil
}

func resolveHost(ctx context.Context, r *net.Resolver, host string, port uint16) ([]netip.AddrPort, error) {
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		out = append(out, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return out, nil
}

// splitAddress reads "host", "host:port", "1.2.3.4" and "[2001:db8::1]:5061".
// The port is 0 if none is given.
func splitAddress(address string) (host string, port uint16, err error) {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.String(), 0, nil
	}
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		if address == "" || len(address) > 253 {
			return "", 0, fmt.Errorf("gateway address %q: want host:port", address)
		}
		host, p = address, ""
	}
	if host == "" {
		return "", 0, fmt.Errorf("gateway address %q: want host:port", address)
	}
	if p == "" {
		return host, 0, nil
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("gateway address %q: port from 1 to 65535 wanted", address)
	}
	return host, uint16(n), nil
}
