package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"patchbay/appliance"
	"patchbay/appliance/lab"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// fleetBox runs a box with one network on loopback for each language.
func fleetBox(t *testing.T) (box *appliance.Appliance, places map[string]place) {
	t.Helper()
	box, places, _ = fleetBoxIn(t, t.TempDir())
	return box, places
}

// fleetBoxIn is fleetBox with a state directory of the caller. It returns the
// configuration too.
func fleetBoxIn(t *testing.T, state string) (box *appliance.Appliance, places map[string]place, cfg appliance.Config) {
	t.Helper()
	places = make(map[string]place)
	cfg = appliance.Default()
	cfg.Box = appliance.Box{Name: "Fleet", State: state, Country: "DE", TimeZone: "Europe/Berlin", Language: "en"}
	sockets := make(map[netip.Addr]place)
	for _, lang := range appliance.Languages {
		at, err := takePlace()
		if err != nil {
			t.Fatal(err)
		}
		places[lang], sockets[at.box] = at, at
		cfg.LANs = append(cfg.LANs, appliance.LAN{
			Interface: "lo", Address: at.box, Subnet: at.subnet(), DHCP: "serve", Pools: []string{at.pool()}, Lease: time.Hour,
			LANOptions: appliance.LANOptions{Language: lang},
		})
	}
	first := cfg.LANs[0].Address
	cfg.Provision.HTTPPort, cfg.Provision.TFTPPort = freePort(first, 0, "tcp"), freePort(first, 0, "udp")
	cfg.SIP.Port, cfg.SIP.TLSPort = freePort(first, 0, "udp", "tcp"), 0
	cfg.Media.FirstPort, cfg.Media.LastPort = 20000, 20999
	cfg.Page.Listen = netip.AddrPortFrom(first, freePort(first, 0, "tcp")).String()
	cfg.Page.MDNS = false
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	box, err := appliance.New(t.Context(), cfg, appliance.Options{
		Version: "test", Log: slog.New(slog.DiscardHandler),
		ListenDHCP: func(l appliance.LAN) (dhcp.PacketConn, dhcp.Prober, error) {
			at := sockets[l.Address]
			return at.dhcp, at.prober, nil
		},
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
	return box, places, cfg
}

// TestFleet starts every personality of the lab against the real box: DHCP,
// its files in its order, its accounts registered with what it understood, its
// screen in the language of its network.
func TestFleet(t *testing.T) {
	phones, err := lab.Personalities()
	if err != nil {
		t.Fatal(err)
	}
	marks := map[string]int{}
	for _, p := range phones {
		marks[p.Mark]++
	}
	t.Logf("%d personalities by confidence: %d A, %d B, %d C", len(phones), marks["A"], marks["B"], marks["C"])
	if marks["A"]+marks["B"] < 40 {
		t.Errorf("%d personalities of mark A or B, want 40", marks["A"]+marks["B"])
	}
	box, places := fleetBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(16)
	started := 0
	for i, p := range phones {
		for n, lang := range appliance.Languages {
			if !everyLanguage && i%len(appliance.Languages) != n {
				continue
			}
			m := p.MAC
			m[5] ^= byte(n) << 4
			started++
			group.Go(func() error {
				if err := startFleetPhone(ctx, box, p.WithMAC(m), places[lang], lang); err != nil {
					t.Errorf("%s in %s: %v", p, lang, err)
				}
				return nil
			})
		}
	}
	_ = group.Wait()
	t.Logf("%d starts in %d languages", started, len(places))
}

// nobodyIn is what a phone shows that nobody is signed in to.
var nobodyIn = map[string]string{
	"en": "Not signed in", "es": "Sin sesión", "ja": "未サインイン", "de": "Nicht angemeldet", "fr": "Non connecté", "pt": "Sem sessão",
}

// startFleetPhone starts one phone and judges what it did and understood.
func startFleetPhone(ctx context.Context, box *appliance.Appliance, p lab.Personality, at place, lang string) error {
	if p.Stranger {
		if err := (demoAdmin{box.Backend()}).AddPhone(ctx, p.MAC); err != nil {
			return err
		}
	}
	phone := lab.NewPhone(p, lab.PhoneConfig{DHCP: at.server})
	if err := phone.Boot(ctx); err != nil {
		return err
	}
	defer phone.Close()
	var fetched []string
	for _, line := range phone.Fetched() {
		fetched = append(fetched, strings.Replace(line, "/lang_"+lang, "", 1))
	}
	if want := p.Expected(); !slices.Equal(fetched, want) {
		return fmt.Errorf("asked %q, want %q", fetched, want)
	}
	accounts := phone.Accounts()
	if len(accounts) != p.Ports {
		return fmt.Errorf("%d accounts, want %d", len(accounts), p.Ports)
	}
	for i, a := range accounts {
		if a.Slot != i+1 || !phone.Registered(a.Slot) || a.Server != at.box.String() || a.Label == "" || a.Display == "" {
			return fmt.Errorf("account %+v, registered %v", a, phone.Registered(a.Slot))
		}
	}
	nobody := nobodyIn[lang]
	if _, ok := p.Languages[lang]; p.Languages != nil && !ok {
		nobody = nobodyIn["en"]
	}
	if p.LanguageKey != "" && accounts[0].Label != nobody {
		return fmt.Errorf("shows %q, want %q", accounts[0].Label, nobody)
	}
	if ca, err := phone.Fetch(ctx, "ca.pem"); err != nil || !strings.HasPrefix(string(ca), "-----BEGIN CERTIFICATE-----") {
		return fmt.Errorf("the certificate of the box: %q, %w", ca, err)
	}
	if p.LanguageKey == "" {
		return nil
	}
	want, ok := p.Languages[lang]
	if !ok {
		want = p.Languages["en"]
	}
	if got := phone.Setting(p.LanguageKey); got != want {
		return fmt.Errorf("%s = %q, want %q", p.LanguageKey, got, want)
	}
	return fallbackIsTold(ctx, box, p.MAC, ok)
}

// fallbackIsTold: where a phone does not speak the language, its story says
// that it got English.
func fallbackIsTold(ctx context.Context, box *appliance.Appliance, m mac.Addr, spoken bool) error {
	entries, err := box.Backend().Story(ctx, m, 0, 100)
	if err != nil {
		return err
	}
	told := false
	for _, e := range entries {
		told = told || strings.Contains(e.Words, "English")
	}
	if told == spoken {
		return fmt.Errorf("the story tells of English: %v, and it speaks the language: %v", told, spoken)
	}
	return nil
}

// TestPersonalitiesAreDistinct: two phones with one address, or a fixture
// without requests, would prove nothing.
func TestPersonalitiesAreDistinct(t *testing.T) {
	phones, err := lab.Personalities()
	if err != nil {
		t.Fatal(err)
	}
	macs, names := map[mac.Addr]string{}, map[string]bool{}
	vendors := map[string]int{}
	for _, p := range phones {
		if other, twice := macs[p.MAC]; twice {
			t.Errorf("%s and %s have the address %v", p, other, p.MAC)
		}
		if names[p.String()] {
			t.Errorf("%s is there twice", p)
		}
		if len(p.Boot) == 0 || p.UserAgent == "" || p.Firmware == "" {
			t.Errorf("%s: no recorded start, User-Agent or firmware", p)
		}
		macs[p.MAC], names[p.String()] = p.String(), true
		vendors[p.Vendor]++
	}
	for _, want := range []string{"Poly", "Yealink", "Cisco", "AudioCodes", "snom", "Grandstream", "Fanvil", "Gigaset", "Algo", "CyberData"} {
		if vendors[want] == 0 {
			t.Errorf("no phone of %s", want)
		}
	}
}

// TestFleetObeys signs somebody in at one phone of each dialect: the box asks
// the phone in its vendor's words to fetch its configuration, and the phone
// shows the name only if it did and registered again.
func TestFleetObeys(t *testing.T) {
	phones, err := lab.Personalities()
	if err != nil {
		t.Fatal(err)
	}
	box, places := fleetBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	admin, at := demoAdmin{box.Backend()}, places["en"]
	var group errgroup.Group
	tried := map[string]bool{}
	for i, p := range phones {
		kind := p.Vendor + " " + strings.Join(p.Names, " ")
		if tried[kind] {
			continue
		}
		tried[kind] = true
		group.Go(func() error {
			if err := signInAt(ctx, admin, p, at, fmt.Sprintf("Person %d", i), fmt.Sprint(400+i)); err != nil {
				t.Errorf("%s: %v", p, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	t.Logf("%d kinds of phones", len(tried))
}

func signInAt(ctx context.Context, admin demoAdmin, p lab.Personality, at place, name, extension string) error {
	if p.Stranger {
		if err := admin.AddPhone(ctx, p.MAC); err != nil {
			return err
		}
	}
	phone := lab.NewPhone(p, lab.PhoneConfig{DHCP: at.server, Retry: 50 * time.Millisecond})
	if err := phone.Boot(ctx); err != nil {
		return err
	}
	defer phone.Close()
	line, err := admin.AddLine(ctx, lab.Line{AOR: "sip:" + extension + "@example.com", DisplayName: name, Extension: extension})
	if err != nil {
		return err
	}
	if err := admin.Assign(ctx, mac.Account{MAC: p.MAC, Slot: 1}, line); err != nil {
		return err
	}
	return phone.WaitLabel(ctx, 1, name)
}
