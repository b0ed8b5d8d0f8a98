package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/sipedge"
)

// maxBehind bounds the accounts whose binding waits to be written.
const maxBehind = 16384

// bindingsKept is how long a binding stays after it expired, for the clock of
// a box without one may be wrong for a while after a power cut.
const bindingsKept = 7 * 24 * time.Hour

// Bindings is the table of SIP bindings, written behind.
type Bindings struct {
	db      *DB
	dropped atomic.Uint64

	mu     sync.Mutex
	behind map[mac.Account]*sipedge.Binding // nil: to be deleted
}

var _ sipedge.BindingStore = (*Bindings)(nil)

func newBindings(db *DB) *Bindings {
	return &Bindings{db: db, behind: make(map[mac.Account]*sipedge.Binding)}
}

// Bindings implements [sipedge.BindingStore]. Expired ones are among them.
func (b *Bindings) Bindings(ctx context.Context) ([]sipedge.Binding, error) {
	var out []sipedge.Binding
	err := b.db.query(ctx, "bindings", func(rows *sql.Rows) error {
		var (
			v                sipedge.Binding
			m, source, local string
			expires          int64
		)
		err := rows.Scan(&m, &v.Account.Slot, &v.Contact, &v.Transport, &source, &local, &v.CallID, &v.CSeq, &v.Instance, &v.UserAgent, &expires)
		if err != nil {
			return err
		}
		if v.Account.MAC, err = mac.Parse(m); err != nil {
			return err
		}
		if v.Source, err = parseAddrPort(source); err != nil {
			return err
		}
		if v.Local, err = parseAddrPort(local); err != nil {
			return err
		}
		v.Expires = fromMicros(expires)
		out = append(out, v)
		return nil
	}, "SELECT mac, slot, contact, transport, source, local, call_id, cseq, instance, user_agent, expires FROM bindings")
	return out, err
}

// Put implements [sipedge.BindingStore].
func (b *Bindings) Put(v sipedge.Binding) { b.set(v.Account, &v) }

// Delete implements [sipedge.BindingStore].
func (b *Bindings) Delete(a mac.Account) { b.set(a, nil) }

// set keeps the newest word on an account; older ones need no write.
func (b *Bindings) set(a mac.Account, v *sipedge.Binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.behind[a]; !known && len(b.behind) >= maxBehind {
		b.dropped.Add(1)
		return
	}
	b.behind[a] = v
}

// flush writes what is behind.
func (b *Bindings) flush(ctx context.Context) error {
	b.mu.Lock()
	now := b.behind
	if len(now) == 0 {
		b.mu.Unlock()
		return nil
	}
	b.behind = make(map[mac.Account]*sipedge.Binding)
	b.mu.Unlock()
	err := b.db.write(ctx, func(t *tx) error {
		for a, v := range now {
			if err := putBinding(t, a, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(now, b.behind) // what came meanwhile is newer
	b.behind = now
	return fmt.Errorf("write bindings: %w", err)
}

func putBinding(t *tx, a mac.Account, v *sipedge.Binding) error {
	if v == nil {
		_, err := t.exec("DELETE FROM bindings WHERE mac = ? AND slot = ?", a.MAC.String(), int64(a.Slot))
		return err
	}
	_, err := t.exec(`INSERT OR REPLACE INTO bindings (mac, slot, contact, transport, source, local, call_id, cseq, instance, user_agent, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.MAC.String(), int64(a.Slot), v.Contact, v.Transport, addrText(v.Source), addrText(v.Local),
		v.CallID, int64(v.CSeq), v.Instance, v.UserAgent, micros(v.Expires))
	return err
}

// tidy removes bindings that expired long ago.
func (b *Bindings) tidy(ctx context.Context) error {
	return b.db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM bindings WHERE expires < ?", micros(time.Now().Add(-bindingsKept)))
		return err
	})
}
