package store

import (
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// micros is the stored form of a time; 0 is never.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros turns a stored time back; the zone is the box's.
func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n)
}

// addrText is the stored form of an address and port; empty for none.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func parseAddrPort(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	return netip.ParseAddrPort(s)
}

// macText is the stored form of the MAC address of an account that may be
// none; empty for none.
func macText(m mac.Addr) string {
	if m.IsZero() {
		return ""
	}
	return m.String()
}

func parseMAC(s string) (mac.Addr, error) {
	if s == "" {
		return mac.Addr{}, nil
	}
	return mac.Parse(s)
}
