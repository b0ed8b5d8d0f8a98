package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"

	"patchbay/dhcp/mac"
	"patchbay/provision/enrol"
)

// KeepAction implements [enrol.Store]. The inventory is bounded, and so is this.
func (v *Inventory) KeepAction(a enrol.Action) { v.setAction(a.Account.MAC, &a) }

// DropAction implements [enrol.Store].
func (v *Inventory) DropAction(m mac.Addr) { v.setAction(m, nil) }

// setAction keeps the newest word on a phone; older ones need no write.
func (v *Inventory) setAction(m mac.Addr, a *enrol.Action) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.asked[m]; known || len(v.asked) < enrol.MaxPhones {
		v.asked[m] = a
	}
}

func (v *Inventory) readActions(ctx context.Context, out *enrol.Inventory) error {
	return v.db.query(ctx, "actions", func(rows *sql.Rows) error {
		var (
			a       enrol.Action
			m, kind string
			created int64
		)
		err := rows.Scan(&m, &a.Account.Slot, &kind, &created)
		if err != nil {
			return err
		}
		a.Account.MAC, err = mac.Parse(m)
		a.Kind, a.Created = enrol.ActionKind(kind), fromMicros(created)
		out.Actions = append(out.Actions, a)
		return err
	}, "SELECT mac, slot, kind, created FROM actions ORDER BY created, mac")
}

// flushActions writes what phones are asked to do.
func (v *Inventory) flushActions(ctx context.Context) error {
	v.mu.Lock()
	now := v.asked
	if len(now) == 0 {
		v.mu.Unlock()
		return nil
	}
	v.asked = make(map[mac.Addr]*enrol.Action)
	v.mu.Unlock()
	err := v.db.write(ctx, func(t *tx) error {
		for m, a := range now {
			if err := putAction(t, m, a); err != nil {
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
	maps.Copy(now, v.asked) // what came meanwhile is newer
	v.asked = now
	return fmt.Errorf("write actions: %w", err)
}

func putAction(t *tx, m mac.Addr, a *enrol.Action) error {
	if a == nil {
		_, err := t.exec("DELETE FROM actions WHERE mac = ?", m.String())
		return err
	}
	// The phone may be gone by now.
	_, err := t.exec("INSERT OR REPLACE INTO actions (mac, slot, kind, created) SELECT mac, ?, ?, ? FROM phones WHERE mac = ?",
		int64(a.Account.Slot), string(a.Kind), micros(a.Created), m.String())
	return err
}
