//go:build bench

package bench

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cpuOf returns the processor time that a process has used, all threads,
// user and system, those that ended included (clock_getcpuclockid(3)). The
// times in /proc have grains of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	clock := int32(^pid)<<3 | 2 // CPUCLOCK_SCHED of the process
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("processor time of %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// busy returns the time that all processors together were not idle.
func busy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	line, _, _ := strings.Cut(string(text), "\n")
	_, _ = fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal)
	return time.Duration(user+nice+system+irq+softirq+steal) * 10 * time.Millisecond
}

// ours returns the processor time of this process and of those that it
// waited for.
func ours() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// quietLoad is how much other work a measurement bears, in parts of a core.
const quietLoad = 0.2

// quiet waits until the machine has little else to do, at most as long as
// BENCH_QUIET says (seconds, 20). It is a shared world: what was going on
// besides is printed with each figure.
func quiet() {
	for range 2 * setting("BENCH_QUIET", 20) {
		b, o := busy(), ours()
		time.Sleep(500 * time.Millisecond)
		if (busy()-b)-(ours()-o) < time.Duration(quietLoad*float64(500*time.Millisecond)) {
			return
		}
	}
}

// span measures one stretch of time.
type span struct {
	pid                int
	began              time.Time
	busy, ours, server time.Duration
}

func begin(pid int) span {
	c, _ := cpuOf(pid)
	return span{pid, time.Now(), busy(), ours(), c}
}

// end returns the processor time of the server, and how much of one core
// went into other people's work.
func (s span) end() (server time.Duration, foreign float64, err error) {
	c, err := cpuOf(s.pid)
	server = c - s.server
	other := busy() - s.busy - (ours() - s.ours) - server
	return server, max(0, other.Seconds()/time.Since(s.began).Seconds()), err
}

// contenders counts who wants a core while a relay and its load hold both. Of what
// is never let in [busy] sees nothing; the kernel lets it in all the same, for
// 50 ms each second, and that is what a latency then shows.
type contenders struct {
	file   *os.File // /proc/loadavg
	buf    [64]byte
	next   time.Time
	looks  int
	others int
}

// look takes a sample ten times a second and nothing from the heap.
func (c *contenders) look() {
	now := time.Now()
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(100 * time.Millisecond)
	n, _ := c.file.ReadAt(c.buf[:], 0)
	running, spaces := 0, 0
	for _, b := range c.buf[:n] {
		switch {
		case b == ' ':
			spaces++
		case spaces == 3 && b == '/':
			spaces++
		case spaces == 3:
			running = 10*running + int(b-'0')
		}
	}
	c.looks++
	c.others += max(0, running-2)
}

// average is how many tasks wanted a core besides the two.
func (c *contenders) average() float64 { return float64(c.others) / float64(max(c.looks, 1)) }
