package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// The settings of enrolment.
const (
	settingPepper = "enrol.code-pepper" // secret
	settingPolicy = "enrol.site-policy" // JSON
)

// failuresFor is how long wrong codes are kept; enrol counts those of a day.
const failuresFor = 48 * time.Hour

// updateAccount is what happens to an account that exists.
const updateAccount = `UPDATE SET username = excluded.username, password = excluded.password, old_password = excluded.old_password, line_id = excluded.line_id,
	location = excluded.location, signed_in = excluded.signed_in, signed_out = excluded.signed_out, signed_in_by = excluded.signed_in_by`

func (v *Inventory) putAccount(t *tx, a enrol.AccountRecord, known string) error {
	var old any
	if a.OldPassword != "" {
		old = v.db.seal.seal(oldPasswordRow(a.Account), a.OldPassword)
	}
	_, err := t.exec(`INSERT INTO accounts (mac, slot, username, password, old_password, line_id, location, signed_in, signed_out, signed_in_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (mac, slot) DO `+known,
		a.MAC.String(), int64(a.Slot), a.Username, v.db.seal.seal(accountRow(a.Account), a.Password), old, orNull(a.LineID),
		a.Location, micros(a.SignedIn), micros(a.SignedOut), a.By)
	return err
}

// putLine writes a line; an id that is not above 0 makes a new one.
func (v *Inventory) putLine(t *tx, l enrol.Line) (id int64, err error) {
	if id = l.ID; id <= 0 {
		// The password is bound to the id, which is known after this.
		id, err = t.id(`INSERT INTO lines (aor, display_name, number, extension, auth_user, site) VALUES (?, '', '', '', '', 0) RETURNING id`, l.AOR)
		if err != nil {
			return 0, err
		}
	}
	var sealed any
	if l.AuthPassword != "" {
		sealed = v.db.seal.seal(lineRow(id), l.AuthPassword)
	}
	policy, err := json.Marshal(l.Policy)
	if err != nil {
		return 0, err
	}
	return id, one(t.exec(`UPDATE lines SET aor = ?, display_name = ?, number = ?, extension = ?, auth_user = ?, auth_password = ?, site = ?,
		user = ?, pin = ?, source = ?, policy = ? WHERE id = ?`,
		l.AOR, l.DisplayName, l.Number, l.Extension, l.AuthUser, sealed, l.Site, l.User, l.PIN, l.Source, string(policy), id))
}

// Apply implements [enrol.Store]: everything in one transaction.
func (v *Inventory) Apply(ctx context.Context, c enrol.Change) (ids map[int64]int64, err error) {
	err = v.db.write(ctx, func(t *tx) error {
		ids = make(map[int64]int64) // the job may run twice
		for _, p := range []func(*tx, enrol.Change, map[int64]int64) error{v.applyInventory, v.applyCodes, v.applyGrants, v.applyDrops} {
			if err := p(t, c, ids); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// lineID is the id of a line in the database.
func lineID(id int64, ids map[int64]int64) int64 {
	if id < 0 {
		return ids[id]
	}
	return id
}

func (v *Inventory) applyInventory(t *tx, c enrol.Change, ids map[int64]int64) error {
	for _, l := range c.Lines {
		id, err := v.putLine(t, l)
		if err != nil {
			return err
		}
		ids[l.ID] = id
	}
	for _, p := range c.Phones {
		if err := putPhone(t, p); err != nil {
			return err
		}
	}
	for _, a := range c.Accounts {
		a.LineID = lineID(a.LineID, ids)
		if err := v.putAccount(t, a, updateAccount); err != nil {
			return err
		}
	}
	return nil
}

func (v *Inventory) applyCodes(t *tx, c enrol.Change, ids map[int64]int64) error {
	for _, m := range c.DropCodes {
		if _, err := t.exec("DELETE FROM codes WHERE mac = ?", m.String()); err != nil {
			return err
		}
	}
	for _, code := range c.Codes {
		_, err := t.exec("INSERT OR REPLACE INTO codes (mac, hash, digits, created, expires, line_id) VALUES (?, ?, ?, ?, ?, ?)",
			code.MAC.String(), code.Hash, int64(code.Digits), micros(code.Created), micros(code.Expires), orNull(lineID(code.LineID, ids)))
		if err != nil {
			return err
		}
	}
	for _, m := range c.Forgive {
		if _, err := t.exec("UPDATE code_failures SET mac = '' WHERE mac = ?", m.String()); err != nil {
			return err
		}
	}
	for _, f := range c.Failures {
		if _, err := t.exec("DELETE FROM code_failures WHERE time < ?", micros(f.At.Add(-failuresFor))); err != nil {
			return err
		}
		if _, err := t.exec("INSERT INTO code_failures (mac, time, risk) VALUES (?, ?, ?)", macText(f.MAC), micros(f.At), f.Risk); err != nil {
			return err
		}
	}
	return nil
}

func (v *Inventory) applyGrants(t *tx, c enrol.Change, _ map[int64]int64) error {
	for _, a := range c.DropGrant {
		if _, err := t.exec("DELETE FROM grants WHERE mac = ? AND slot = ?", a.MAC.String(), int64(a.Slot)); err != nil {
			return err
		}
	}
	for _, g := range c.Grants {
		var sealed any
		if g.Refresh != "" {
			sealed = v.db.seal.seal(grantRow(g.Account), g.Refresh)
		}
		_, err := t.exec("INSERT OR REPLACE INTO grants (mac, slot, subject, refresh, since) VALUES (?, ?, ?, ?, ?)",
			g.Account.MAC.String(), int64(g.Account.Slot), g.Subject, sealed, micros(g.Since))
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *Inventory) applyDrops(t *tx, c enrol.Change, _ map[int64]int64) error {
	for _, id := range c.DropLines {
		if err := one(t.exec("DELETE FROM lines WHERE id = ?", id)); err != nil {
			return err
		}
	}
	for _, m := range c.Drop {
		if _, err := t.exec("DELETE FROM bound_addresses WHERE mac = ?", m.String()); err != nil {
			return err
		}
		if err := one(t.exec("DELETE FROM phones WHERE mac = ?", m.String())); err != nil {
			return err
		}
	}
	return nil
}

func (v *Inventory) readCodes(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "codes", func(rows *sql.Rows) error {
		var (
			c                enrol.Code
			m                string
			created, expires int64
			line             sql.NullInt64
		)
		err := rows.Scan(&m, &c.Hash, &c.Digits, &created, &expires, &line)
		if err != nil {
			return err
		}
		c.MAC, err = mac.Parse(m)
		c.Created, c.Expires, c.LineID = fromMicros(created), fromMicros(expires), line.Int64
		out.Codes = append(out.Codes, c)
		return err
	}, "SELECT mac, hash, digits, created, expires, line_id FROM codes ORDER BY mac")
}

func (v *Inventory) readFailures(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "wrong codes", func(rows *sql.Rows) error {
		var (
			f  enrol.Failure
			m  string
			at int64
		)
		err := rows.Scan(&m, &at, &f.Risk)
		if err != nil {
			return err
		}
		f.At = fromMicros(at)
		f.MAC, err = parseMAC(m)
		out.Failures = append(out.Failures, f)
		return err
	}, "SELECT mac, time, risk FROM code_failures ORDER BY id")
}

func (v *Inventory) readGrants(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "grants", func(rows *sql.Rows) error {
		var (
			g      enrol.Grant
			m      string
			sealed []byte
			since  int64
		)
		err := rows.Scan(&m, &g.Account.Slot, &g.Subject, &sealed, &since)
		if err != nil {
			return err
		}
		if g.Account.MAC, err = mac.Parse(m); err != nil {
			return err
		}
		g.Since = fromMicros(since)
		if sealed != nil {
			g.Refresh, err = v.db.seal.open(grantRow(g.Account), sealed)
		}
		out.Grants = append(out.Grants, g)
		return err
	}, "SELECT mac, slot, subject, refresh, since FROM grants ORDER BY mac, slot")
}

// readPolicy reads the policy of the site and the pepper, which it makes if
// there is none.
func (v *Inventory) readPolicy(ctx context.Context, out *enrol.Inventory) error {
	text, ok, err := v.db.Settings().Get(ctx, settingPolicy)
	if err != nil {
		return err
	}
	if ok {
		if err := json.Unmarshal([]byte(text), &out.Site); err != nil {
			return fmt.Errorf("read setting %s: %w", settingPolicy, err)
		}
	}
	pepper, ok, err := v.db.Settings().Get(ctx, settingPepper)
	if err != nil {
		return err
	}
	if ok {
		out.Pepper, err = hex.DecodeString(pepper)
		return err
	}
	out.Pepper = make([]byte, 32)
	rand.Read(out.Pepper) // never fails
	return v.db.Settings().PutSecret(ctx, settingPepper, hex.EncodeToString(out.Pepper))
}

// PutSitePolicy implements [enrol.Store].
func (v *Inventory) PutSitePolicy(ctx context.Context, p enrol.Policy) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return v.db.Settings().Put(ctx, settingPolicy, string(text))
}

func oldPasswordRow(a mac.Account) string { return "accounts/" + a.String() + "/old_password" }
func grantRow(a mac.Account) string       { return "grants/" + a.String() + "/refresh" }
