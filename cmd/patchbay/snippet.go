package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"patchbay/appliance"
	"patchbay/appliance/web/api"
)

// lanFlags are what snippet and verify need to know of the box: its
// configuration, or the parts of it on the command line.
type lanFlags struct {
	config, box, network, vendors string
	port, vlan                    uint
}

func (l *lanFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&l.config, "config", defaultConfig, "configuration file of the box")
	fs.StringVar(&l.box, "box", "", "address of the box, if there is no configuration file")
	fs.StringVar(&l.network, "network", "", "network of the phones, with --box")
	fs.UintVar(&l.port, "port", 0, "HTTP port of the box, if it is not that of the configuration")
	fs.StringVar(&l.vendors, "vendors", "", "vendors of the phones, with commas between them; all without it")
	fs.UintVar(&l.vlan, "vlan", 0, "voice VLAN")
}

// load returns the configuration with what the command line says.
func (l *lanFlags) load(iface string) (appliance.Config, error) {
	cfg := appliance.Default()
	if l.box == "" {
		var err error
		if cfg, err = appliance.LoadConfig(l.config); err != nil {
			return cfg, fmt.Errorf("%w\nor say where the box is with --box ADDRESS", err)
		}
	} else {
		a, err := netip.ParseAddr(l.box)
		if err != nil || !a.Is4() {
			return cfg, fmt.Errorf("--box %s: write the IPv4 address of the box", l.box)
		}
		lan := appliance.LAN{Interface: iface, Address: a}
		if l.network != "" {
			p, err := netip.ParsePrefix(l.network)
			if err != nil {
				return cfg, fmt.Errorf("--network %s: write address and length, such as 192.0.2.0/24", l.network)
			}
			lan.Subnet = p.Masked()
		}
		cfg.LANs = []appliance.LAN{lan}
	}
	if l.port > 65535 {
		return cfg, fmt.Errorf("--port %d: write a number from 1 to 65535", l.port)
	}
	if l.port != 0 {
		cfg.Provision.HTTPPort = uint16(l.port)
	}
	if l.vlan > 4094 {
		return cfg, fmt.Errorf("--vlan %d: write a number from 1 to 4094", l.vlan)
	}
	return cfg, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// writeSnippet prints the settings that a DHCP server of others needs.
func writeSnippet(_ context.Context, args []string, out io.Writer) error {
	fs := flags("snippet")
	var lan lanFlags
	lan.add(fs)
	q := api.SnippetQuery{}
	fs.StringVar(&q.Server, "server", "", "kind of DHCP server")
	fs.StringVar(&q.Interface, "interface", "", "interface of the box that has the phones; the first one without it")
	fs.StringVar(&q.Language, "language", "", "language of the phones, if it is not that of the box")
	ntp := fs.String("ntp", "", "time servers for the phones, with commas between them")
	data := fs.String("data", "", "network that phones come from, with --vlan")
	part := fs.String("part", "", "print this part only, ready to be saved")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	cfg, err := lan.load(q.Interface)
	if err != nil {
		return err
	}
	q.Vendors, q.VLAN = list(lan.vendors), int(lan.vlan)
	for _, s := range list(*ntp) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("--ntp %s: write IPv4 addresses", s)
		}
		q.NTP = append(q.NTP, a)
	}
	if *data != "" {
		if q.Data, err = netip.ParsePrefix(*data); err != nil {
			return fmt.Errorf("--data %s: write address and length, such as 192.0.2.0/24", *data)
		}
		q.Data = q.Data.Masked()
	}
	s, err := appliance.Snippet(cfg, q)
	if errors.Is(err, api.ErrNotFound) {
		return fmt.Errorf("--server is one of %s; --interface is one of the configuration", serverNames())
	}
	if err != nil {
		return err
	}
	return printSnippet(out, s, *part, *asJSON)
}

func serverNames() string {
	var names []string
	for _, s := range appliance.SnippetServers() {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func printSnippet(out io.Writer, s api.Snippet, part string, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	if part == "" {
		_, err := io.WriteString(out, s.Text)
		return err
	}
	names := make([]string, 0, len(s.Parts))
	for _, p := range s.Parts {
		if p.Name == part {
			_, err := io.WriteString(out, p.Text)
			return err
		}
		names = append(names, p.Name)
	}
	return fmt.Errorf("--part %s: the parts are %s", part, strings.Join(names, ", "))
}

// verify plays phones on an interface and prints what DHCP servers answer.
func verify(ctx context.Context, args []string, out io.Writer) error {
	fs := flags("verify")
	var lan lanFlags
	lan.add(fs)
	q := api.VerifyQuery{}
	iface := fs.String("interface", "", "interface to play the phones on")
	fs.StringVar(&q.Server, "server", "", "kind of DHCP server, if you know it")
	fs.BoolVar(&q.Take, "take", false, "take the addresses too, and give them back")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	if *iface == "" {
		return errUsage
	}
	if _, err := net.InterfaceByName(*iface); err != nil {
		return fmt.Errorf("--interface %s: there is none of this name; see them with `ip link`", *iface)
	}
	cfg, err := lan.load(*iface)
	if err != nil {
		return err
	}
	q.Vendors, q.VLAN = list(lan.vendors), int(lan.vlan)
	v, err := appliance.Verify(ctx, cfg, *iface, q)
	if errors.Is(err, api.ErrNotFound) {
		return fmt.Errorf("--interface %s: it is not in the configuration, so the address that phones should be led to is not known; name it with --box", *iface)
	}
	if err != nil {
		return err
	}
	if !*asJSON {
		return api.WriteVerification(out, v)
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	if !v.OK {
		return api.ErrNotProved
	}
	return nil
}
