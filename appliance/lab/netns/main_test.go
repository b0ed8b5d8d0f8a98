//go:build lab

package netns

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// tools are the foreign programs that the lab needs. A missing one fails the
// lab; it never skips green.
var tools = []string{
	"ip", "nft", "sysctl", "udhcpc", "dhclient", "curl", "tftp", "sipp", "baresip", "kamailio", "rtpengine", "tshark", "openssl", "xmllint",
	"avahi-daemon", "avahi-resolve", "avahi-browse", "dbus-daemon", "dig",
	"dhcpd", "kea-dhcp4", "dnsmasq", "named",
}

// required is how many tests of the lab must run; counted by `step`. Those of
// `make lab-wan` are not among them.
const required = 51

var ran atomic.Int32

// step marks a test of the lab as run.
func step(t *testing.T) {
	t.Helper()
	ran.Add(1)
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	if missing := lacking(); len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "the lab can't run; missing:", missing)
		os.Exit(1)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait, they do not compute
		panic(err)
	}
	code := m.Run()
	skipped := required - int(ran.Load())
	fmt.Printf("lab: %d required, %d run, %d skipped\n", required, ran.Load(), skipped)
	if skipped > 0 && !filtered() {
		code = 1
	}
	os.Exit(code)
}

// filtered reports whether the person chose some tests by -run.
func filtered() bool {
	for _, arg := range os.Args {
		if len(arg) > 10 && arg[:10] == "-test.run=" {
			return true
		}
	}
	return false
}

func lacking() []string {
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	if bin := os.Getenv("PATCHBAY_BIN"); bin == "" {
		missing = append(missing, "PATCHBAY_BIN (run `make lab`)")
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
