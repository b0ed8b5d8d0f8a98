package provision

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"patchbay/appliance/story"
)

func TestRepeats(t *testing.T) {
	var r repeats
	now := time.Unix(1_790_000_000, 0)
	key := repeatKey{yealink, "a.cfg", 10, story.Served}
	told, counted := 0, 0
	for range 200 { // ten seconds of a loop
		if skip, before := r.skip(key, now, story.Event{}); !skip {
			told++
			counted += before + 1
		}
		now = now.Add(50 * time.Millisecond)
	}
	now = now.Add(time.Minute)
	if skip, before := r.skip(key, now, story.Event{}); skip || counted+before+1 != 201 {
		t.Errorf("%d of 201 are on record", counted+before+1)
	}
	if told > 30 {
		t.Errorf("told %d times", told)
	}
	if skip, before := r.skip(repeatKey{poly, "a.cfg", 10, story.Served}, now, story.Event{}); skip || before != 0 {
		t.Error("another phone is not told")
	}
}

// TestRepeatsEnd: what a phone got again and again is on record in full when it
// stops asking, whether the box goes on or ends.
func TestRepeatsEnd(t *testing.T) {
	for name, stopped := range map[string]bool{"the phone stops": false, "the box stops": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, false, nil)
				r.now = time.Now
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- teller{r.Server}.Run(ctx) }()
				for range 40 {
					r.tell(yealink, query{since: time.Now(), door: story.HTTP}, story.Served, story.Args{File: "a.cfg", Bytes: 10})
					time.Sleep(10 * time.Millisecond)
				}
				if !stopped {
					time.Sleep(2*repeatTime + 4*time.Second)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				counted := 0
				for _, e := range r.told.all[yealink] {
					counted += e.Args.Total + 1
				}
				if told := len(r.told.all[yealink]); counted != 40 || told != repeatFree+1 {
					t.Errorf("%d of 40 are on record, in %d events", counted, told)
				}
				if len(r.repeats.seen) > 0 != stopped {
					t.Errorf("%d files are watched", len(r.repeats.seen))
				}
			})
		})
	}
}
