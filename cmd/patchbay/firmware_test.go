package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay/appliance"
	"patchbay/appliance/lab"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// firmwareBox runs a box with one network, and says where its socket is.
func firmwareBox(t *testing.T) (box *appliance.Appliance, at place, socket string) {
	t.Helper()
	at, err := takePlace()
	if err != nil {
		t.Fatal(err)
	}
	cfg := appliance.Default()
	cfg.Box = appliance.Box{Name: "Firmware", State: t.TempDir(), Country: "DE", TimeZone: "Europe/Berlin", Language: "en"}
	cfg.LANs = []appliance.LAN{{Interface: "lo", Address: at.box, Subnet: at.subnet(), DHCP: "serve", Pools: []string{at.pool()}, Lease: time.Hour}}
	cfg.Provision.HTTPPort, cfg.Provision.TFTPPort = freePort(at.box, 0, "tcp"), freePort(at.box, 0, "udp")
	cfg.SIP.Port, cfg.SIP.TLSPort = freePort(at.box, 0, "udp", "tcp"), 0
	cfg.Media.FirstPort, cfg.Media.LastPort = 21000, 21999
	cfg.Page.Listen, cfg.Page.MDNS = netip.AddrPortFrom(at.box, freePort(at.box, 0, "tcp")).String(), false
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	box, err = appliance.New(t.Context(), cfg, appliance.Options{
		Version: "test", Log: slog.New(slog.DiscardHandler),
		ListenDHCP: func(appliance.LAN) (dhcp.PacketConn, dhcp.Prober, error) { return at.dhcp, at.prober, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the box ended: %v", err)
		}
	})
	return box, at, filepath.Join(cfg.Box.State, appliance.ControlSocket)
}

// asPerson runs a subcommand against the box, as a person would.
func asPerson(t *testing.T, socket string, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(t.Context(), append(args, "--socket", socket), &out, &errOut); code != 0 {
		t.Fatalf("patchbay %s: %s", strings.Join(args, " "), errOut.String())
	}
	return out.String()
}

// addImage uploads an image with the vendor's checksum of it.
func addImage(t *testing.T, socket, vendor, version, name string, content []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := md5.Sum(content)
	if out := asPerson(t, socket, "firmware", "add", "--checksum", hex.EncodeToString(sum[:]), vendor, version, file); !strings.Contains(out, vendor+"-"+version) {
		t.Fatalf("add: %s", out)
	}
}

func bootPhone(t *testing.T, p lab.Personality, at place) *lab.Phone {
	t.Helper()
	phone := lab.NewPhone(p, lab.PhoneConfig{DHCP: at.server})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := phone.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(phone.Close)
	return phone
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestFirmwareRollout brings an image to four phones over the wire: the first,
// then two at a time, none during a call; and back again in one step.
func TestFirmwareRollout(t *testing.T) {
	box, at, socket := firmwareBox(t)
	const older, newer = "108.86.0.20", "108.86.0.70"
	var phones []*lab.Phone
	for n := range byte(4) {
		p := lab.YealinkT46U().WithMAC(mac.Addr{0x00, 0x15, 0x65, 0x00, 0x53, 0x10 + n})
		p.Firmware = older
		phones = append(phones, bootPhone(t, p, at))
	}
	talker := bootPhone(t, lab.PolyVVX450(), at)
	ctx, admin := t.Context(), demoAdmin{box.Backend()}
	for i, p := range []*lab.Phone{phones[3], talker} {
		id, err := admin.AddLine(ctx, lab.Line{DisplayName: fmt.Sprint("Line ", i), AOR: fmt.Sprintf("sip:line%d@example.com", i), Extension: fmt.Sprint(201 + i)})
		if err != nil {
			t.Fatal(err)
		}
		if err := admin.Assign(ctx, mac.Account{MAC: p.MAC(), Slot: 1}, id); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both lines are on their phones", func() bool { return phones[3].Reachable(1) && talker.Reachable(1) && settled(t, box) })

	addImage(t, socket, "yealink", older, "T46U-older.rom", lab.FirmwareImage(older, 300<<10))
	addImage(t, socket, "yealink", newer, "T46U-newer.rom", lab.FirmwareImage(newer, 300<<10))
	asPerson(t, socket, "firmware", "pin", "yealink", "T46U", "yealink-"+older)

	call, err := talker.Dial(ctx, 1, "201", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the call is up", func() bool {
		return len(box.Backend().Snapshot().Calls) == 1 && !box.Backend().Snapshot().Calls[0].Answered.IsZero()
	})

	asPerson(t, socket, "firmware", "rollout", "--at-once", "2", "yealink", "T46U", "yealink-"+newer, phones[1].MAC().String())
	eventually(t, "the first phone runs the new version", func() bool { return phones[1].Firmware() == newer })
	eventually(t, "all but the one that talks run it", func() bool { return phones[0].Firmware() == newer && phones[2].Firmware() == newer })
	if got := phones[3].Firmware(); got != older {
		t.Errorf("the phone that talks runs %s", got)
	}
	eventually(t, "the one that talks is said to wait", func() bool {
		return strings.Contains(asPerson(t, socket, "firmware"), "somebody is talking on it")
	})
	call.Hangup()
	eventually(t, "the last one runs it after the call", func() bool { return phones[3].Firmware() == newer })
	eventually(t, "the roll-out is done", func() bool { return strings.Contains(asPerson(t, socket, "firmware"), "done") })

	events := storyOf(t, box, phones[1].MAC())
	for _, want := range []string{
		"its turn has come: it is to load firmware 108.86.0.70 in the place of 108.86.0.20",
		"fetches firmware 108.86.0.70", "has got all of firmware 108.86.0.70", "runs firmware 108.86.0.70 now",
	} {
		if !slices.ContainsFunc(events, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("the story does not say %q:\n%s", want, strings.Join(events, "\n"))
		}
	}
	first := seenAt(t, box, phones[1].MAC())
	for _, p := range []*lab.Phone{phones[0], phones[2]} {
		if asked := askedAt(t, box, p.MAC()); asked.Before(first) {
			t.Errorf("%v was asked at %v, before the first one was seen with it at %v", p.MAC(), asked, first)
		}
	}

	asPerson(t, socket, "firmware", "rollback", "1")
	eventually(t, "all run the old version again", func() bool {
		return !slices.ContainsFunc(phones, func(p *lab.Phone) bool { return p.Firmware() != older })
	})
	eventually(t, "the way back is done", func() bool {
		out := asPerson(t, socket, "firmware")
		return strings.Contains(out, "done, leads back") && strings.Contains(out, "undone")
	})
	if out := asPerson(t, socket, "audit"); !strings.Contains(out, "firmware-rollout") || !strings.Contains(out, "firmware-rollback") || !strings.Contains(out, "firmware-upload") {
		t.Errorf("the audit says\n%s", out)
	}
}

// settled reports whether no phone is asked for anything.
func settled(t *testing.T, box *appliance.Appliance) bool {
	t.Helper()
	list, err := box.Backend().Actions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return !slices.ContainsFunc(list, func(a api.Action) bool { return a.State != "done" && a.State != "failed" })
}

func entries(t *testing.T, box *appliance.Appliance, m mac.Addr) []api.Entry {
	t.Helper()
	list, err := box.Backend().Story(t.Context(), m, 0, 200)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func storyOf(t *testing.T, box *appliance.Appliance, m mac.Addr) (out []string) {
	t.Helper()
	for _, e := range entries(t, box, m) {
		out = append(out, e.Words)
	}
	return out
}

func when(t *testing.T, box *appliance.Appliance, m mac.Addr, words string) (at time.Time) {
	t.Helper()
	for _, e := range entries(t, box, m) { // newest first
		if strings.Contains(e.Words, words) {
			at = e.Time
		}
	}
	return at
}

func seenAt(t *testing.T, box *appliance.Appliance, m mac.Addr) time.Time {
	t.Helper()
	return when(t, box, m, "runs firmware")
}

func askedAt(t *testing.T, box *appliance.Appliance, m mac.Addr) time.Time {
	t.Helper()
	return when(t, box, m, "its turn has come")
}

// TestFirmwareOfVendors pins an image for a phone of each vendor, and has it
// start: it must find the image by its vendor's own keys, load it and come back
// with the version.
func TestFirmwareOfVendors(t *testing.T) {
	phones, err := lab.Personalities()
	if err != nil {
		t.Fatal(err)
	}
	box, at, socket := firmwareBox(t)
	for _, tc := range []struct {
		vendor, model, name string // in the catalogue; as the lab writes it; of the file, {part} for the part number
		version             string
	}{
		{"yealink", "SIP-T46U", "T46U.rom", "108.86.0.99"},
		{"poly", "VVX 500", "{part}.sip.ld", "5.9.8.1"},
		{"snom", "D785", "snomD785-10.1.200.1-SIP-r.bin", "10.1.200.1"},
		{"grandstream", "GRP2614", "grp2614fw.bin", "1.0.13.99"},
		{"fanvil", "X5U-V2", "x5u.z", "2.12.99.1"},
		{"cisco-mpp", "CP-8851-3PCC", "sip88xx.12-0-9MPP.loads", "12-0-9MPP"},
		{"audiocodes", "440HDG", "440HDG.img", "2.2.99.1"},
	} {
		t.Run(tc.vendor, func(t *testing.T) {
			i := slices.IndexFunc(phones, func(p lab.Personality) bool { return p.Model == tc.model })
			if i < 0 {
				t.Fatalf("the lab has no %s", tc.model)
			}
			p := phones[i]
			phone := bootPhone(t, p, at)
			known, err := box.Backend().Phone(t.Context(), p.MAC)
			if err != nil {
				t.Fatal(err)
			}
			addImage(t, socket, tc.vendor, tc.version, strings.ReplaceAll(tc.name, "{part}", p.PartNumber), lab.FirmwareImage(tc.version, 200<<10))
			if tc.vendor == "fanvil" {
				addImage(t, socket, tc.vendor, tc.version, "fanvil_x5u_v2_hwv2_0.txt", []byte("Version="+tc.version+"\nFirmware="+tc.name+"\nBuildTime=2025.01.01 12:00\nInfo=TXT\n"))
			}
			asPerson(t, socket, "firmware", "pin", tc.vendor, known.Model, tc.vendor+"-"+tc.version)
			phone.PowerOff()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := phone.Boot(ctx); err != nil {
				t.Fatal(err)
			}
			if got := phone.Firmware(); got != tc.version {
				t.Fatalf("runs %s, want %s; it asked %q", got, tc.version, phone.Fetched())
			}
			eventually(t, "the box knows it", func() bool {
				now, err := box.Backend().Phone(t.Context(), p.MAC)
				return err == nil && now.Firmware == tc.version
			})
			if tc.vendor == "poly" || tc.vendor == "fanvil" {
				v, err := box.Backend().Firmware(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range v.Models {
					if m.Vendor == tc.vendor && m.Phones[0].Hardware == "" {
						t.Errorf("its revision %+v is not known by what it asked for", m.Phones[0])
					}
				}
			}
		})
	}
}

// TestFirmwareBySIP: a phone that tells its version to the registrar only is
// known by that, and its revision stays.
func TestFirmwareBySIP(t *testing.T) {
	box, at, _ := firmwareBox(t)
	p := lab.YealinkT46U()
	p.UserAgent, p.Firmware = "Yealink SIP-T46U", "108.83.0.9"
	phone := bootPhone(t, p, at)
	known := func(version string) func() bool {
		return func() bool {
			x, err := box.Backend().Phone(t.Context(), p.MAC)
			return err == nil && x.Firmware == version && x.Model == "T46U"
		}
	}
	eventually(t, "its version is known", known("108.83.0.9"))
	phone.Close()
	p.Firmware = "108.82.0.1"
	bootPhone(t, p, at)
	eventually(t, "its new version is known", known("108.82.0.1"))
	if x, _ := box.Backend().Phone(t.Context(), p.MAC); !strings.Contains(x.FirmwareGap, "older than 83") {
		t.Errorf("the gap is %q", x.FirmwareGap)
	}
	if s := strings.Join(storyOf(t, box, p.MAC), "\n"); !strings.Contains(s, "is a Yealink T46U with firmware 108.82.0.1") {
		t.Errorf("the story does not tell:\n%s", s)
	}
}
