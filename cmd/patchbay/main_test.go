package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCommandLine(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.toml")
	wrong := filepath.Join(t.TempDir(), "wrong.toml")
	if err := os.WriteFile(wrong, []byte("[sip]\nprot = 5060\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		args      []string
		code      int
		out, diag string
	}{
		{"no argument", nil, 0, "patchbay serve", ""},
		{"help", []string{"help"}, 0, "patchbay demo", ""},
		{"unknown command", []string{"srve"}, 2, "", `no command "srve"`},
		{"version", []string{"version"}, 0, "patchbay devel", ""},
		{"unknown flag", []string{"serve", "--confg", "x"}, 2, "", "usage: patchbay serve [--config FILE]"},
		{"too many arguments", []string{"check", "x"}, 2, "", "usage: patchbay check"},
		{"no configuration", []string{"serve", "--config", missing}, 1, "", missing + ": no such file; copy the example"},
		{"wrong key", []string{"check", "--config", wrong}, 1, "", wrong + ": sip.prot: no such key; did you mean sip.port?"},
		{"daemon not running", []string{"status", "--socket", missing}, 1, "", "running"},
		{"not a MAC address", []string{"phones", "00:15", "--socket", missing}, 1, "", "want 12 hexadecimal digits, such as"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, diag bytes.Buffer
			code := run(t.Context(), tc.args, &out, &diag)
			if code != tc.code || !strings.Contains(out.String(), tc.out) || !strings.Contains(diag.String(), tc.diag) {
				t.Errorf("code %d, want %d\nout  %q\nwant … %s …\ndiag %q\nwant … %s …", code, tc.code, &out, tc.out, &diag, tc.diag)
			}
			if strings.Count(strings.TrimSpace(diag.String()), "\n") > 2 {
				t.Errorf("more than one clear message:\n%s", &diag)
			}
		})
	}
}

// TestServeNamesWhatIsInTheWay takes each port in turn and reads what the
// person at the console is told.
func TestServeNamesWhatIsInTheWay(t *testing.T) {
	loopback := netip.MustParseAddr("127.77.3.1")
	ports := map[string]uint16{}
	for _, name := range []string{"http", "tftp", "sip", "tls", "page"} {
		network := "tcp"
		if name == "tftp" || name == "sip" {
			network = "udp"
		}
		ports[name] = freePort(loopback, 0, network)
	}
	config := func(t *testing.T) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "patchbay.toml")
		text := fmt.Sprintf("[box]\nstate = %q\n[[lan]]\ninterface = \"lo\"\naddress = %q\nsubnet = \"127.77.3.0/24\"\n"+
			"[provision]\nhttp_port = %d\ntftp_port = %d\n[sip]\nport = %d\ntls_port = %d\n[page]\nlisten = \"%s:%d\"\n",
			t.TempDir(), loopback, ports["http"], ports["tftp"], ports["sip"], ports["tls"], loopback, ports["page"])
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, want := range map[string]string{
		"http": "provision.http_port", "tftp": "provision.tftp_port", "sip": "sip.port", "tls": "sip.tls_port", "page": "page.listen",
	} {
		t.Run(name, func(t *testing.T) {
			at := netip.AddrPortFrom(loopback, ports[name]).String()
			if name == "tftp" || name == "sip" {
				c, err := net.ListenPacket("udp", at)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			} else {
				l, err := net.Listen("tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var out, diag bytes.Buffer
			code := run(ctx, []string{"serve", "--config", config(t)}, &out, &diag)
			if code != 1 || !strings.Contains(diag.String(), want) || !strings.Contains(diag.String(), "is in use; stop the other program") {
				t.Errorf("code %d\n%s", code, &diag)
			}
		})
	}
}

// TestFlagsBehindArguments: people write what a command is about first.
func TestFlagsBehindArguments(t *testing.T) {
	for _, args := range [][]string{
		{"--socket", "/s", "a", "b"},
		{"a", "--socket", "/s", "b"},
		{"a", "b", "--socket=/s"},
		{"--socket=/s", "--", "a", "b"},
	} {
		fs := flags("test")
		socket := fs.String("socket", "", "")
		if err := parse(fs, args, 2); err != nil || *socket != "/s" || strings.Join(fs.Args(), " ") != "a b" {
			t.Errorf("%v: %v, socket %q, arguments %v", args, err, *socket, fs.Args())
		}
	}
	if err := parse(flags("test"), []string{"a", "b"}, 1); !errors.Is(err, errUsage) {
		t.Errorf("an argument too many: %v", err)
	}
}
