package store

import (
	"context"
	"database/sql"
	"time"
)

// keptAudit is how many entries of the audit log are kept; the oldest go.
const keptAudit = 100_000

// AuditEntry says who changed what. It holds no secret.
type AuditEntry struct {
	ID     int64 // grows; given by the store
	Time   time.Time
	Actor  string // who, such as administrator or the name of a user
	Via    string // page, api, cli, phone, box
	Action string // constant, such as enrol or sign-out
	Target string // a MAC address, an account, a line
	Detail string // in plain words
	Fault  string // why it was not done; empty: it was
}

// Audit is the audit log.
type Audit struct{ db *DB }

// Add writes an entry; it is on disk on return.
func (a *Audit) Add(ctx context.Context, e AuditEntry) error {
	return a.db.share(ctx, func(t *tx) error {
		id, err := t.id("INSERT INTO audit (time, actor, via, action, target, detail, fault) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
			micros(e.Time), e.Actor, e.Via, e.Action, e.Target, e.Detail, e.Fault)
		if err != nil || id%100 != 0 {
			return err
		}
		_, err = t.exec("DELETE FROM audit WHERE id <= ?", id-keptAudit)
		return err
	})
}

// Page returns up to limit entries with an ID below before (0: the newest)
// about a target (empty: any), newest first.
func (a *Audit) Page(ctx context.Context, before int64, limit int, target string) (out []AuditEntry, err error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	err = a.db.query(ctx, "audit log", func(rows *sql.Rows) error {
		var (
			e  AuditEntry
			at int64
		)
		err := rows.Scan(&e.ID, &at, &e.Actor, &e.Via, &e.Action, &e.Target, &e.Detail, &e.Fault)
		e.Time = fromMicros(at)
		out = append(out, e)
		return err
	}, "SELECT id, time, actor, via, action, target, detail, fault FROM audit WHERE id < ? AND (? = '' OR target = ?) ORDER BY id DESC LIMIT ?", before, target, target, limit)
	return out, err
}
