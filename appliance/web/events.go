package web

import (
	"bytes"
	"net/http"
	"time"

	"patchbay/appliance/web/api"
)

// liveEvery is how often a live page looks for news.
const liveEvery = 2 * time.Second

// maxStreams bounds the open live pages; each costs a rendering every
// liveEvery.
const maxStreams = 64

// live is one open page that follows the box. The server sends finished HTML,
// so that there is one place that renders; live.js puts it in.
type live struct {
	s    *Server
	out  *api.Stream
	last map[string][]byte // what each region shows
	sent time.Time
}

// open begins a stream; nil means that it was refused or the reader has gone.
// close must be called in either case.
func (s *Server) open(w http.ResponseWriter) (l *live, closed func()) {
	select {
	case s.streams <- struct{}{}:
	default:
		api.WriteError(w, http.StatusServiceUnavailable, s.texts.say("error.busy"), "")
		return nil, func() {}
	}
	closed = func() { <-s.streams }
	out, err := api.NewStream(w)
	if err != nil {
		return nil, closed
	}
	return &live{s: s, out: out, last: map[string][]byte{}, sent: time.Now()}, closed
}

// stream calls look at once and every two seconds until the reader goes away,
// the login ends or the box stops.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, look func(*live) error) {
	l, closed := s.open(w)
	defer closed()
	if l == nil {
		return
	}
	ticker := time.NewTicker(liveEvery)
	defer ticker.Stop()
	for {
		if err := l.idle(look); err != nil {
			s.log.Debug("live page ended", "component", "web", "path", r.URL.Path, "err", err)
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

// idle looks for news and shows the reader that the stream lives.
func (l *live) idle(look func(*live) error) error {
	if err := look(l); err != nil {
		return err
	}
	if time.Since(l.sent) < api.BeatEvery {
		return nil
	}
	l.sent = time.Now()
	return l.out.Beat()
}

// swap sends those regions of a page that show something else than before.
func (l *live) swap(page string, data any, regions ...string) error {
	for _, name := range regions {
		if err := l.swapAs(page, name, name, data); err != nil {
			return err
		}
	}
	return nil
}

// swapAs is swap for a region that is on the page several times, each time
// under another name.
func (l *live) swapAs(page, region, name string, data any) error {
	html, err := l.s.part(page, "region-"+region, data)
	if err != nil {
		return err
	}
	if bytes.Equal(l.last[name], html) {
		return nil
	}
	l.last[name] = html
	return l.send("swap-"+name, "", html)
}

func (l *live) send(event, id string, html []byte) error {
	l.sent = time.Now()
	return l.out.Send(event, id, html)
}
