package enrol

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision/enrol/lineapi"
)

// LineSource tells which line belongs to a user.
type LineSource interface {
	// LineOf returns the line of a user; an ID below 0 means that it is to be
	// written as a new one. The error wraps [ErrUnknownLine], [ErrNotAllowed],
	// or [ErrUnreachable].
	LineOf(ctx context.Context, user string) (Line, error)
}

// LocalLines is the local directory as a [LineSource]: the line names its user,
// or is called by address, number or extension.
type LocalLines struct{ *Directory }

// LineOf implements [LineSource].
func (l LocalLines) LineOf(_ context.Context, user string) (Line, error) {
	id, reason := l.lineCalled(user, l.lineNames())
	switch reason {
	case "":
		line, _ := l.Line(id)
		return line, nil
	case LineNotAllowed:
		return Line{}, ErrNotAllowed
	}
	return Line{}, fmt.Errorf("user %s: %w", clip(user), ErrUnknownLine)
}

// refreshEvery is how often a line is asked for again at most, by the refresh
// of a registration, and at the latest, without one.
const (
	refreshEvery = time.Minute
	refreshLate  = time.Hour
)

// RemoteLines is the line API of the gateway as a [LineSource]. It asks for the
// lines that somebody is signed in to again: when a phone refreshes its
// registration, and hourly.
type RemoteLines struct {
	desk   *Desk
	client *lineapi.Client
	wake   chan int64 // lines whose phones refreshed

	mu    sync.Mutex
	asked map[int64]time.Time
	etags map[int64]string
}

// NewRemoteLines makes the source of a desk.
func NewRemoteLines(d *Desk, c *lineapi.Client) *RemoteLines {
	return &RemoteLines{desk: d, client: c, wake: make(chan int64, 1024), asked: make(map[int64]time.Time), etags: make(map[int64]string)}
}

// LineOf implements [LineSource].
func (r *RemoteLines) LineOf(ctx context.Context, user string) (Line, error) {
	got, err := r.client.Line(ctx, user, "")
	if err != nil {
		return Line{}, remoteError(err)
	}
	l := Line{ID: -1}
	for _, have := range r.desk.Lines() {
		if have.Source == got.ID || have.Source == "" && strings.EqualFold(have.AOR, got.AOR) {
			l = have
		}
	}
	l = merged(l, got, user)
	if l.ID > 0 {
		r.mu.Lock()
		r.asked[l.ID], r.etags[l.ID] = r.desk.now(), got.ETag
		r.mu.Unlock()
	}
	return l, nil
}

func remoteError(err error) error {
	switch {
	case errors.Is(err, lineapi.ErrNoLine):
		return fmt.Errorf("%w: %w", ErrUnknownLine, err)
	case errors.Is(err, lineapi.ErrNotAllowed):
		return fmt.Errorf("%w: %w", ErrNotAllowed, err)
	case errors.Is(err, lineapi.ErrUnchanged):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// merged is a line with what its source says of it.
func merged(l Line, got lineapi.Line, user string) Line {
	l.AOR, l.DisplayName, l.Number, l.Extension = got.AOR, got.DisplayName, got.Number, got.Extension
	l.AuthUser, l.AuthPassword, l.Source = got.Credentials.Username, got.Credentials.Password, got.ID
	if user != "" {
		l.User = user
	}
	p := got.Policy
	l.Policy = Policy{
		ForwardAlways: p.ForwardAlways, ForwardBusy: p.ForwardBusy, ForwardNoAnswer: p.ForwardNoAnswer, Voicemail: p.Voicemail,
		Language: p.Language, Emergency: strings.Join(p.Emergency, " "), Location: p.Location, Codes: strings.Join(p.Codes, " "),
	}
	if p.SIPDevices != nil {
		l.Policy.SIPDevices = Denied
		if *p.SIPDevices {
			l.Policy.SIPDevices = Allowed
		}
	}
	return l
}

// Refreshed takes note that a phone refreshed its registration: its line is
// asked for again, if that was not just done. It does not block.
func (r *RemoteLines) Refreshed(a mac.Account) {
	rec, ok := r.desk.Account(a)
	if !ok || rec.LineID == 0 {
		return
	}
	select {
	case r.wake <- rec.LineID:
	default: // the hourly round finds it
	}
}

// String names the task.
func (r *RemoteLines) String() string { return "line source" }

// Run keeps the lines in step with their source until ctx ends.
func (r *RemoteLines) Run(ctx context.Context) error {
	defer r.client.Close()
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-r.wake:
			r.refresh(ctx, id, refreshEvery)
		case <-ticker.C:
			r.round(ctx)
		}
	}
}

// round asks for every line that somebody is signed in to and that was not
// asked for within an hour.
func (r *RemoteLines) round(ctx context.Context) {
	for _, l := range r.desk.Lines() {
		if l.Source != "" && len(r.desk.OnLine(l.ID)) > 0 {
			r.refresh(ctx, l.ID, refreshLate-2*refreshEvery)
		}
	}
}

// refresh asks for a line again unless that was done within least. That the
// source can't be reached changes nothing: phones go on with what is known.
func (r *RemoteLines) refresh(ctx context.Context, id int64, least time.Duration) {
	l, ok := r.desk.Line(id)
	if !ok || l.Source == "" || l.User == "" {
		return
	}
	now := r.desk.now()
	r.mu.Lock()
	recent := now.Sub(r.asked[id]) < least
	etag := r.etags[id]
	if !recent {
		r.asked[id] = now
	}
	r.mu.Unlock()
	if recent {
		return
	}
	got, err := r.client.Line(ctx, l.User, etag)
	switch {
	case err == nil:
		r.mu.Lock()
		r.etags[id] = got.ETag
		r.mu.Unlock()
		_, _ = r.desk.PutLine(ctx, merged(l, got, "")) // who may no longer is signed out by that
	case errors.Is(err, lineapi.ErrNoLine), errors.Is(err, lineapi.ErrNotAllowed):
		if on := r.desk.OnLine(id); len(on) > 0 {
			_ = r.desk.SignOutAll(ctx, on, story.LineRevoked)
		}
	}
}
