package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"sync"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/sipedge"
)

// Whereabouts is what must be known of phones that call for help, and after a
// restart too: who is called back, and the switch ports of phones. It is
// written behind.
type Whereabouts struct {
	db *DB

	mu    sync.Mutex
	backs map[string]sipedge.CallBack // by number
	ports map[mac.Addr]string
}

var _ sipedge.CallBackStore = (*Whereabouts)(nil)

func newWhereabouts(db *DB) *Whereabouts {
	return &Whereabouts{db: db, backs: make(map[string]sipedge.CallBack), ports: make(map[mac.Addr]string)}
}

// Whereabouts returns the tables.
func (d *DB) Whereabouts() *Whereabouts { return d.whereabouts }

// CallBacks returns those that are not over.
func (w *Whereabouts) CallBacks(ctx context.Context, now time.Time) ([]sipedge.CallBack, error) {
	var out []sipedge.CallBack
	err := w.db.query(ctx, "call-backs", func(rows *sql.Rows) error {
		var (
			b     sipedge.CallBack
			m     string
			until int64
		)
		err := rows.Scan(&b.Number, &m, &b.Account.Slot, &until)
		if err != nil {
			return err
		}
		b.Until = fromMicros(until)
		b.Account.MAC, err = mac.Parse(m)
		out = append(out, b)
		return err
	}, "SELECT number, mac, slot, until FROM call_backs WHERE until > ?", micros(now))
	return out, err
}

// PutCallBack implements [sipedge.CallBackStore].
func (w *Whereabouts) PutCallBack(b sipedge.CallBack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backs[b.Number] = b // emergency calls, and so few
}

// SwitchPorts returns the ports of all phones that are known.
func (w *Whereabouts) SwitchPorts(ctx context.Context) (map[mac.Addr]string, error) {
	out := make(map[mac.Addr]string)
	err := w.db.query(ctx, "switch ports", func(rows *sql.Rows) error {
		var text, circuit string
		if err := rows.Scan(&text, &circuit); err != nil {
			return err
		}
		m, err := mac.Parse(text)
		out[m] = circuit
		return err
	}, "SELECT mac, circuit FROM switch_ports")
	return out, err
}

// PutSwitchPort says where a phone hangs now. Whoever calls bounds the phones.
func (w *Whereabouts) PutSwitchPort(m mac.Addr, circuit string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[m] = circuit
}

// flush writes what is behind.
func (w *Whereabouts) flush(ctx context.Context) error {
	w.mu.Lock()
	backs, ports := w.backs, w.ports
	if len(backs)+len(ports) == 0 {
		w.mu.Unlock()
		return nil
	}
	w.backs, w.ports = make(map[string]sipedge.CallBack), make(map[mac.Addr]string)
	w.mu.Unlock()
	err := w.db.write(ctx, func(t *tx) error {
		for n, b := range backs {
			if _, err := t.exec("INSERT OR REPLACE INTO call_backs (number, mac, slot, until) VALUES (?, ?, ?, ?)",
				n, b.Account.MAC.String(), int64(b.Account.Slot), micros(b.Until)); err != nil {
				return err
			}
		}
		for m, circuit := range ports {
			if _, err := t.exec("INSERT OR REPLACE INTO switch_ports (mac, circuit) VALUES (?, ?)", m.String(), circuit); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.Copy(backs, w.backs) // what came meanwhile is newer
	maps.Copy(ports, w.ports)
	w.backs, w.ports = backs, ports
	return fmt.Errorf("write whereabouts: %w", err)
}

// tidy removes call-backs that are long over. The clock may have been wrong.
func (w *Whereabouts) tidy(ctx context.Context) error {
	return w.db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM call_backs WHERE until < ?", micros(time.Now().Add(-bindingsKept)))
		return err
	})
}
