//go:build bench

package bench

import "syscall"

func playStorm() int    { return 0 }
func playFlood() int    { return 0 }
func playBooting() int  { return 0 }
func playLoad() int     { return 0 }
func playVerify() int   { return 0 }
func playCareless() int { return 0 }

// forceBuffer sizes the receive buffer beyond what an ordinary program may.
func forceBuffer(fd, size int) error {
	return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, size)
}
