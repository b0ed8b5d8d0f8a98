package api

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

func TestSortLeases(t *testing.T) {
	lease := func(last byte, m byte, ends time.Duration) Lease {
		return Lease{IP: netip.AddrFrom4([4]byte{192, 0, 2, last}), MAC: mac.Addr{0, 0, 0x5e, 0, 0x53, m}, Expires: at.Add(ends)}
	}
	nameless, host, class := lease(10, 4, time.Hour), lease(9, 3, 3*time.Hour), lease(100, 2, 0)
	host.Hostname, class.Class = "Printer", "android-dhcp-13"
	yealink, poly := lease(101, 1, 3*time.Hour), lease(20, 5, 2*time.Hour)
	yealink.Phone, yealink.Vendor, poly.Phone, poly.Vendor = true, "Yealink", true, "Poly"
	for order, want := range map[LeaseOrder][]byte{
		"":        {9, 10, 20, 100, 101},
		ByAddress: {9, 10, 20, 100, 101},
		ByDevice:  {20, 101, 100, 9, 10},
		ByMAC:     {101, 100, 9, 10, 20},
		ByEnd:     {100, 10, 20, 9, 101},
	} {
		list := []Lease{poly, class, nameless, yealink, host}
		SortLeases(list, order)
		var got []byte
		for _, l := range list {
			got = append(got, l.IP.As4()[3])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %q (-want +got):\n%s", order, diff)
		}
		if order != "" && !slices.Contains(LeaseOrders, order) {
			t.Errorf("%q is none of the orders", order)
		}
	}
}
