package sipedge

import (
	"net"
	"testing"

	"golang.org/x/net/ipv4"
)

// multicastFrom sets the interface that a socket's multicasts leave by.
func multicastFrom(t *testing.T, conn *net.UDPConn, iface string) {
	t.Helper()
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	if err := ipv4.NewPacketConn(conn).SetMulticastInterface(ifi); err != nil {
		t.Fatal(err)
	}
}
