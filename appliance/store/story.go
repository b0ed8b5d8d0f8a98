package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// The bounds of the stories.
const (
	storyBuffer   = 4096   // events that wait to be written
	storyRoom     = 1024   // for so many there is room when none waits
	storyShare    = 512    // of which of one phone, so that a flood takes nobody else's place
	storyFeed     = 256    // events that a subscriber may lag behind
	storyPerPhone = 2000   // rows kept of one phone
	storyInAll    = 200000 // rows kept of all
	storyText     = 256    // bytes of one text of an event
	storyRows     = 32     // rows of one statement that writes
	storyWalk     = 2000   // and of one that reads
	storyColumns  = 7
)

const insertEntry = "INSERT OR REPLACE INTO story (id, mac, time, proto, dir, code, args) VALUES (?, ?, ?, ?, ?, ?, ?)"

var insertEntries = insertEntry + strings.Repeat(", (?, ?, ?, ?, ?, ?, ?)", storyRows-1)

// Entry is an event on the story of a phone. IDs grow in the order in which
// events were recorded, across all phones.
type Entry struct {
	ID  int64
	MAC mac.Addr
	story.Event
}

// Story is the stories of all phones: what is new in memory, all of it on
// disk, written behind.
type Story struct {
	db      *DB
	dropped atomic.Uint64

	mu      sync.Mutex
	next    int64
	behind  []Entry
	share   map[mac.Addr]int // of behind
	recent  rings
	feeds   map[*feed]struct{}
	touched map[mac.Addr]struct{} // phones with new rows since the last tidy
}

// feed is one subscriber.
type feed struct {
	mac mac.Addr // zero: all
	ch  chan Entry
}

func newStory(ctx context.Context, db *DB) (*Story, error) {
	s := &Story{
		db: db, share: make(map[mac.Addr]int), recent: newRings(),
		feeds: make(map[*feed]struct{}), touched: make(map[mac.Addr]struct{}),
	}
	var last sql.NullInt64
	if err := db.read.QueryRowContext(ctx, "SELECT max(id) FROM story").Scan(&last); err != nil {
		return nil, explain("read story", err)
	}
	s.next = last.Int64 + 1
	return s, nil
}

// Record puts an event on the story of a phone. It never waits for the disk
// or a reader. Texts beyond 256 bytes are cut. An event that finds the buffer
// full is seen by readers now, but will be gone after a restart; it is
// counted.
func (s *Story) Record(m mac.Addr, e story.Event) {
	clipArgs(&e.Args)
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := Entry{ID: s.next, MAC: m, Event: e}
	s.next++
	s.recent.add(entry)
	if len(s.behind) < storyBuffer && s.share[m] < storyShare {
		s.behind = append(s.behind, entry)
		s.share[m]++
	} else {
		s.dropped.Add(1)
	}
	for f := range s.feeds {
		if !f.mac.IsZero() && f.mac != m {
			continue
		}
		select { // never waits, so it may be done under the lock, which keeps the order
		case f.ch <- entry:
		default:
			s.end(f)
		}
	}
}

// clipArgs bounds an event and makes it own its bytes.
func clipArgs(a *story.Args) {
	a.Options = bytes.Clone(a.Options[:min(len(a.Options), storyText)])
	for _, text := range []*string{
		&a.Vendor, &a.Model, &a.Firmware, &a.URL, &a.File, &a.Number, &a.Name,
		&a.Call, &a.Via, (*string)(&a.Reason), &a.Detail,
	} {
		if len(*text) > storyText {
			cut := storyText - len("…")
			for cut > 0 && !utf8.RuneStart((*text)[cut]) {
				cut--
			}
			*text = strings.Clone((*text)[:cut]) + "…"
		}
	}
}

// Subscribe returns the events of a phone, or of all if m is zero, from now
// on. A subscriber that falls behind by 256 events is cut off: its channel is
// closed, and it should ask Page or Since for what it missed. stop ends the
// subscription and closes the channel; it may be called more than once.
func (s *Story) Subscribe(m mac.Addr) (events <-chan Entry, stop func()) {
	f := &feed{mac: m, ch: make(chan Entry, storyFeed)}
	s.mu.Lock()
	s.feeds[f] = struct{}{}
	s.mu.Unlock()
	return f.ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(f)
	}
}

// end closes a feed once. s.mu is held.
func (s *Story) end(f *feed) {
	if _, live := s.feeds[f]; live {
		delete(s.feeds, f)
		close(f.ch)
	}
}

// Page returns the events of a phone, or of all if m is zero, with ids below
// before (0: the newest), newest first. Events that are not on disk yet are
// among them.
func (s *Story) Page(ctx context.Context, m mac.Addr, before int64, limit int) ([]Entry, error) {
	limit = min(max(limit, 1), maxPage)
	if before <= 0 {
		before = math.MaxInt64
	}
	out := s.memory(m, func(id int64) bool { return id < before })
	query, args := "SELECT id, mac, time, proto, dir, code, args FROM story WHERE id < ? ORDER BY id DESC LIMIT ?", []any{before, limit}
	if !m.IsZero() {
		query, args = "SELECT id, mac, time, proto, dir, code, args FROM story WHERE mac = ? AND id < ? ORDER BY id DESC LIMIT ?", []any{m.String(), before, limit}
	}
	if err := s.db.query(ctx, "story", appendEntry(&out), query, args...); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Entry) int { return int(b.ID - a.ID) })
	out = slices.CompactFunc(out, sameEntry)
	return out[:min(limit, len(out))], nil
}

// Since returns the events with ids above after, oldest first: what a reader
// missed.
func (s *Story) Since(ctx context.Context, m mac.Addr, after int64, limit int) ([]Entry, error) {
	limit = min(max(limit, 1), maxPage)
	out := s.memory(m, func(id int64) bool { return id > after })
	query, args := "SELECT id, mac, time, proto, dir, code, args FROM story WHERE id > ? ORDER BY id LIMIT ?", []any{after, limit}
	if !m.IsZero() {
		query, args = "SELECT id, mac, time, proto, dir, code, args FROM story WHERE mac = ? AND id > ? ORDER BY id LIMIT ?", []any{m.String(), after, limit}
	}
	if err := s.db.query(ctx, "story", appendEntry(&out), query, args...); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Entry) int { return int(a.ID - b.ID) })
	out = slices.CompactFunc(out, sameEntry)
	return out[:min(limit, len(out))], nil
}

func sameEntry(a, b Entry) bool { return a.ID == b.ID }

// memory returns what is in memory of a phone. It is asked before the disk:
// what is written in between is then seen twice, never missed.
func (s *Story) memory(m mac.Addr, wanted func(id int64) bool) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Of all phones what waits for the disk is enough; the rings would be
	// thousands of events that are on disk already.
	var out []Entry
	if !m.IsZero() {
		out = s.recent.of(m, wanted)
	}
	for i := range s.behind {
		if e := &s.behind[i]; (m.IsZero() || e.MAC == m) && wanted(e.ID) {
			out = append(out, *e)
		}
	}
	return out
}

// appendEntry scans rows of the story.
func appendEntry(out *[]Entry) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var (
			e       Entry
			m, args string
			at      int64
		)
		err := rows.Scan(&e.ID, &m, &at, &e.Proto, &e.Dir, &e.Code, &args)
		if err != nil {
			return err
		}
		if e.MAC, err = mac.Parse(m); err != nil {
			return err
		}
		e.Time = fromMicros(at)
		if err := json.Unmarshal([]byte(args), &e.Args); err != nil {
			return fmt.Errorf("event %d: %w", e.ID, err)
		}
		*out = append(*out, e)
		return nil
	}
}

// flush writes what is behind, oldest first. Events stay in the buffer until
// they are on disk.
func (s *Story) flush(ctx context.Context) error {
	s.mu.Lock()
	left := len(s.behind)
	s.mu.Unlock()
	room := make([]Entry, 0, min(left, maxBatch))
	for left > 0 {
		s.mu.Lock()
		chunk := append(room, s.behind[:min(left, maxBatch)]...)
		s.mu.Unlock()
		left -= len(chunk)
		if err := s.db.share(ctx, func(t *tx) error { return putEntries(t, chunk) }); err != nil {
			return fmt.Errorf("write story: %w", err)
		}
		s.written(chunk)
	}
	return nil
}

// written takes events that are on disk out of the buffer.
func (s *Story) written(chunk []Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range chunk {
		m := chunk[i].MAC
		s.touched[m] = struct{}{}
		if s.share[m]--; s.share[m] <= 0 {
			delete(s.share, m)
		}
	}
	left := copy(s.behind, s.behind[len(chunk):])
	clear(s.behind[left:]) // nothing of what was written is kept alive
	if s.behind = s.behind[:left]; left == 0 && cap(s.behind) > storyRoom {
		s.behind = nil
	}
}

// putEntries writes events, many to a statement: a statement costs more than
// the rows in it.
func putEntries(t *tx, chunk []Entry) error {
	args := make([]any, 0, storyRows*storyColumns)
	for len(chunk) > 0 {
		n, query := 1, insertEntry
		if len(chunk) >= storyRows {
			n, query = storyRows, insertEntries
		}
		args = args[:0]
		for i := range chunk[:n] {
			e := &chunk[i]
			text, err := appendArgs(nil, &e.Args)
			if err != nil {
				return fmt.Errorf("event %s: %w", e.Code, err)
			}
			args = append(args, e.ID, e.MAC.String(), micros(e.Time), string(e.Proto), int64(e.Dir), string(e.Code), string(text))
		}
		if _, err := t.exec(query, args...); err != nil {
			return err
		}
		chunk = chunk[n:]
	}
	return nil
}

// tidy removes the oldest rows of each phone that has too many, and of all.
// What to remove is found by a reader, so that the writer is not held up.
func (s *Story) tidy(ctx context.Context) error {
	s.mu.Lock()
	touched := s.touched
	s.touched = make(map[mac.Addr]struct{})
	s.mu.Unlock()
	if len(touched) == 0 {
		return nil
	}
	rested := time.Now()
	for m := range touched {
		if time.Since(rested) >= breath {
			time.Sleep(breath)
			rested = time.Now()
		}
		err := s.trim(ctx, "SELECT id FROM story WHERE mac = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3",
			"DELETE FROM story WHERE id IN (SELECT id FROM story WHERE mac = ?1 AND id < ?2 LIMIT ?3)", m.String(), storyPerPhone)
		if err != nil {
			return err
		}
	}
	return s.trim(ctx, "SELECT id FROM story WHERE ?1 = '' AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3",
		"DELETE FROM story WHERE id IN (SELECT id FROM story WHERE ?1 = '' AND id < ?2 LIMIT ?3)", "", storyInAll)
}

// trim deletes the rows beyond keep, a batch in each transaction. Statements are
// short, for nobody else gets the processor while one runs; see breath.
func (s *Story) trim(ctx context.Context, find, remove, m string, keep int) error {
	first := int64(math.MaxInt64) // of those that are kept
	for keep > 0 {
		step := min(keep, storyWalk)
		keep -= step
		err := s.db.read.QueryRowContext(ctx, find, m, first, step-1).Scan(&first)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return s.db.blame("story", err)
		}
		time.Sleep(breath)
	}
	for more := true; more; {
		err := s.db.write(ctx, func(t *tx) error {
			more = true
			for n := 0; more && n < maxBatch; n += storyRows {
				r, err := t.exec(remove, m, first, storyRows)
				if err != nil {
					return err
				}
				gone, err := r.RowsAffected()
				if err != nil {
					return err
				}
				more = gone == storyRows
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
