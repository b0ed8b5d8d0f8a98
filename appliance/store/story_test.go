package store

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

func event(n int) story.Event {
	return story.Event{
		Time: noon.Add(time.Duration(n) * time.Millisecond), Proto: story.DHCP, Dir: story.In, Code: story.Ack,
		Args: story.Args{
			IP: netip.MustParseAddr("192.0.2.7"), MAC: phoneMAC(9), Account: mac.Account{MAC: phoneMAC(8), Slot: 2}, Evidence: mac.OwnLease,
			Seconds: int64(n), Options: []byte{1, 66, 160}, Duration: time.Second, Detail: "ä\x00<b>", Reason: story.WindowByLease,
		},
	}
}

// numbers names the events of a page by the number that event made them of.
func numbers(entries []Entry) (out []int64) {
	for _, e := range entries {
		out = append(out, e.Args.Seconds)
	}
	return out
}

func TestStory(t *testing.T) {
	db := fresh(t)
	s := db.Story()
	for n := range 100 { // even ones of phone 0, odd ones of phone 1
		s.Record(phoneMAC(byte(n%2)), event(n))
		if n == 60 {
			if err := s.flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(t *testing.T, s *Story) {
		first, err := s.Page(t.Context(), phoneMAC(0), 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int64{98, 96, 94}, numbers(first)); diff != "" {
			t.Errorf("newest of a phone (-want +got):\n%s", diff)
		}
		var all []Entry
		for before := int64(0); ; before = all[len(all)-1].ID {
			page, err := s.Page(t.Context(), mac.Addr{}, before, 7)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
		}
		if len(all) != 100 {
			t.Fatalf("%d events in pages, want 100", len(all))
		}
		for i, e := range all {
			want := Entry{ID: e.ID, MAC: phoneMAC(byte((99 - i) % 2)), Event: event(99 - i)}
			if diff := cmp.Diff(want, e, compare); diff != "" {
				t.Fatalf("event %d (-want +got):\n%s", i, diff)
			}
		}
		missed, err := s.Since(t.Context(), phoneMAC(1), all[10].ID, 3)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int64{91, 93, 95}, numbers(missed)); diff != "" {
			t.Errorf("since (-want +got):\n%s", diff)
		}
	}
	t.Run("partly on disk", func(t *testing.T) { check(t, s) })
	if err := s.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("after a restart", func(t *testing.T) {
		copied := open2(t, db).Story()
		check(t, copied)
		copied.Record(phoneMAC(0), event(100))
		newest, err := copied.Page(t.Context(), mac.Addr{}, 0, 2)
		if err != nil || len(newest) != 2 || newest[0].Args.Seconds != 100 || newest[0].ID <= newest[1].ID {
			t.Errorf("the first event after a restart: %v, %v", newest, err)
		}
	})
}

// TestRecordNeverWaits floods the story while the disk hangs.
func TestRecordNeverWaits(t *testing.T) {
	db := fresh(t)
	release := hold(t, db)
	defer release()
	began := time.Now()
	const flood = 20000
	for n := range flood {
		db.Story().Record(phoneMAC(1), event(n))
	}
	for n := range 100 {
		db.Story().Record(phoneMAC(2), event(n))
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if got := db.Stats().StoryDropped; got != flood-storyShare {
		t.Errorf("%d dropped, want %d", got, flood-storyShare)
	}
	// The newest of both are seen all the same, and the flood took no place
	// of the other phone.
	got, err := db.Story().Page(t.Context(), phoneMAC(1), 0, 1)
	if err != nil || len(got) != 1 || got[0].Args.Seconds != flood-1 {
		t.Errorf("newest of the flood: %v, %v", numbers(got), err)
	}
	got, err = db.Story().Page(t.Context(), phoneMAC(2), 0, 1000)
	if err != nil || len(got) != 100 {
		t.Errorf("%d events of the other phone, %v; want 100", len(got), err)
	}
}

func TestStoryMemoryIsBounded(t *testing.T) {
	db := fresh(t)
	s := db.Story()
	for n := range 3 * storyBuffer {
		s.Record(mac.Addr{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}, event(n))
	}
	if got := len(s.behind); got != storyBuffer {
		t.Errorf("%d events wait, want %d", got, storyBuffer)
	}
	if got := len(s.recent.byMAC); got != ringCount {
		t.Errorf("%d rings, want %d", got, ringCount)
	}
	last := 3*storyBuffer - 1
	m := mac.Addr{2, 0, 0, byte(last >> 16), byte(last >> 8), byte(last)}
	if got, err := s.Page(t.Context(), m, 0, 5); err != nil || len(got) != 1 {
		t.Errorf("the newest phone: %d events, %v", len(got), err)
	}
	if err := s.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.behind != nil || len(s.share) != 0 {
		t.Errorf("after the flood: %d events, %d shares", len(s.behind), len(s.share))
	}
}

func TestEventOwnsItsBytes(t *testing.T) {
	db := fresh(t)
	packet := []byte{1, 2, 3}
	e := event(1)
	e.Args.Options, e.Args.File = packet, strings.Repeat("日", 30000)
	db.Story().Record(phoneMAC(1), e)
	packet[0] = 99
	got, err := db.Story().Page(t.Context(), phoneMAC(1), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Args.Options[0] != 1 {
		t.Error("the event kept a view of the packet")
	}
	if f := got[0].Args.File; len(f) > storyText || !utf8.ValidString(f) || !strings.HasSuffix(f, "日…") {
		t.Errorf("a long text became %d bytes ending in %q", len(f), f[len(f)-6:])
	}
}

func TestSubscribe(t *testing.T) {
	db := fresh(t)
	s := db.Story()
	one, stopOne := s.Subscribe(phoneMAC(1))
	all, stopAll := s.Subscribe(mac.Addr{})
	slow, stopSlow := s.Subscribe(mac.Addr{})
	defer stopSlow()
	for n := range 10 {
		s.Record(phoneMAC(byte(n%2)), event(n))
	}
	for _, want := range []int64{1, 3, 5, 7, 9} {
		if e := <-one; e.Args.Seconds != want || e.MAC != phoneMAC(1) {
			t.Errorf("one phone: got %d of %v, want %d", e.Args.Seconds, e.MAC, want)
		}
	}
	for want := range int64(10) {
		if e := <-all; e.Args.Seconds != want {
			t.Errorf("all: got %d, want %d", e.Args.Seconds, want)
		}
	}
	stopAll()
	stopAll()
	if _, open := <-all; open {
		t.Error("open after stop")
	}
	for n := range storyFeed {
		s.Record(phoneMAC(1), event(n))
		<-one
	}
	stopOne()
	count := 0
	for range slow { // ends, because it was cut off
		count++
	}
	if count != storyFeed {
		t.Errorf("the slow one got %d events before it was cut off, want %d", count, storyFeed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.feeds) != 0 {
		t.Errorf("%d feeds left", len(s.feeds))
	}
}

// TestStoryTogether has many who record, read, subscribe and flush at once.
func TestStoryTogether(t *testing.T) {
	db := fresh(t)
	s := db.Story()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 100 {
				s.Record(phoneMAC(byte(g)), event(n))
			}
		})
		wg.Go(func() {
			_, stop := s.Subscribe(phoneMAC(byte(g)))
			defer stop()
			for range 10 {
				if _, err := s.Page(t.Context(), phoneMAC(byte(g)), 0, 50); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			if err := s.flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got, err := s.Page(t.Context(), mac.Addr{}, 0, 1000); err != nil || len(got) != 400 {
		t.Errorf("%d events, %v; want 400, each once", len(got), err)
	}
}

func TestStoryRetention(t *testing.T) {
	db := fresh(t)
	fill := func(m mac.Addr, from, rows int) {
		run(t, db, `WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 + ?2 - 1)
			INSERT INTO story SELECT i, ?3, i, 'dhcp', 1, 'dhcp.ack', '{}' FROM n`, from, rows, m.String())
	}
	count := func(where string) (n int) {
		t.Helper()
		if err := db.read.QueryRowContext(t.Context(), "SELECT count(*) FROM story WHERE "+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	touch := func(m mac.Addr) { db.story.touched[m] = struct{}{} }
	fill(phoneMAC(1), 1, storyPerPhone+777)
	fill(phoneMAC(2), 10000, 50)
	touch(phoneMAC(1))
	if err := db.story.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b := count("id < 10000"), count("id >= 10000"); a != storyPerPhone || b != 50 {
		t.Errorf("%d of the loud phone, %d of the other; want %d and 50", a, b, storyPerPhone)
	}
	if n := count("id <= 777"); n != 0 {
		t.Errorf("%d of the oldest are left", n)
	}
	for i := range 110 { // phones that nobody will hear of again
		fill(mac.Addr{2, 0, 0, 0, 1, byte(i)}, 100000+2000*i, 1900)
	}
	touch(phoneMAC(2))
	if err := db.story.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count("1"); n != storyInAll {
		t.Errorf("%d rows in all, want %d", n, storyInAll)
	}
}

func BenchmarkRecord(b *testing.B) {
	db, err := Open(b.Context(), b.TempDir()+"/patchbay.db", testKey, quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, busy := range []int{0, 1} {
		b.Run(fmt.Sprintf("subscribers=%d", busy), func(b *testing.B) {
			if busy == 1 {
				feed, stop := db.Story().Subscribe(mac.Addr{})
				defer stop()
				go func() {
					for range feed {
					}
				}()
			}
			b.ReportAllocs()
			for n := range b.N {
				db.Story().Record(phoneMAC(byte(n)), event(n))
			}
		})
	}
}
