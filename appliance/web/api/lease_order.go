package api

import (
	"cmp"
	"slices"
	"strings"
)

// LeaseOrder is by what leases are sorted.
type LeaseOrder string

// The orders; leases that are equal in one are sorted by address.
const (
	ByAddress LeaseOrder = "address"
	ByDevice  LeaseOrder = "device" // phones first, by vendor and model; then others, by what they call themselves
	ByMAC     LeaseOrder = "mac"
	ByEnd     LeaseOrder = "end" // what ends soonest first
)

// LeaseOrders are all orders.
var LeaseOrders = []LeaseOrder{ByAddress, ByDevice, ByMAC, ByEnd}

// SortLeases brings leases into an order.
func SortLeases(list []Lease, by LeaseOrder) {
	slices.SortFunc(list, func(x, y Lease) int {
		return cmp.Or(by.compare(x, y), x.IP.Compare(y.IP), cmp.Compare(x.Interface, y.Interface))
	})
}

func (o LeaseOrder) compare(x, y Lease) int {
	switch o {
	case ByDevice:
		return strings.Compare(x.deviceKey(), y.deviceKey())
	case ByMAC:
		return x.MAC.Compare(y.MAC)
	case ByEnd:
		return x.Expires.Compare(y.Expires)
	default:
		return 0
	}
}

// deviceKey sorts as people read: phones, then others, then the nameless.
func (l Lease) deviceKey() string {
	switch {
	case l.Phone:
		return "1" + strings.ToLower(l.Vendor+" "+l.Model+" "+l.Hostname)
	case l.Hostname != "" || l.Class != "":
		return "2" + strings.ToLower(cmp.Or(l.Hostname, l.Class))
	default:
		return "3"
	}
}
