//go:build lab

package netns

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestThreadEnds: what was started goes on when the thread ends on which the
// goroutine ran that started it, as those of [network.inside] do.
func TestThreadEnds(t *testing.T) {
	t.Parallel()
	step(t)
	n := newNetwork(t)
	started := make(chan *process)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		started <- n.start("sleep", "wan", "sh", "-c", "echo up; exec sleep 60")
	}()
	p := <-started
	n.eventually(5*time.Second, "it to be up", func() bool { return strings.Contains(p.out.String(), "up") || !p.alive() })
	select {
	case <-p.done:
		t.Errorf("it ended with its thread: %v", p.err)
	case <-time.After(time.Second):
	}
}
