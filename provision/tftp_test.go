package provision

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// fetch is a TFTP client of a few lines, written from RFC 1350 so that it may
// send from any address and send nonsense. It returns the file or the text of
// the error packet.
func fetch(t testing.TB, from netip.Addr, server netip.AddrPort, request []byte) (file []byte, fault string) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(request, server); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 2048)
	for block := uint16(1); ; block++ {
		n, peer, err := c.ReadFromUDPAddrPort(packet)
		if err != nil {
			t.Fatal(err)
		}
		if peer.Addr() != server.Addr() {
			t.Fatalf("answer from %s, asked %s", peer, server)
		}
		p := packet[:n]
		switch op := binary.BigEndian.Uint16(p); op {
		case 3:
			if got := binary.BigEndian.Uint16(p[2:]); got != block {
				t.Fatalf("block %d, want %d", got, block)
			}
			file = append(file, p[4:]...)
			if _, err := c.WriteToUDPAddrPort([]byte{0, 4, p[2], p[3]}, peer); err != nil {
				t.Fatal(err)
			}
			if len(p) < 4+512 {
				return file, ""
			}
		case 5:
			return nil, string(bytes.TrimRight(p[4:], "\x00"))
		default:
			t.Fatalf("packet %d", op)
		}
	}
}

func rrq(op byte, name string) []byte {
	return append([]byte{0, op}, name+"\x00octet\x00"...)
}

func TestTFTP(t *testing.T) {
	r := newRig(t, true, nil)
	r.phones.put(Phone{MAC: yealink, Vendor: "yealink", Accounts: accounts(yealink, 2)})
	for _, tc := range []struct {
		name   string
		from   netip.Addr
		packet []byte
		holds  string
		fault  string
	}{
		{"its own file", home(yealink), rrq(1, "001565005301.cfg"), "account.2.password = Secret02of001565005301", ""},
		{"with a slash", home(yealink), rrq(1, "/001565005301.cfg"), "Secret01", ""},
		{"with backslashes", home(yealink), rrq(1, `lang_de\001565005301.cfg`), "lang.gui = German", ""},
		{"with language", home(yealink), rrq(1, "lang_de/001565005301.cfg"), "lang.gui = German", ""},
		{"common file for anybody", stranger, rrq(1, "y000000000028.cfg"), "#!version", ""},
		{"another's file", home(poly), rrq(1, "001565005301.cfg"), "", "file not found"},
		{"a stranger's", stranger, rrq(1, "001565005301.cfg"), "", "file not found"},
		{"window closed", home(closed), rrq(1, "001565005305.cfg"), "", "file not found"},
		{"unknown file", home(poly), rrq(1, "no-such-file"), "", "file not found"},
		{"up", home(yealink), rrq(1, "../../../etc/passwd"), "", "file not found"},
		{"absolute", home(yealink), rrq(1, "/etc/passwd"), "", "file not found"},
		{"empty name", home(yealink), rrq(1, ""), "", "file not found"},
		{"line break", home(yealink), rrq(1, "a\r\nb"), "", "file not found"},
		{"write", home(yealink), rrq(2, "y000000000028.cfg"), "", "writing is not allowed"},
		{"write of a configuration", home(yealink), rrq(2, "001565005301.cfg"), "", "writing is not allowed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, fault := fetch(t, tc.from, r.tftp, tc.packet)
			if fault != tc.fault || !bytes.Contains(file, []byte(tc.holds)) {
				t.Errorf("%q %q, want %q %q", file, fault, tc.holds, tc.fault)
			}
		})
	}
	want := []string{
		"provision.served", "provision.served", "provision.served", "provision.served", "provision.refused address-of-other", "provision.refused address-unknown",
		"provision.404", "provision.404", "provision.refused write-refused", "provision.refused write-refused",
	}
	if diff := cmp.Diff(want, r.told.codes(yealink)); diff != "" {
		t.Error("story (-want +got)\n" + diff)
	}
}

// TestTFTPNonsense: after any packet the next client is served.
func TestTFTPNonsense(t *testing.T) {
	r := newRig(t, true, nil)
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.tftp))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	packets := [][]byte{
		{},
		{0},
		{0, 0},
		{0, 1},
		{0, 1, 0},
		{0, 1, 0, 0},
		{0, 9, 1, 2},
		{0xff, 0xff},
		{0, 5, 0, 0},
		{0, 4, 0, 1},
		{0, 3, 0, 1, 0},
		[]byte("\x00\x01abc"), []byte("\x00\x01abc\x00"), []byte("\x00\x01abc\x00octet"), []byte("\x00\x01abc\x00nonsense\x00"),
		[]byte("\x00\x01a\x00octet\x00blksize\x00-1\x00"), []byte("\x00\x01a\x00octet\x00blksize\x00"), []byte("\x00\x01a\x00octet\x00\x00\x00\x00"),
		append(rrq(1, "y000000000028.cfg"), "blksize\x00"+strings.Repeat("0", 440)+"512\x00"...),
		append(rrq(1, strings.Repeat("a", 60000)), 0),
	}
	for _, p := range packets {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if file, fault := fetch(t, stranger, r.tftp, rrq(1, "y000000000028.cfg")); fault != "" || len(file) == 0 {
		t.Errorf("after nonsense: %q %q", file, fault)
	}
}

// TestTFTPCorpora sends each packet of a folder of nonsense that others keep,
// which PATCHBAY_CORPORA names, and judges what comes back: nothing, or one
// error in the form of RFC 1350 §5, and never more than one packet, since
// whoever forges the address of somebody else would be a burden to that one.
func TestTFTPCorpora(t *testing.T) {
	dir := os.Getenv("PATCHBAY_CORPORA")
	if dir == "" {
		t.Skip("PATCHBAY_CORPORA is not set")
	}
	names, err := filepath.Glob(filepath.Join(dir, "tftp", "*", "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no packets in %s: %v", dir, err)
	}
	r := newRig(t, true, nil)
	r.stopClock()
	var errs, silent atomic.Int64
	var wg sync.WaitGroup
	for i, name := range names {
		packet, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			answers := replies(t, netip.AddrFrom4([4]byte{127, 2, byte(i >> 8), byte(i)}), r.tftp, packet)
			// No file of these names can be had, so nothing is read or written.
			for _, a := range answers {
				if len(a) < 5 || len(a) > 516 || a[0] != 0 || a[1] != 5 || a[2] != 0 || a[3] > 8 || bytes.IndexByte(a[4:], 0) != len(a)-5 {
					t.Errorf("%s is answered by % x", filepath.Base(name), a)
				}
			}
			asks := len(packet) > 1 && packet[0] == 0 && (packet[1] == 1 || packet[1] == 2)
			follows := len(packet) > 1 && packet[0] == 0 && (packet[1] == 3 || packet[1] == 4 || packet[1] == 6)
			if len(answers) > 1 || len(answers) == 1 && !asks && !follows {
				t.Errorf("%s has %d answers", filepath.Base(name), len(answers))
			}
			errs.Add(int64(len(answers)))
			if len(answers) == 0 {
				silent.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d packets: %d errors, %d without an answer", len(names), errs.Load(), silent.Load())
	if errs.Load() < 40 {
		t.Errorf("only %d were answered at all", errs.Load())
	}
	if file, fault := fetch(t, home(yealink), r.tftp, rrq(1, "y000000000028.cfg")); fault != "" || len(file) == 0 {
		t.Errorf("after them: %q %q", file, fault)
	}
}

// replies sends one packet and returns all that comes back within the time in
// which the server would send it a second time.
func replies(t *testing.T, from netip.Addr, server netip.AddrPort, packet []byte) (all [][]byte) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err == nil {
		defer c.Close()
		_, err = c.WriteToUDPAddrPort(packet, server)
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	_ = c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	for {
		b := make([]byte, 2048)
		n, err := c.Read(b)
		if err != nil {
			return all
		}
		all = append(all, b[:n])
	}
}

func TestTFTPLimits(t *testing.T) {
	r := newRig(t, true, nil)
	r.stopClock()
	if _, fault := fetch(t, home(laptop), r.tftp, rrq(1, "y000000000028.cfg")); fault != "" {
		t.Errorf("at first: %q", fault)
	}
	r.limit.charge(home(laptop), limitBurst)
	for _, op := range []byte{1, 2} {
		if _, fault := fetch(t, home(laptop), r.tftp, rrq(op, "y000000000028.cfg")); fault != "busy, try later" {
			t.Errorf("too fast: %q", fault)
		}
	}
}

// send is a TFTP client that writes a file in blocks of 512 bytes.
func send(t testing.TB, from netip.Addr, server netip.AddrPort, name string, file []byte) (fault string) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(rrq(2, name), server); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 600)
	for last := -1; ; {
		n, peer, err := c.ReadFromUDPAddrPort(packet)
		if err != nil {
			t.Fatal(err)
		}
		if packet[1] == 5 {
			return string(bytes.TrimRight(packet[4:n], "\x00"))
		}
		block := int(binary.BigEndian.Uint16(packet[2:]))
		if block == last {
			return ""
		}
		part := file[min(len(file), 512*block):min(len(file), 512*block+512)]
		if len(part) < 512 {
			last = block + 1
		}
		if _, err := c.WriteToUDPAddrPort(append(binary.BigEndian.AppendUint16([]byte{0, 3}, uint16(block+1)), part...), peer); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTFTPUploads(t *testing.T) {
	r := newRig(t, true, nil)
	log := bytes.Repeat([]byte("0123456789abcdef"), 64) // ends with a full block
	for _, tc := range []struct {
		name, file string
		from       mac.Addr
		content    []byte
		fault      string
		story      []string
	}{
		{"its own log", "0004f2005302-app.log", poly, log, "", []string{"provision.uploaded"}},
		{"empty", "/0004f2005302-app.log", poly, nil, "", []string{"provision.uploaded"}},
		{"from a Windows path", `\0004f2005302-app.log`, poly, []byte("x"), "", []string{"provision.uploaded"}},
		{"another's log", "0004f2005399-app.log", poly, log, "file not found", []string{"provision.refused address-of-other"}},
		{"too large", "0004f2005302-app.log", poly, make([]byte, uploadLimit+1), "file is too large", nil},
		{"configuration", "0004f2005302.cfg", poly, log, "writing is not allowed", []string{"provision.refused write-refused"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.told.forget()
			r.kept.forget()
			if fault := send(t, home(tc.from), r.tftp, tc.file, tc.content); fault != tc.fault {
				t.Errorf("%q, want %q", fault, tc.fault)
			}
			if diff := cmp.Diff(tc.story, r.told.codes(tc.from)); diff != "" {
				t.Error("story (-want +got)\n" + diff)
			}
			want := map[string]string{}
			if tc.fault == "" {
				want["0004f2005302-app.log"] = string(tc.content)
			}
			if diff := cmp.Diff(want, r.kept.files(poly)); diff != "" {
				t.Error("kept (-want +got)\n" + diff)
			}
		})
	}
}

// TestTFTPClients asks with clients that are not ours, where there are any.
func TestTFTPClients(t *testing.T) {
	r := newRig(t, true, nil)
	want, fault := fetch(t, stranger, r.tftp, rrq(1, "y000000000028.cfg"))
	if fault != "" {
		t.Fatal(fault)
	}
	out := filepath.Join(t.TempDir(), "out")
	host, port := r.tftp.Addr().String(), r.tftp.Port()
	for name, args := range map[string][]string{
		"tftp":    {"-m", "binary", host, itoa(port), "-c", "get", "y000000000028.cfg", out},
		"busybox": {"tftp", "-g", "-b", "1428", "-r", "y000000000028.cfg", "-l", out, host, itoa(port)},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := exec.LookPath(name)
			if err != nil {
				t.Logf("no %s here; the client of the test has asked", name)
				return
			}
			if text, err := exec.Command(client, args...).CombinedOutput(); err != nil {
				if name == "busybox" && strings.Contains(string(text), "applet not found") {
					t.Log("this busybox has no tftp")
					return
				}
				t.Fatalf("%v\n%s", err, text)
			}
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

func itoa(n uint16) string { return strconv.Itoa(int(n)) }
