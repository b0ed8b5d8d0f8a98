package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// Inventory holds phones, accounts, lines and bound addresses.
type Inventory struct {
	db *DB

	mu    sync.Mutex
	seen  map[mac.Addr]time.Time     // last signs of life that are not on disk yet
	asked map[mac.Addr]*enrol.Action // what phones are asked to do, as far as it is not on disk; nil: it is over
}

var _ enrol.Store = (*Inventory)(nil)

func newInventory(db *DB) *Inventory {
	return &Inventory{db: db, seen: make(map[mac.Addr]time.Time), asked: make(map[mac.Addr]*enrol.Action)}
}

// Inventory implements [enrol.Store]. A password that does not open is an
// error: a box that went on without it would lock the phone out.
func (v *Inventory) Inventory(ctx context.Context) (out enrol.Inventory, err error) {
	for _, read := range []func(context.Context, *enrol.Inventory) error{v.readPhones, v.readPasswords, v.readAccounts, v.readLines, v.readAddresses, v.readCodes, v.readFailures, v.readGrants, v.readPolicy, v.readActions} {
		if err := read(ctx, &out); err != nil {
			if errors.Is(err, ErrKey) {
				err = v.db.withFix(err)
			}
			return enrol.Inventory{}, err
		}
	}
	return out, nil
}

func (v *Inventory) readPhones(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "phones", func(rows *sql.Rows) error {
		var (
			p                     enrol.PhoneRecord
			m                     string
			first, last, enrolled int64
		)
		err := rows.Scan(&m, &p.Vendor, &p.Model, &p.Firmware, &p.Hardware, &p.Language, &p.Slots, &first, &last, &enrolled)
		if err != nil {
			return err
		}
		p.MAC, err = mac.Parse(m)
		p.FirstSeen, p.LastSeen, p.Enrolled = fromMicros(first), fromMicros(last), fromMicros(enrolled)
		out.Phones = append(out.Phones, p)
		return err
	}, "SELECT mac, vendor, model, firmware, hardware, language, slots, first_seen, last_seen, enrolled FROM phones ORDER BY mac")
}

func (v *Inventory) readPasswords(ctx context.Context, out *enrol.Inventory) error {
	out.Passwords = make(map[mac.Addr]enrol.Passwords)
	return v.db.query(ctx, "passwords of phones", func(rows *sql.Rows) error {
		var (
			m           string
			admin, user []byte
			p           enrol.Passwords
		)
		err := rows.Scan(&m, &admin, &user)
		if err != nil {
			return err
		}
		addr, err := mac.Parse(m)
		if err != nil {
			return err
		}
		if p.Admin, err = v.db.seal.open(passwordRow(addr, "admin"), admin); err != nil {
			return err
		}
		p.User, err = v.db.seal.open(passwordRow(addr, "user"), user)
		out.Passwords[addr] = p
		return err
	}, "SELECT mac, admin, user FROM phone_passwords ORDER BY mac")
}

// PutPasswords implements [enrol.Store].
func (v *Inventory) PutPasswords(ctx context.Context, m mac.Addr, p enrol.Passwords) error {
	return v.db.share(ctx, func(t *tx) error {
		_, err := t.exec("INSERT OR REPLACE INTO phone_passwords (mac, admin, user) VALUES (?, ?, ?)",
			m.String(), v.db.seal.seal(passwordRow(m, "admin"), p.Admin), v.db.seal.seal(passwordRow(m, "user"), p.User))
		return err
	})
}

func (v *Inventory) readAccounts(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "accounts", func(rows *sql.Rows) error {
		var (
			a      enrol.AccountRecord
			m      string
			sealed []byte
			old    []byte
			line   sql.NullInt64
			in     int64
			left   int64
		)
		err := rows.Scan(&m, &a.Slot, &a.Username, &sealed, &old, &line, &a.Location, &in, &left, &a.By)
		if err != nil {
			return err
		}
		if a.MAC, err = mac.Parse(m); err != nil {
			return err
		}
		a.LineID, a.SignedIn, a.SignedOut = line.Int64, fromMicros(in), fromMicros(left)
		a.Password, err = v.db.seal.open(accountRow(a.Account), sealed)
		if err == nil && old != nil {
			a.OldPassword, err = v.db.seal.open(oldPasswordRow(a.Account), old)
		}
		out.Accounts = append(out.Accounts, a)
		return err
	}, "SELECT mac, slot, username, password, old_password, line_id, location, signed_in, signed_out, signed_in_by FROM accounts ORDER BY mac, slot")
}

func (v *Inventory) readLines(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "lines", func(rows *sql.Rows) error {
		var (
			l      enrol.Line
			sealed []byte
			policy []byte
		)
		err := rows.Scan(&l.ID, &l.AOR, &l.DisplayName, &l.Number, &l.Extension, &l.AuthUser, &sealed, &l.Site, &l.User, &l.PIN, &l.Source, &policy)
		if err == nil {
			err = json.Unmarshal(policy, &l.Policy)
		}
		if err == nil && sealed != nil {
			l.AuthPassword, err = v.db.seal.open(lineRow(l.ID), sealed)
		}
		out.Lines = append(out.Lines, l)
		return err
	}, "SELECT id, aor, display_name, number, extension, auth_user, auth_password, site, user, pin, source, policy FROM lines ORDER BY id")
}

func (v *Inventory) readAddresses(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "bound addresses", func(rows *sql.Rows) error {
		var (
			ip, m string
			since int64
		)
		if err := rows.Scan(&ip, &m, &since); err != nil {
			return err
		}
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return err
		}
		hw, err := mac.Parse(m)
		out.Addresses = append(out.Addresses, enrol.BoundAddress{IP: addr, MAC: hw, Evidence: mac.Bound, Since: fromMicros(since)})
		return err
	}, "SELECT ip, mac, since FROM bound_addresses ORDER BY ip")
}

// PutPhone implements [enrol.Store].
func (v *Inventory) PutPhone(ctx context.Context, p enrol.PhoneRecord, add []enrol.AccountRecord) error {
	return v.db.share(ctx, func(t *tx) error {
		if err := putPhone(t, p); err != nil {
			return err
		}
		for _, a := range add {
			if err := v.putAccount(t, a, "NOTHING"); err != nil {
				return err
			}
		}
		return nil
	})
}

func putPhone(t *tx, p enrol.PhoneRecord) error {
	_, err := t.exec(`INSERT INTO phones (mac, vendor, model, firmware, hardware, language, slots, first_seen, last_seen, enrolled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (mac) DO UPDATE SET vendor = excluded.vendor, model = excluded.model, firmware = excluded.firmware, hardware = excluded.hardware, language = excluded.language,
		slots = excluded.slots, first_seen = excluded.first_seen, last_seen = excluded.last_seen, enrolled = excluded.enrolled`,
		p.MAC.String(), p.Vendor, p.Model, p.Firmware, p.Hardware, p.Language, int64(p.Slots), micros(p.FirstSeen), micros(p.LastSeen), micros(p.Enrolled))
	return err
}

// DropAccounts implements [enrol.Store].
func (v *Inventory) DropAccounts(ctx context.Context, p enrol.PhoneRecord, last uint8) error {
	return v.db.write(ctx, func(t *tx) error {
		if err := putPhone(t, p); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM accounts WHERE mac = ? AND slot > ?", p.MAC.String(), int64(last))
		return err
	})
}

// DeletePhone implements [enrol.Store].
func (v *Inventory) DeletePhone(ctx context.Context, m mac.Addr) error {
	return v.db.write(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM bound_addresses WHERE mac = ?", m.String()); err != nil {
			return err
		}
		return one(t.exec("DELETE FROM phones WHERE mac = ?", m.String()))
	})
}

// PutAccount implements [enrol.Store]. It returns ErrNoRow for an account
// that does not exist.
func (v *Inventory) PutAccount(ctx context.Context, a enrol.AccountRecord) error {
	return v.db.write(ctx, func(t *tx) error {
		id, err := t.id("SELECT count(*) FROM accounts WHERE mac = ? AND slot = ?", a.MAC.String(), int64(a.Slot))
		if err != nil {
			return err
		}
		if id == 0 {
			return ErrNoRow
		}
		return v.putAccount(t, a, updateAccount)
	})
}

// PutLine implements [enrol.Store]. It returns ErrNoRow for an id that does
// not exist.
func (v *Inventory) PutLine(ctx context.Context, l enrol.Line) (id int64, err error) {
	err = v.db.write(ctx, func(t *tx) (err error) {
		id, err = v.putLine(t, l)
		return err
	})
	if err != nil {
		return 0, err
	}
	return id, nil
}

// PutAddress implements [enrol.Store].
func (v *Inventory) PutAddress(ctx context.Context, b enrol.BoundAddress) error {
	return v.db.write(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM bound_addresses WHERE mac = ?", b.MAC.String()); err != nil {
			return err
		}
		_, err := t.exec("INSERT OR REPLACE INTO bound_addresses (ip, mac, evidence, since) VALUES (?, ?, ?, ?)",
			b.IP.String(), b.MAC.String(), b.Evidence.String(), micros(b.Since))
		return err
	})
}

// DeleteAddress implements [enrol.Store].
func (v *Inventory) DeleteAddress(ctx context.Context, ip netip.Addr) error {
	return v.db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM bound_addresses WHERE ip = ?", ip.String())
		return err
	})
}

// Seen implements [enrol.Store]. The inventory is bounded, and so is this.
func (v *Inventory) Seen(m mac.Addr, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.seen[m]; known || len(v.seen) < enrol.MaxPhones {
		v.seen[m] = at
	}
}

// flush writes what is behind.
func (v *Inventory) flush(ctx context.Context) error {
	return errors.Join(v.flushSeen(ctx), v.flushActions(ctx))
}

// flushSeen writes the last signs of life.
func (v *Inventory) flushSeen(ctx context.Context) error {
	v.mu.Lock()
	now := v.seen
	if len(now) == 0 {
		v.mu.Unlock()
		return nil
	}
	v.seen = make(map[mac.Addr]time.Time)
	v.mu.Unlock()
	err := v.db.write(ctx, func(t *tx) error {
		for m, at := range now {
			if _, err := t.exec("UPDATE phones SET last_seen = ? WHERE mac = ?", micros(at), m.String()); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.Copy(now, v.seen)
	v.seen = now
	return fmt.Errorf("write last seen: %w", err)
}

// one turns a change that met no row into an error.
func one(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err == nil && n == 0 {
		return ErrNoRow
	}
	return err
}

func orNull(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}

func accountRow(a mac.Account) string { return "accounts/" + a.String() + "/password" }
func passwordRow(m mac.Addr, column string) string {
	return "phone_passwords/" + m.String() + "/" + column
}
func lineRow(id int64) string { return "lines/" + strconv.FormatInt(id, 10) + "/auth_password" }
