//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// tools are the foreign programs. A missing one fails the run; it never
// skips green.
var tools = []string{"ip", "sysctl", "taskset", "chrt", "nice", "strace", "perfdhcp", "kea-dhcp4", "dnsmasq", "nginx", "in.tftpd", "prlimit", "rtpengine"}

// roleVariable makes the test binary play one part in a namespace of its own
// instead of running tests.
const roleVariable = "PATCHBAY_BENCH_ROLE"

// roles are the parts. Each returns its exit status.
var roles = map[string]func() int{
	"ready":    playReady,
	"storm":    playStorm,
	"flood":    playFlood,
	"booting":  playBooting,
	"load":     playLoad,
	"careless": playCareless,

	"relay":    playRelay,
	"load-rtp": playLoadRTP,

	"power":      playPower,
	"siege":      playSiege,
	"good":       playGood,
	"fleet-http": playFleetHTTP,
	"fleet-tftp": playFleetTFTP,
	"fleet-save": playFleetSave,
	"edge":       playEdge,
	"sipload":    playSIPLoad,

	"box-phones": playBoxPhones,
	"box-audio":  playBoxAudio,
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(roles[role]())
	}
	if missing := lacking(); len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "can't measure; missing:", missing)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func lacking() []string {
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	if bin := os.Getenv("PATCHBAY_BIN"); bin == "" {
		missing = append(missing, "PATCHBAY_BIN (run `make bench-dhcp`, `make bench-provision`, `make bench-sip`, `make bench-media` or `make bench-box`)")
	} else if _, err := os.Stat(bin); err != nil {
		missing = append(missing, bin)
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	return missing
}

// setting reads a number from the environment.
func setting(name string, fallback int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return fallback
}
