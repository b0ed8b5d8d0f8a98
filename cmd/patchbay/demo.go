package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"patchbay/appliance"
	"patchbay/appliance/lab"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// The demonstration's networks, all on loopback: anybody may bind them, and
// nothing else is there.
var (
	demoBox    = netip.MustParseAddr("127.77.0.1")
	demoSubnet = netip.MustParsePrefix("127.77.0.0/24")
)

// errDemo makes the exit status 1 when a row of the table failed.
var errDemo = errors.New("the demonstration failed; see the table")

// demo runs the real box on loopback with a gateway double and three phones.
func demo(ctx context.Context, args []string, out io.Writer) (err error) {
	fs := flags("demo")
	once := fs.Bool("once", false, "make the calls, print the table and end")
	debug := fs.Bool("debug", false, "log what is of use to developers only")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler) // the account of the phones is what people read
	if *debug {
		log = logger(true)
	}
	state, err := os.MkdirTemp("", "patchbay-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demonstration: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()

	gateway, err := lab.NewGateway(lab.GatewayConfig{})
	if err != nil {
		return err
	}
	defer gateway.Close()
	cfg, err := demoConfig(state, gateway)
	if err != nil {
		return err
	}
	dhcpAddr := netip.AddrPortFrom(demoBox, freePort("udp", demoBox, 6767))
	box, err := appliance.New(ctx, cfg, appliance.Options{
		Version: version, Log: log,
		ListenDHCP: func(appliance.LAN) (dhcp.PacketConn, dhcp.Prober, error) { return dhcp.ListenLoopback(dhcpAddr) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The page of the box: %s\nOne-time set-up code: %s\n", box.PageURL(), box.SetUpCode())
	fmt.Fprintf(out, "Command line: patchbay phones --socket %s\n\n", filepath.Join(state, appliance.ControlSocket))
	return playDemo(ctx, box, lab.Options{DHCPServer: dhcpAddr, Gateway: gateway, Admin: demoAdmin{box.Backend()}, Out: out, Once: *once, Log: log})
}

// playDemo runs the box beside the scenario; the box stops last, so that the
// phones can sign off.
func playDemo(ctx context.Context, box *appliance.Appliance, opt lab.Options) error {
	boxCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	playCtx, abort := context.WithCancel(ctx)
	defer abort()
	go func() {
		ended <- box.Run(boxCtx)
		abort() // a box that fails ends the play
	}()
	results, err := lab.Run(playCtx, opt)
	stop()
	boxErr := <-ended
	switch {
	case boxErr != nil:
		return boxErr
	case ctx.Err() != nil: // Ctrl-C is how a person ends it
		return nil
	case err != nil:
		return err
	case !results.OK():
		return errDemo
	}
	return nil
}

// demoConfig is a configuration like any other; only its addresses are on
// loopback and its ports are free ones.
func demoConfig(state string, gateway *lab.Gateway) (appliance.Config, error) {
	ca := filepath.Join(state, "gateway-ca.pem")
	if err := os.WriteFile(ca, gateway.CAPEM(), 0o600); err != nil {
		return appliance.Config{}, fmt.Errorf("write the gateway's CA: %w", err)
	}
	password := filepath.Join(state, "site-line.password")
	site := lab.GatewayLine{User: "site", Name: "Front desk", Number: "+493023125010", AuthUser: "site", Password: rand.Text()}
	gateway.AddLine(site)
	if err := os.WriteFile(password, []byte(site.Password+"\n"), 0o600); err != nil {
		return appliance.Config{}, fmt.Errorf("write the site line's password: %w", err)
	}
	cfg := appliance.Default()
	cfg.Box = appliance.Box{Name: "Demo office", State: state, Country: "DE", TimeZone: "Europe/Berlin", Language: "en"}
	cfg.LANs = []appliance.LAN{{
		Interface: "lo", Address: demoBox, Subnet: demoSubnet, DHCP: "serve", Pools: []string{"127.77.0.10-127.77.0.99"}, Lease: cfg.SIP.Expires,
	}}
	cfg.Provision.HTTPPort = freePort("tcp", demoBox, 8077)
	cfg.Provision.TFTPPort = freePort("udp", demoBox, 6977)
	cfg.SIP.Port = freePort("udp", demoBox, 5060)
	cfg.SIP.TLSPort = freePort("tcp", demoBox, 5061)
	cfg.Gateway = appliance.Gateway{
		Address: gateway.Addr().String(), ServerName: gateway.ServerName(), Domain: gateway.Domain(), CA: ca, Register: true,
	}
	cfg.SiteLine = appliance.SiteLine{AOR: "sip:" + site.User + "@" + gateway.Domain(), Number: site.Number, AuthUser: site.AuthUser, PasswordFile: password}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	cfg.Page.MDNS = false // nobody looks for it on loopback
	cfg.Page.Listen = netip.AddrPortFrom(loopback, freePort("tcp", loopback, 8443)).String()
	return cfg, cfg.Validate()
}

// freePort returns the wanted port of an address, or one that the system
// finds free if somebody has it.
func freePort(network string, addr netip.Addr, wanted uint16) uint16 {
	for _, port := range []uint16{wanted, 0} {
		at := netip.AddrPortFrom(addr, port).String()
		var bound net.Addr
		if network == "tcp" {
			l, err := net.Listen("tcp", at)
			if err != nil {
				continue
			}
			bound = l.Addr()
			_ = l.Close()
		} else {
			c, err := net.ListenPacket("udp", at)
			if err != nil {
				continue
			}
			bound = c.LocalAddr()
			_ = c.Close()
		}
		if _, text, err := net.SplitHostPort(bound.String()); err == nil {
			if n, err := strconv.ParseUint(text, 10, 16); err == nil {
				return uint16(n)
			}
		}
	}
	return wanted // binding it will say what is wrong
}

// demoAdmin is the administrator of the demonstration, at the box's API.
type demoAdmin struct{ box api.Backend }

// AddLine implements lab.Admin.
func (d demoAdmin) AddLine(ctx context.Context, l lab.Line) (int64, error) {
	line, err := api.PutLine(ctx, d.box, api.LineEdit{
		Name: l.DisplayName, AOR: l.AOR, Number: l.Number, Extension: l.Extension, AuthUser: l.AuthUser, Password: &l.AuthPassword,
	})
	return line.ID, err
}

// AddPhone implements lab.Admin.
func (d demoAdmin) AddPhone(ctx context.Context, m mac.Addr) error { return d.box.AddPhone(ctx, m, 0) }

// Assign implements lab.Admin.
func (d demoAdmin) Assign(ctx context.Context, a mac.Account, line int64) error {
	return d.box.Assign(ctx, a, line)
}
