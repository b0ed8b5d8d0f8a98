package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"patchbay/dhcp/mac"
	"patchbay/sipedge"
)

// callsBuffer bounds the calls that wait to be written; callsKept bounds
// those that are stored.
const (
	callsBuffer = 1024
	callsKept   = 20000
)

// maxPage bounds one page of a query.
const maxPage = 1000

// Calls is the call detail record, written behind.
type Calls struct {
	db      *DB
	dropped atomic.Uint64
	stored  atomic.Uint64 // rows since the last tidy

	mu      sync.Mutex
	behind  []sipedge.CallRecord
	reports []sipedge.PhoneReport
}

var _ sipedge.CallStore = (*Calls)(nil)

// Add implements [sipedge.CallStore].
func (c *Calls) Add(r sipedge.CallRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.behind) >= callsBuffer {
		c.dropped.Add(1)
		return
	}
	c.behind = append(c.behind, r)
}

// Report implements [sipedge.CallStore].
func (c *Calls) Report(r sipedge.PhoneReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reports) >= callsBuffer {
		c.dropped.Add(1)
		return
	}
	c.reports = append(c.reports, r)
}

// waiting returns the calls and reports that are not on disk yet.
func (c *Calls) waiting() ([]sipedge.CallRecord, []sipedge.PhoneReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.behind), slices.Clone(c.reports)
}

// flush writes what is behind. Rows stay in the buffer until they are on
// disk, so that List never misses one.
func (c *Calls) flush(ctx context.Context) error {
	now, reports := c.waiting()
	for chunk := range slices.Chunk(now, maxBatch) {
		err := c.db.write(ctx, func(t *tx) error {
			for i := range chunk {
				if err := putCall(t, &chunk[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write calls: %w", err)
		}
		c.stored.Add(uint64(len(chunk)))
		c.mu.Lock()
		c.behind = slices.Delete(c.behind, 0, len(chunk))
		c.mu.Unlock()
	}
	for chunk := range slices.Chunk(reports, maxBatch) {
		err := c.db.write(ctx, func(t *tx) error {
			for _, r := range chunk {
				if err := putReport(t, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write reports of calls: %w", err)
		}
		c.mu.Lock()
		c.reports = slices.Delete(c.reports, 0, len(chunk))
		c.mu.Unlock()
	}
	return nil
}

func putReport(t *tx, r sipedge.PhoneReport) error {
	heard, err := json.Marshal(r.Heard)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT OR REPLACE INTO call_reports (call, mac, slot, time, heard) VALUES (?, ?, ?, ?, ?)`,
		r.Call, r.Account.MAC.String(), int64(r.Account.Slot), micros(r.At), string(heard))
	return err
}

// legs is the form in which the quality of a call is stored.
type legs struct {
	A sipedge.LegQuality `json:"a"`
	B sipedge.LegQuality `json:"b"`
}

const callColumns = `id, start, answered, ended, from_mac, from_slot, from_number, from_name, to_mac, to_slot, to_number, to_name,
	dialled, via, status, reason, emergency, a_received, a_lost, a_jitter, a_mos, b_received, b_lost, b_jitter, b_mos, quality`

func putCall(t *tx, r *sipedge.CallRecord) error {
	more := legs{r.A, r.B}
	more.A.MOS, more.B.MOS = mos(r.A.MOS), mos(r.B.MOS) // JSON has no NaN
	quality, err := json.Marshal(more)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT OR REPLACE INTO calls (`+callColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, micros(r.Start), micros(r.Answered), micros(r.End),
		macText(r.From.Account.MAC), int64(r.From.Account.Slot), r.From.Number, r.From.Name,
		macText(r.To.Account.MAC), int64(r.To.Account.Slot), r.To.Number, r.To.Name,
		r.Dialled, r.Via, int64(r.Status), r.Reason, r.Emergency,
		count(r.A.Received), count(r.A.Lost), int64(r.A.Jitter), mos(r.A.MOS),
		count(r.B.Received), count(r.B.Lost), int64(r.B.Jitter), mos(r.B.MOS), string(quality))
	return err
}

// count fits a counter into SQLite's signed integers.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// mos keeps out NaN, which SQLite stores as NULL.
func mos(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// List returns the calls of a phone, or of all if m is zero, that began before
// a time (zero: now), newest first, those not yet on disk included.
func (c *Calls) List(ctx context.Context, m mac.Addr, before time.Time, limit int) ([]sipedge.CallRecord, error) {
	limit = min(max(limit, 1), maxPage)
	last := int64(math.MaxInt64)
	if !before.IsZero() {
		last = micros(before)
	}
	behind, reports := c.waiting()
	out := slices.DeleteFunc(behind, func(r sipedge.CallRecord) bool {
		of := m.IsZero() || r.From.Account.MAC == m || r.To.Account.MAC == m
		return !of || micros(r.Start) >= last
	})
	seen := make(map[string]bool, len(out))
	for _, r := range out {
		seen[r.ID] = true
	}
	query, args := `SELECT `+callColumns+` FROM calls WHERE start < ? ORDER BY start DESC LIMIT ?`, []any{last, limit}
	if !m.IsZero() {
		// Each half walks an index of its own.
		query = `SELECT ` + callColumns + ` FROM calls WHERE rowid IN (
			SELECT rowid FROM (SELECT rowid, start FROM calls WHERE from_mac = ?1 AND from_mac <> '' AND start < ?2 ORDER BY start DESC LIMIT ?3)
			UNION SELECT rowid FROM (SELECT rowid, start FROM calls WHERE to_mac = ?1 AND to_mac <> '' AND start < ?2 ORDER BY start DESC LIMIT ?3)
			) ORDER BY start DESC LIMIT ?3`
		args = []any{m.String(), last, limit}
	}
	err := c.db.query(ctx, "calls", func(rows *sql.Rows) error {
		r, err := scanCall(rows)
		if err == nil && !seen[r.ID] {
			out = append(out, r)
		}
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	if err := c.withReports(ctx, out, reports); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b sipedge.CallRecord) int {
		return cmp.Or(b.Start.Compare(a.Start), cmp.Compare(b.ID, a.ID))
	})
	return out[:min(limit, len(out))], nil
}

// withReports puts what phones said into the calls, in the place of what RTCP
// said of the same leg: it is about the whole call.
func (c *Calls) withReports(ctx context.Context, calls []sipedge.CallRecord, behind []sipedge.PhoneReport) error {
	at := make(map[string]*sipedge.CallRecord, len(calls))
	ids := make([]string, 0, len(calls))
	for i := range calls {
		at[calls[i].ID] = &calls[i]
		ids = append(ids, calls[i].ID)
	}
	put := func(r sipedge.PhoneReport) {
		call := at[r.Call]
		switch {
		case call == nil:
		case call.From.Account == r.Account:
			call.A.Reported = r.Heard
		case call.To.Account == r.Account:
			call.B.Reported = r.Heard
		}
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	err = c.db.query(ctx, "reports of calls", func(rows *sql.Rows) error {
		var r sipedge.PhoneReport
		var m, heard string
		if err := rows.Scan(&r.Call, &m, &r.Account.Slot, &heard); err != nil {
			return err
		}
		if r.Account.MAC, err = parseMAC(m); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(heard), &r.Heard); err != nil {
			return fmt.Errorf("report of call %s: %w", r.Call, err)
		}
		put(r)
		return nil
	}, `SELECT call, mac, slot, heard FROM call_reports WHERE call IN (SELECT value FROM json_each(?))`, string(list))
	if err != nil {
		return err
	}
	for _, r := range behind {
		put(r)
	}
	return nil
}

func scanCall(rows *sql.Rows) (r sipedge.CallRecord, err error) {
	var quality string
	var (
		start, answered, ended, aReceived, aLost, bReceived, bLost int64
		from, to                                                   string
	)
	err = rows.Scan(&r.ID, &start, &answered, &ended, &from, &r.From.Account.Slot, &r.From.Number, &r.From.Name,
		&to, &r.To.Account.Slot, &r.To.Number, &r.To.Name, &r.Dialled, &r.Via, &r.Status, &r.Reason, &r.Emergency,
		&aReceived, &aLost, &r.A.Jitter, &r.A.MOS, &bReceived, &bLost, &r.B.Jitter, &r.B.MOS, &quality)
	if err != nil {
		return r, err
	}
	more := legs{r.A, r.B} // of older rows nothing else is known
	if err := json.Unmarshal([]byte(quality), &more); err != nil {
		return r, fmt.Errorf("quality of call %s: %w", r.ID, err)
	}
	r.A, r.B = more.A, more.B
	r.Start, r.Answered, r.End = fromMicros(start), fromMicros(answered), fromMicros(ended)
	r.A.Received, r.A.Lost, r.B.Received, r.B.Lost = uint64(aReceived), uint64(aLost), uint64(bReceived), uint64(bLost)
	if r.From.Account.MAC, err = parseMAC(from); err != nil {
		return r, err
	}
	r.To.Account.MAC, err = parseMAC(to)
	return r, err
}

// tidy removes the oldest calls beyond callsKept. Nothing is read while no
// call was added.
func (c *Calls) tidy(ctx context.Context) error {
	if c.stored.Swap(0) == 0 {
		return nil
	}
	return c.db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM calls WHERE rowid <= (SELECT rowid FROM calls ORDER BY rowid DESC LIMIT 1 OFFSET ?)", callsKept)
		if err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM call_reports WHERE rowid <= (SELECT rowid FROM call_reports ORDER BY rowid DESC LIMIT 1 OFFSET ?)", 2*callsKept)
		return err
	})
}
