package lab

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// errConfig is wrapped when a file is not what its vendor's phones accept.
var errConfig = errors.New("not a configuration of this vendor")

// Account is one SIP identity as the phone understood it from the files that
// it fetched.
type Account struct {
	Slot      int    // from 1
	Server    string // host or address of the registrar
	Port      uint16
	Transport string // "udp", "tcp" or "tls"
	Proxy     string // host:port that requests go to instead of the server; empty if none
	User      string // user part of the address of record
	AuthUser  string // digest user name
	Password  string
	Label     string // what the display shows beside the key
	Display   string // name sent in From
	Expires   time.Duration
}

// settings is what a vendor's dialect makes of its files.
type settings struct {
	accounts []Account
	values   map[string]string // every parameter, for what is asked later
}

// resyncPolicy says what a phone does on a NOTIFY with the event check-sync.
type resyncPolicy uint8

const (
	resyncIgnore resyncPolicy = iota
	resyncFetch               // fetch again and apply
	resyncReboot              // start anew
)

func (a Account) validate() error {
	switch {
	case a.Server == "":
		return fmt.Errorf("account %d: %w: no server", a.Slot, errConfig)
	case a.User == "":
		return fmt.Errorf("account %d: %w: no user", a.Slot, errConfig)
	case a.Transport == "tls":
		return fmt.Errorf("account %d: lab phones speak UDP and TCP, not TLS", a.Slot)
	}
	return nil
}

// destination returns the host:port that requests of the account are sent to.
func (a Account) destination() string {
	if a.Proxy != "" {
		return a.Proxy
	}
	return net.JoinHostPort(a.Server, strconv.Itoa(int(a.Port)))
}

// number reads a decimal that must be within bounds; def stands for an empty
// value.
func number(s string, def, low, high int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%q: %w: want a number from %d to %d", s, errConfig, low, high)
	}
	return n, nil
}

// endpoint joins a host and a port that may be empty; the result is empty
// without a host.
func endpoint(host, port string) (string, error) {
	if host == "" {
		return "", nil
	}
	n, err := number(port, 5060, 0, 65535)
	if err != nil {
		return "", err
	}
	if n == 0 {
		n = 5060
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

// slots returns the account numbers that occur in keys of the form
// prefix<number>suffix, in order, at most maxSlots.
func slots(values map[string]string, prefix, suffix string) []int {
	const maxSlots = 48
	var found []int
	for n := 1; n <= maxSlots; n++ {
		if _, ok := values[prefix+strconv.Itoa(n)+suffix]; ok {
			found = append(found, n)
		}
	}
	return found
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func seconds(s string, def int) (time.Duration, error) {
	n, err := number(s, def, 1, 1<<31-1)
	return time.Duration(n) * time.Second, err
}

// isText refuses what no phone would take for a text file.
func isText(b []byte) bool { return !strings.ContainsRune(string(b), 0) }
