package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"sync"
)

// Provisioning is the table of what provisioning keeps beside the inventory:
// texts under a kind and a key. What they mean is up to whoever writes them.
type Provisioning struct {
	db *DB

	mu     sync.Mutex
	behind map[[2]string]string // by kind and key
}

// maxNotes bounds the notes that wait to be written.
const maxNotes = 16384

// Provisioning returns the table.
func (d *DB) Provisioning() *Provisioning { return d.provisioning }

// All returns what is kept under a kind, by key. What is still behind is not
// in it: it is asked at start.
func (p *Provisioning) All(ctx context.Context, kind string) (map[string]string, error) {
	out := make(map[string]string)
	err := p.db.query(ctx, "provisioning", func(rows *sql.Rows) error {
		var (
			key    string
			sealed []byte
		)
		err := rows.Scan(&key, &sealed)
		if err != nil {
			return err
		}
		out[key], err = p.db.seal.open(noteRow(kind, key), sealed)
		return err
	}, "SELECT key, sealed FROM provisioning WHERE kind = ?", kind)
	return out, err
}

// Put writes texts of a kind together; they are on disk when Put returns, all
// or none. An empty text deletes.
func (p *Provisioning) Put(ctx context.Context, kind string, texts map[string]string) error {
	err := p.db.write(ctx, func(t *tx) error {
		for key, text := range texts {
			if err := p.put(t, kind, key, text); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", kind, err)
	}
	return nil
}

// Later writes a text within a second and returns at once. A crash may lose it.
func (p *Provisioning) Later(kind, key, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := [2]string{kind, key}
	if _, known := p.behind[at]; known || len(p.behind) < maxNotes {
		p.behind[at] = text
	}
}

func (p *Provisioning) put(t *tx, kind, key, text string) error {
	if text == "" {
		_, err := t.exec("DELETE FROM provisioning WHERE kind = ? AND key = ?", kind, key)
		return err
	}
	_, err := t.exec("INSERT OR REPLACE INTO provisioning (kind, key, sealed) VALUES (?, ?, ?)", kind, key, p.db.seal.seal(noteRow(kind, key), text))
	return err
}

// flush writes what is behind.
func (p *Provisioning) flush(ctx context.Context) error {
	p.mu.Lock()
	now := p.behind
	if len(now) == 0 {
		p.mu.Unlock()
		return nil
	}
	p.behind = make(map[[2]string]string)
	p.mu.Unlock()
	err := p.db.write(ctx, func(t *tx) error {
		for at, text := range now {
			if err := p.put(t, at[0], at[1], text); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(now, p.behind) // what came meanwhile is newer
	p.behind = now
	return fmt.Errorf("write provisioning: %w", err)
}

func noteRow(kind, key string) string { return "provisioning/" + kind + "/" + key }
