package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"patchbay/dhcp/mac"
)

// Stream writes server-sent events (WHATWG HTML §9.2). It is not safe for
// concurrent use.
type Stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// BeatEvery is how often a silent stream says that it lives: well below the
// 60 s after which proxies cut an idle connection.
const BeatEvery = 15 * time.Second

// stuckAfter is how long a reader may take for one event.
const stuckAfter = 10 * time.Second

// NewStream answers a request with an empty stream. The write time limit of
// the server ends to hold for this response; each event has its own.
func NewStream(w http.ResponseWriter) (*Stream, error) {
	s := &Stream{w: w, rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	// Come back after 2 s, not after the browser's own time.
	return s, s.write([]byte("retry: 2000\n\n"))
}

// Send writes one event. event and id may be empty, neither may hold a line
// break; data may.
func (s *Stream) Send(event, id string, data []byte) error {
	var b bytes.Buffer
	if event != "" {
		b.WriteString("event: " + event + "\n")
	}
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	// A carriage return would end a line of the stream too.
	data = bytes.ReplaceAll(data, []byte("\r"), nil)
	for line := range bytes.SplitSeq(bytes.TrimRight(data, "\n"), []byte("\n")) {
		b.WriteString("data: ")
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return s.write(b.Bytes())
}

// Beat writes a comment, which shows whether the reader is still there.
func (s *Stream) Beat() error { return s.write([]byte(":\n\n")) }

func (s *Stream) write(b []byte) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(stuckAfter)); err != nil {
		return fmt.Errorf("set write deadline of a stream: %w", err)
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

// FromNow as the place in [Follow] leaves out what was recorded before.
const FromNow int64 = -1

// backlog bounds how much of the past a follower gets.
const backlog = MaxLimit

// Follow sends every entry of a story behind the place after, each once: what
// was recorded before (at most the newest 500), then what is recorded from now
// on. In between it calls idle, at this interval. It returns nil when ctx ends
// or the box closes the subscription, and else the error of send or idle.
func Follow(ctx context.Context, s Stories, m mac.Addr, after int64, send func(Entry) error, every time.Duration, idle func() error) error {
	// Subscribe first: what is recorded between the two is seen twice, not
	// missed, and told apart by its place.
	live, cancel := s.Subscribe(m)
	defer cancel()
	sent := map[int64]bool{}
	if after != FromNow {
		past, err := s.Story(ctx, m, 0, backlog)
		if err != nil {
			return fmt.Errorf("read the story of %v: %w", m, err)
		}
		for _, e := range slices.Backward(past) {
			if e.Seq <= after {
				continue
			}
			if err := send(e); err != nil {
				return err
			}
			sent[e.Seq] = true
		}
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-live:
			if !ok {
				return nil
			}
			if sent[e.Seq] {
				continue
			}
			if err := send(e); err != nil {
				return err
			}
		case <-ticker.C:
			if err := idle(); err != nil {
				return err
			}
		}
	}
}

// ReadStory returns one page of a story.
func ReadStory(ctx context.Context, s Stories, m mac.Addr, before int64, limit int) (Story, error) {
	entries, err := s.Story(ctx, m, before, limit+1)
	if err != nil {
		return Story{}, fmt.Errorf("read the story of %v: %w", m, err)
	}
	page := Story{Entries: entries}
	if len(entries) > limit {
		page.Entries = entries[:limit]
		page.Before = entries[limit-1].Seq
	}
	if page.Entries == nil {
		page.Entries = []Entry{}
	}
	return page, nil
}

// ResumeAt reads where a stream goes on: Last-Event-ID of a browser that
// reconnects, or the query parameter "after"; [FromNow] without either.
func ResumeAt(r *http.Request) (int64, error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if n, err := strconv.ParseInt(id, 10, 64); err == nil && n >= 0 {
			return n, nil
		}
	}
	return number(r, "after", FromNow, 0, math.MaxInt64)
}

// events streams a story as JSON.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	m, err := pathMAC(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	after, err := ResumeAt(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if _, err := h.b.Phone(r.Context(), m); err != nil {
		h.fail(w, r, err)
		return
	}
	s, err := NewStream(w)
	if err != nil {
		return // the caller has gone
	}
	send := func(e Entry) error {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode an entry: %w", err)
		}
		return s.Send("story", strconv.FormatInt(e.Seq, 10), text)
	}
	if err := Follow(r.Context(), h.b, m, after, send, BeatEvery, s.Beat); err != nil {
		h.log.Debug("story stream ended", "component", "api", "mac", m, "err", err)
	}
}
