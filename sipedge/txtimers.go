package sipedge

import (
	"reflect"
	"time"
	"unsafe"

	"github.com/emiago/sipgo/sip"
)

// sipgo (1.7.2) lets timer L of a server transaction and timer M of a client's
// run when it is terminated. For 64*T1 they keep all of it in memory, and what
// its request and its answer refer to: 15 KB a call. Nothing that sipgo exports
// stops them, so that is done here; where a later version has no such field,
// nothing is, and TestTerminatedIsForgotten fails.
var (
	timerL = timerField[sip.ServerTx]("timer_l")
	timerM = timerField[sip.ClientTx]("timer_m")
)

// timerField is where a struct has a timer, or -1.
func timerField[T any](name string) int {
	f, ok := reflect.TypeFor[T]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[*time.Timer]() {
		return -1
	}
	return int(f.Offset)
}

// terminate ends the transaction of an INVITE that got its 2xx, at once.
func terminate(tx sip.Transaction) {
	tx.Terminate()
	_ = tx.Err() // what sets a timer has done so: it holds the lock that Err takes
	switch tx := tx.(type) {
	case *sip.ServerTx:
		stopTimer(unsafe.Pointer(tx), timerL)
	case *sip.ClientTx:
		stopTimer(unsafe.Pointer(tx), timerM)
	}
}

func stopTimer(tx unsafe.Pointer, at int) {
	if at < 0 {
		return
	}
	if t := *(**time.Timer)(unsafe.Add(tx, at)); t != nil {
		t.Stop()
	}
}
