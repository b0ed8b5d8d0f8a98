package appliance

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
)

// explainBind says what to do about a socket that could not be had. what is
// the service, where the port in words, key the configuration key that moves
// it. A nil error stays nil.
func explainBind(what, where, key string, err error) error {
	if err == nil {
		return nil
	}
	var fix string
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		fix = "this user may not; start it as the service patchbay.service, as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW"
	case errors.Is(err, syscall.EADDRINUSE):
		fix = where + " is in use; stop the other program (`ss -lptun` names it), or change " + key
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		fix = "the interface does not have this address; give it to the interface, or correct lan.address"
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %s", what, err, fix)
}

func itoa(n int) string { return strconv.Itoa(n) }
