package appliance

import (
	"os"
	"runtime"
	"runtime/debug"
)

// room is address space that is never touched, and so costs no memory. The
// collector counts it as used, and waits for that much more garbage: with some
// megabytes in use it would run many times a second under load.
var room []byte

// TuneCollector gives the garbage collector of the process room, unless the
// environment sets GOGC. A loaded box keeps up to 64 MiB more, and what its unit allows beyond that, and collects less
// often: at 500 calls/s the collector took a seventh of the processor time.
func TuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
		room = make([]byte, 16<<20)
		runtime.KeepAlive(room)
	}
}
