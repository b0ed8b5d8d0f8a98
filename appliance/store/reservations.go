package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"patchbay/dhcp/mac"
)

// ErrReserved says that an address is reserved for another device.
var ErrReserved = errors.New("the address is reserved for another device")

// Reservations is the table of addresses that people reserved for devices.
// Those of the configuration file are not in it.
type Reservations struct{ db *DB }

// Reservation is a row: one device, one address.
type Reservation struct {
	MAC   mac.Addr
	IP    netip.Addr
	Since time.Time
}

// Reservations returns the table.
func (d *DB) Reservations() *Reservations { return &Reservations{d} }

// All returns every reservation, by address in text order.
func (r *Reservations) All(ctx context.Context) ([]Reservation, error) {
	var out []Reservation
	err := r.db.query(ctx, "reservations", func(rows *sql.Rows) error {
		var (
			m, ip string
			since int64
			row   Reservation
		)
		err := rows.Scan(&m, &ip, &since)
		if err != nil {
			return err
		}
		if row.MAC, err = mac.Parse(m); err != nil {
			return err
		}
		if row.IP, err = netip.ParseAddr(ip); err != nil {
			return err
		}
		row.Since = fromMicros(since)
		out = append(out, row)
		return nil
	}, "SELECT mac, ip, since FROM reservations ORDER BY ip")
	return out, err
}

// Put reserves an address for a device, in the place of the one that it had;
// it is on disk when Put returns. [ErrReserved] if it is another device's.
func (r *Reservations) Put(ctx context.Context, row Reservation) error {
	err := r.db.write(ctx, func(t *tx) error {
		done, err := t.exec(`INSERT INTO reservations (mac, ip, since) SELECT ?, ?, ?
			WHERE NOT EXISTS (SELECT 1 FROM reservations WHERE ip = ? AND mac <> ?)
			ON CONFLICT (mac) DO UPDATE SET ip = excluded.ip, since = excluded.since`,
			row.MAC.String(), row.IP.String(), micros(row.Since), row.IP.String(), row.MAC.String())
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrReserved)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reserve %v for %v: %w", row.IP, row.MAC, err)
	}
	return nil
}

// Delete takes back a reservation; one that is not there is no error.
func (r *Reservations) Delete(ctx context.Context, m mac.Addr) error {
	err := r.db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM reservations WHERE mac = ?", m.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("take back the reservation of %v: %w", m, err)
	}
	return nil
}
