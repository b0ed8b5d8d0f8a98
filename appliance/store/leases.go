package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// Leases is the table of DHCP leases.
type Leases struct{ db *DB }

var _ dhcp.LeaseStore = (*Leases)(nil)

// Leases implements [dhcp.LeaseStore].
func (l *Leases) Leases(ctx context.Context) ([]dhcp.Lease, error) {
	var out []dhcp.Lease
	err := l.db.query(ctx, "leases", func(rows *sql.Rows) error {
		var (
			lease            dhcp.Lease
			ip, m            string
			granted, expires int64
		)
		err := rows.Scan(&ip, &m, &lease.ClientID, &lease.Hostname, &lease.Vendor, &lease.State, &granted, &expires)
		if err != nil {
			return err
		}
		if lease.IP, err = netip.ParseAddr(ip); err != nil {
			return err
		}
		if lease.MAC, err = mac.Parse(m); err != nil {
			return err
		}
		lease.Granted, lease.Expires = fromMicros(granted), fromMicros(expires)
		out = append(out, lease)
		return nil
	}, "SELECT ip, mac, client_id, hostname, vendor, state, granted, expires FROM leases")
	if err != nil {
		return nil, err
	}
	relayed, err := l.relayed(ctx)
	return append(out, relayed...), err
}

// Put implements [dhcp.LeaseStore].
func (l *Leases) Put(ctx context.Context, lease dhcp.Lease) error {
	if !lease.IP.IsValid() || lease.State == dhcp.Offered {
		return fmt.Errorf("write lease of %v: it has no address or is an offer only", lease.IP)
	}
	if lease.State == dhcp.Relayed {
		return l.putRelayed(ctx, lease)
	}
	id := lease.ClientID
	if id == nil {
		id = []byte{}
	}
	err := l.db.share(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO leases (ip, mac, client_id, hostname, vendor, state, granted, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (ip) DO UPDATE SET mac = excluded.mac, client_id = excluded.client_id, hostname = excluded.hostname,
			vendor = excluded.vendor, state = excluded.state, granted = excluded.granted, expires = excluded.expires`,
			lease.IP.String(), lease.MAC.String(), id, lease.Hostname, lease.Vendor, int64(lease.State), micros(lease.Granted), micros(lease.Expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("write lease of %v: %w", lease.IP, err)
	}
	return nil
}

// Delete implements [dhcp.LeaseStore].
func (l *Leases) Delete(ctx context.Context, ip netip.Addr) error {
	err := l.db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM leases WHERE ip = ?", ip.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("forget lease of %v: %w", ip, err)
	}
	return nil
}
