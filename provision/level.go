package provision

import (
	"context"
	"time"
)

// levelTime is how long a phone or a stranger waits for "not found". It is
// more than the longest way to a refusal takes, so that the time of an answer
// does not tell whether a phone exists, and little enough for a phone that
// asks for twenty files that it can live without.
const levelTime = 10 * time.Millisecond

// level waits until the answer to a question is due that is answered with
// "not found", whatever the reason.
func (s *Server) level(ctx context.Context, q query) {
	wait := time.Until(q.since.Add(levelTime))
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
