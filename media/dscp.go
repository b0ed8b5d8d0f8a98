package media

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// dscpEF is Expedited Forwarding (RFC 3246), what switches expect on voice.
const dscpEF = 46

// setDSCP marks what conn sends. The two low bits of the octet are ECN's.
func setDSCP(conn *net.UDPConn, dscp int) error {
	addr, ok := conn.LocalAddr().(*net.UDPAddr)
	if ok && addr.IP.To4() == nil {
		return ipv6.NewConn(conn).SetTrafficClass(dscp << 2)
	}
	return ipv4.NewConn(conn).SetTOS(dscp << 2)
}

func isAddrInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE)
}
