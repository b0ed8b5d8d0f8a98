package api

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// Addresses tells and changes who has which address.
type Addresses interface {
	// Leases returns one page of the leases that match, by address.
	Leases(ctx context.Context, q LeaseQuery) (Leases, error)
	// ReleaseLease ends a lease; [ErrNotFound] if nobody holds one. The device
	// is not told: it uses the address until it renews.
	ReleaseLease(ctx context.Context, ip netip.Addr) error
	// Reservations returns all, by address.
	Reservations(ctx context.Context) ([]Reservation, error)
	// Reserve keeps an address for a device, in the place of the one that was
	// kept for it. A zero address means the one that it has now.
	Reserve(ctx context.Context, m mac.Addr, ip netip.Addr) (Reservation, error)
	// Unreserve takes a reservation back; [ErrNotFound] if there is none.
	Unreserve(ctx context.Context, m mac.Addr) error
}

// LeaseQuery selects leases.
type LeaseQuery struct {
	Text   string     // in address, MAC, host name, class, vendor, model or state; any case; empty: all
	Order  LeaseOrder // empty: by address
	Offset int
	Limit  int // 1 to MaxLimit
}

// Leases is one page of the leases.
type Leases struct {
	Leases []Lease `json:"leases"`
	Total  int     `json:"total"` // how many match in all
	Offset int     `json:"offset"`
}

// Lease is who has, or had, an address. What the device says of itself
// (host name, class) is never trusted.
type Lease struct {
	IP        netip.Addr `json:"ip"`
	MAC       mac.Addr   `json:"mac"`
	Interface string     `json:"interface"`
	State     string     `json:"state"` // bound, expired, offered, declined (in use by a stranger), relayed (another server's)
	Hostname  string     `json:"hostname,omitempty"`
	Class     string     `json:"class,omitempty"`  // option 60
	Vendor    string     `json:"vendor,omitempty"` // by name, if it is a phone of the inventory
	Model     string     `json:"model,omitempty"`
	Phone     bool       `json:"phone"`    // it is in the inventory
	Reserved  bool       `json:"reserved"` // the address is reserved for this device
	Granted   time.Time  `json:"granted,omitzero"`
	Expires   time.Time  `json:"expires,omitzero"`
}

// Reservation keeps an address for a device.
type Reservation struct {
	MAC       mac.Addr   `json:"mac"`
	IP        netip.Addr `json:"ip"`
	Interface string     `json:"interface,omitempty"` // empty: it lies in no network that the box serves
	Pinned    bool       `json:"pinned"`              // set in the configuration file, so it can't be changed here
	Since     time.Time  `json:"since,omitzero"`
}

// ReservationList is the answer to a request for all reservations.
type ReservationList struct {
	Reservations []Reservation `json:"reservations"`
}

// ReservationEdit is the request to reserve an address.
type ReservationEdit struct {
	IP netip.Addr `json:"ip,omitzero"` // absent: the one that the device has now
}

// Check judges a reservation for a device; errors are [*Invalid].
func (e *ReservationEdit) Check(m mac.Addr) error {
	if e.IP = e.IP.Unmap(); e.IP.IsValid() && !e.IP.Is4() {
		return &Invalid{Field: "ip", Text: "write an IPv4 address, such as 192.0.2.20"}
	}
	if m.IsZero() || m.IsMulticast() {
		return &Invalid{Field: "mac", Text: "no device has this MAC address"}
	}
	return nil
}

// leaseRoutes are the operations on leases and reservations.
func (h *handler) leaseRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/leases", Handler: h.do(h.leases)},
		{Method: http.MethodPost, Path: "/leases/{ip}/release", Handler: h.do(h.releaseLease)},
		{Method: http.MethodGet, Path: "/reservations", Handler: h.do(h.reservations)},
		{Method: http.MethodPut, Path: "/reservations/{mac}", Handler: h.do(h.reserve)},
		{Method: http.MethodDelete, Path: "/reservations/{mac}", Handler: h.do(h.unreserve)},
	}
}

func (h *handler) leases(r *http.Request) (int, any, error) {
	q, err := ParseLeaseQuery(r)
	if err != nil {
		return 0, nil, err
	}
	page, err := h.b.Leases(r.Context(), q)
	page.Leases = orEmpty(page.Leases)
	return http.StatusOK, page, err
}

// ParseLeaseQuery reads q, offset and limit of a request; errors are [*Invalid].
func ParseLeaseQuery(r *http.Request) (LeaseQuery, error) {
	q := LeaseQuery{Text: strings.TrimSpace(r.URL.Query().Get("q")), Order: cmp.Or(LeaseOrder(r.URL.Query().Get("sort")), ByAddress)}
	if len(q.Text) > 100 {
		return q, &Invalid{Field: "q", Text: "search for at most 100 characters"}
	}
	if !slices.Contains(LeaseOrders, q.Order) {
		return q, &Invalid{Field: "sort", Text: "sort is address, device, mac or end"}
	}
	offset, err := number(r, "offset", 0, 0, math.MaxInt32)
	if err != nil {
		return q, err
	}
	limit, err := number(r, "limit", DefaultLimit, 1, MaxLimit)
	q.Offset, q.Limit = int(offset), int(limit)
	return q, err
}

func (h *handler) releaseLease(r *http.Request) (int, any, error) {
	ip, err := netip.ParseAddr(r.PathValue("ip"))
	if err != nil || !ip.Is4() {
		return 0, nil, &Invalid{Field: "ip", Text: "write the IPv4 address of the lease, such as 192.0.2.20"}
	}
	return 0, nil, h.b.ReleaseLease(r.Context(), ip)
}

func (h *handler) reservations(r *http.Request) (int, any, error) {
	list, err := h.b.Reservations(r.Context())
	return http.StatusOK, ReservationList{Reservations: orEmpty(list)}, err
}

func (h *handler) reserve(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	var in ReservationEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if err := in.Check(m); err != nil {
		return 0, nil, err
	}
	done, err := h.b.Reserve(r.Context(), m, in.IP)
	return http.StatusOK, done, err
}

func (h *handler) unreserve(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, nil, h.b.Unreserve(r.Context(), m)
}

// Leases asks for a page of the leases.
func (c *Client) Leases(ctx context.Context, q LeaseQuery) (l Leases, err error) {
	v := url.Values{}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	if q.Order != "" {
		v.Set("sort", string(q.Order))
	}
	if q.Offset > 0 {
		v.Set("offset", strconv.Itoa(q.Offset))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return l, c.call(ctx, http.MethodGet, "/leases?"+v.Encode(), nil, &l)
}

// ReleaseLease ends a lease.
func (c *Client) ReleaseLease(ctx context.Context, ip netip.Addr) error {
	return c.call(ctx, http.MethodPost, "/leases/"+ip.String()+"/release", nil, nil)
}

// Reservations asks for all reservations.
func (c *Client) Reservations(ctx context.Context) ([]Reservation, error) {
	var l ReservationList
	err := c.call(ctx, http.MethodGet, "/reservations", nil, &l)
	return l.Reservations, err
}

// Reserve keeps an address for a device; the zero address means the one that
// it has.
func (c *Client) Reserve(ctx context.Context, m mac.Addr, ip netip.Addr) (r Reservation, err error) {
	return r, c.call(ctx, http.MethodPut, "/reservations/"+m.String(), ReservationEdit{IP: ip}, &r)
}

// Unreserve takes a reservation back.
func (c *Client) Unreserve(ctx context.Context, m mac.Addr) error {
	return c.call(ctx, http.MethodDelete, "/reservations/"+m.String(), nil, nil)
}
