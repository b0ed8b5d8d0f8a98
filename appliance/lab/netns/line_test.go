//go:build lab

package netns

import (
	"container/heap"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// weather is what the line between the site and the cloud does to packets,
// in each direction. The kernels of build machines have no netem.
type weather struct {
	delay, jitter time.Duration // each packet takes delay ± jitter; the order stays
	loss          float64       // share of packets, 0 to 1
	cut           bool          // nothing passes, and nobody is told: the links stay up
}

// wanLine is the line between nat and wan: a namespace with two interfaces,
// between which frames are carried here.
type wanLine struct {
	now       atomic.Pointer[weather]
	passed    atomic.Uint64
	swallowed atomic.Uint64
	over      chan struct{}
	ends      sync.WaitGroup
}

// addLine puts the line in place of the cable. It must be called before
// anything is said on the WAN. It carries until the test ends.
func (n *network) addLine() *wanLine {
	n.t.Helper()
	n.mu.Lock()
	n.phones = append(n.phones, "line") // to be removed
	n.mu.Unlock()
	n.must("ip", "netns", "add", n.ns("line"))
	n.in("nat", "ip", "link", "del", "out0")
	n.veth("nat", "out0", "line", "in")
	n.veth("line", "out", "wan", "wan0")
	n.in("nat", "ip", "addr", "add", natWAN+"/24", "dev", "out0")
	n.in("wan", "ip", "addr", "add", cloud+"/24", "dev", "wan0")
	n.in("wan", "ip", "addr", "add", pstn+"/24", "dev", "wan0")
	n.wholeFrames("nat", "out0")
	n.wholeFrames("wan", "wan0")
	w := &wanLine{over: make(chan struct{})}
	w.now.Store(&weather{})
	var fds, index [2]int
	n.inside("line", func() {
		for i, name := range []string{"in", "out"} {
			fds[i], index[i] = rawSocket(n.t, name)
		}
	})
	for i := range fds {
		w.carry(fds[i], fds[1-i], index[1-i])
	}
	n.t.Cleanup(func() {
		close(w.over)
		w.ends.Wait()
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		n.t.Logf("the line carried %d frames and swallowed %d", w.passed.Load(), w.swallowed.Load())
	})
	return w
}

// is changes the weather from now on.
func (w *wanLine) is(now weather) { w.now.Store(&now) }

// inside runs f on a thread in a namespace. The thread ends with it.
func (n *network) inside(ns string, f func()) {
	n.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must not be used again
		file, err := os.Open("/run/netns/" + n.ns(ns))
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			_ = file.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// The commands of SIOCETHTOOL (linux/ethtool.h).
const (
	ethtoolTxChecksum   = 0x17
	ethtoolSegmentation = 0x1f
	ethtoolGSO          = 0x24
)

// wholeFrames has an interface write checksums, and cut what is longer than a
// frame, as a cable needs it.
func (n *network) wholeFrames(ns, name string) {
	n.t.Helper()
	n.inside(ns, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			n.t.Error(err)
			return
		}
		defer unix.Close(fd)
		for _, cmd := range []uint32{ethtoolTxChecksum, ethtoolSegmentation, ethtoolGSO} {
			value := struct{ cmd, data uint32 }{cmd, 0}
			var request struct {
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				_    [16]byte
			}
			copy(request.name[:], name)
			request.data = unsafe.Pointer(&value)
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
				n.t.Errorf("ethtool %#x of %s: %v", cmd, name, errno)
			}
		}
	})
}

func rawSocket(t *testing.T, name string) (fd, index int) {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Error(err)
		return -1, 0
	}
	at, err := net.InterfaceByName(name)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: at.Index})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000})
	}
	if err != nil {
		t.Errorf("socket on %s: %v", name, err)
		return fd, 0
	}
	return fd, at.Index
}

// underWay is a frame on the line.
type underWay struct {
	at    time.Time
	frame []byte
}

// line of frames, the first to arrive first.
type queue []underWay

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(underWay)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// carry takes frames from one socket to an interface of another.
func (w *wanLine) carry(from, to, index int) {
	frames := make(chan underWay, 4096)
	w.ends.Go(func() { w.read(from, frames) })
	w.ends.Go(func() { w.deliver(to, index, frames) })
}

func (w *wanLine) read(fd int, frames chan<- underWay) {
	buf := make([]byte, 65536)
	var last time.Time
	for {
		select {
		case <-w.over:
			return
		default:
		}
		size, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			continue // nothing came for a while
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok && at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		now := w.now.Load()
		if now.cut || rand.Float64() < now.loss {
			w.swallowed.Add(1)
			continue
		}
		at := time.Now().Add(now.delay)
		if now.jitter > 0 {
			at = at.Add(time.Duration((rand.Float64()*2 - 1) * float64(now.jitter)))
		}
		if at.Before(last) {
			at = last
		}
		last = at
		frames <- underWay{at, append([]byte(nil), buf[:size]...)}
	}
}

func (w *wanLine) deliver(fd, index int, frames <-chan underWay) {
	to := &unix.SockaddrLinklayer{Ifindex: index}
	var waiting queue
	for {
		pause := time.Hour
		if len(waiting) > 0 {
			pause = time.Until(waiting[0].at)
		}
		if pause <= 0 {
			f := heap.Pop(&waiting).(underWay)
			if w.now.Load().cut {
				w.swallowed.Add(1)
			} else if unix.Sendto(fd, f.frame, 0, to) == nil {
				w.passed.Add(1)
			}
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case f := <-frames:
			heap.Push(&waiting, f)
		case <-timer.C:
		case <-w.over:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}
