// Package switchport finds out by SNMP at which port of a switch each phone
// hangs, so that one who calls for help is found.
//
// It reads the forwarding tables of the switches that are configured (BRIDGE-MIB,
// RFC 4188, that of each VLAN on Catalysts, and Q-BRIDGE-MIB, RFC 4363), their
// neighbours (LLDP-MIB, IEEE 802.1AB), and the names of their ports (IF-MIB,
// RFC 2863). It never writes to a switch. A phone that names itself by LLDP hangs at that port. Else it hangs
// where its address was learnt together with the fewest others: on the ports
// between switches all addresses are seen. A port whose neighbour says that it
// is a switch and no phone counts only if there is no other.
//
// One goroutine asks all switches, each by one after the other; what a switch
// said last holds until it says something else. [Finder.Port] reads memory.
package switchport
