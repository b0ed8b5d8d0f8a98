package web

import (
	"context"
	"net/netip"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// The fake box has no addresses to give out.

func (f *fake) Leases(context.Context, api.LeaseQuery) (api.Leases, error) { return api.Leases{}, nil }

func (f *fake) ReleaseLease(context.Context, netip.Addr) error { return api.ErrNotFound }

func (f *fake) Reservations(context.Context) ([]api.Reservation, error) { return nil, nil }

func (f *fake) Reserve(_ context.Context, m mac.Addr, ip netip.Addr) (api.Reservation, error) {
	return api.Reservation{MAC: m, IP: ip}, nil
}

func (f *fake) Unreserve(context.Context, mac.Addr) error { return api.ErrNotFound }

func (f *fake) Examine(context.Context) []api.Check { return nil }
