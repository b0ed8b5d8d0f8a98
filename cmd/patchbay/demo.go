package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"patchbay/appliance"
	"patchbay/appliance/lab"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

// place is the network of one demonstration. All are on loopback: anybody may
// bind them, and nothing else is there. Who has the DHCP port has the network,
// so that demonstrations can run side by side.
type place struct {
	number uint8
	box    netip.Addr
	server netip.AddrPort // of DHCP
	dhcp   dhcp.PacketConn
	prober dhcp.Prober
}

// takePlace takes the first network that nobody has.
func takePlace() (place, error) {
	var errs []error
	for n := range uint8(32) {
		p := place{number: n, box: netip.AddrFrom4([4]byte{127, 77, n, 1})}
		p.server = netip.AddrPortFrom(p.box, 6767)
		var err error
		if p.dhcp, p.prober, err = dhcp.ListenLoopback(p.server); err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return place{}, fmt.Errorf("no network on loopback is free: %w", errs[0])
}

func (p place) subnet() netip.Prefix { return netip.PrefixFrom(p.box, 24).Masked() }

func (p place) pool() string {
	first, last := p.box.As4(), p.box.As4()
	first[3], last[3] = 10, 199
	return netip.AddrFrom4(first).String() + "-" + netip.AddrFrom4(last).String()
}

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
	at, err := takePlace()
	if err != nil {
		return err
	}
	defer at.dhcp.Close() // closed already if the box came up
	cfg, err := demoConfig(state, at, gateway)
	if err != nil {
		return err
	}
	box, err := appliance.New(ctx, cfg, appliance.Options{
		Version: version, Log: log,
		ListenDHCP: func(appliance.LAN) (dhcp.PacketConn, dhcp.Prober, error) { return at.dhcp, at.prober, nil },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The page of the box: %s\nOne-time set-up code: %s\nFingerprint of its authority: %s\n", box.PageURL(), box.SetUpCode(), box.Fingerprint())
	fmt.Fprintf(out, "Command line: patchbay phones --socket %s\n\n", filepath.Join(state, appliance.ControlSocket))
	return playDemo(ctx, box, lab.Options{DHCPServer: at.server, Gateway: gateway, Admin: demoAdmin{box.Backend()}, Out: out, Once: *once, Log: log})
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
func demoConfig(state string, at place, gateway *lab.Gateway) (appliance.Config, error) {
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
		Interface: "lo", Address: at.box, Subnet: at.subnet(), DHCP: "serve", Pools: []string{at.pool()}, Lease: cfg.SIP.Expires,
	}}
	cfg.Provision.HTTPPort = freePort(at.box, 8077, "tcp")
	cfg.Provision.HTTPSPort = freePort(at.box, 4477, "tcp")
	cfg.Provision.TFTPPort = freePort(at.box, 6977, "udp")
	cfg.SIP.Port = freePort(at.box, 5060, "udp", "tcp")
	cfg.SIP.TLSPort = freePort(at.box, 5061, "tcp")
	cfg.Gateway = appliance.Gateway{
		Address: gateway.Addr().String(), ServerName: gateway.ServerName(), Domain: gateway.Domain(), CA: ca, Register: true,
		Failback: cfg.Gateway.Failback,
	}
	cfg.SiteLine = appliance.SiteLine{AOR: "sip:" + site.User + "@" + gateway.Domain(), Number: site.Number, AuthUser: site.AuthUser, PasswordFile: password}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	cfg.Page.MDNS = false // nobody looks for it on loopback
	cfg.Page.Listen = netip.AddrPortFrom(loopback, freePort(loopback, 8443+uint16(at.number), "tcp")).String()
	return cfg, cfg.Validate()
}

// freePort returns the wanted port of an address, or another one if it is 0 or
// somebody has it in one of the networks ("tcp", "udp").
func freePort(addr netip.Addr, wanted uint16, networks ...string) uint16 {
	for try := range 64 {
		port := wanted
		if try > 0 || wanted == 0 {
			port = uint16(30000 + mathrand.IntN(2768)) // between media and what the system gives to clients
		}
		if isFree(netip.AddrPortFrom(addr, port).String(), networks) {
			return port
		}
	}
	return wanted // binding it will say what is wrong
}

func isFree(addr string, networks []string) bool {
	for _, network := range networks {
		var c io.Closer
		var err error
		if network == "tcp" {
			c, err = net.Listen(network, addr)
		} else {
			c, err = net.ListenPacket(network, addr)
		}
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return true
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
