package provision

import (
	"testing"
	"time"

	"patchbay/appliance/story"
)

func TestRepeats(t *testing.T) {
	var r repeats
	now := time.Unix(1_790_000_000, 0)
	key := repeatKey{yealink, "a.cfg", 10, story.Served}
	told, counted := 0, 0
	for range 200 { // ten seconds of a loop
		if skip, before := r.skip(key, now); !skip {
			told++
			counted += before + 1
		}
		now = now.Add(50 * time.Millisecond)
	}
	now = now.Add(time.Minute)
	if skip, before := r.skip(key, now); skip || counted+before+1 != 201 {
		t.Errorf("%d of 201 are on record", counted+before+1)
	}
	if told > 30 {
		t.Errorf("told %d times", told)
	}
	if skip, before := r.skip(repeatKey{poly, "a.cfg", 10, story.Served}, now); skip || before != 0 {
		t.Error("another phone is not told")
	}
}
