package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/media"
	"patchbay/media/prompt"
	"patchbay/provision/enrol"
	"patchbay/sipedge"
)

func (a *Appliance) buildEndpoint(ctx context.Context) (err error) {
	a.buildCapture()
	cfg := sipedge.EndpointConfig{Tap: a.tap(), Realm: "patchbay", Expires: a.cfg.SIP.Expires, SHA256: a.cfg.SIP.SHA256, Now: a.now, Tick: a.watchdog.Loop("sip")}
	for _, l := range a.cfg.LANs {
		cfg.Listen = append(cfg.Listen, netip.AddrPortFrom(l.Address, a.cfg.SIP.Port))
	}
	if a.cfg.SIP.TLSPort != 0 {
		if cfg.TLS, err = a.phoneTLS(); err != nil {
			return err
		}
		for _, l := range a.cfg.LANs {
			cfg.ListenTLS = append(cfg.ListenTLS, netip.AddrPortFrom(l.Address, a.cfg.SIP.TLSPort))
		}
	}
	cfg.Confirmed = func(acc mac.Account, password string) { a.desk.Confirmed(acc, password) }
	registered := func(acc mac.Account, ip netip.Addr) {
		a.ever.add(acc)
		a.noteSource(acc, ip)
		a.desk.Heard(acc.MAC)
		a.windows.Home(acc.MAC, ip)
		a.refreshed(acc, ip)
		a.sawAgent(acc)
	}
	a.endpoint, err = sipedge.NewEndpoint(ctx, cfg, accounts{a.directory, nil}, a.whois, a.db.Bindings(), registered, a.record, a.log)
	if err != nil {
		if errors.Is(err, sipedge.ErrBindTLS) {
			return explainBind("SIP over TLS", "port "+strconv.Itoa(int(a.cfg.SIP.TLSPort)), "sip.tls_port", err)
		}
		return explainBind("SIP", "port "+strconv.Itoa(int(a.cfg.SIP.Port)), "sip.port", err)
	}
	a.closers = append(a.closers, a.endpoint.Close)
	for _, b := range a.endpoint.Location().Bindings() {
		a.ever.add(b.Account)
	}
	opened := func(m mac.Addr) { a.windows.Open(m, netip.Addr{}, story.WindowByAdmin) }
	changed := func() {
		select {
		case a.changed <- struct{}{}:
		default: // somebody will look anyway
		}
	}
	a.desk = enrol.NewDesk(a.directory, phoneWay{a}, opened, changed)
	a.closers = append(a.closers, a.desk.Close)
	return nil
}

func (a *Appliance) buildUplink(context.Context) error {
	g := a.cfg.Gateway
	if g.Address == "" {
		return nil
	}
	cfg, err := g.uplink()
	if err != nil {
		return err
	}
	cfg.Tap, cfg.Tick = a.tap(), a.watchdog.Loop("uplink")
	if g.UserTokens {
		cfg.UserToken = func(line int64, server string, refused bool) (string, error) {
			return a.tokens.Token(line, server, refused)
		}
	}
	if a.uplink, err = sipedge.NewGateways(cfg, a.log); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

func (a *Appliance) buildSIP(ctx context.Context) error {
	ports, err := media.NewPortPool(a.cfg.Media.FirstPort, a.cfg.Media.LastPort, portRest)
	if err != nil {
		return fmt.Errorf("media: %w", err)
	}
	plan, ok := sipedge.NewDialPlan(a.cfg.Box.Country)
	if !ok {
		return fmt.Errorf("box.country = %q: the dial plan of this country is not known; write the code of one that dials alike", a.cfg.Box.Country)
	}
	a.emergency = plan.Emergency()
	cfg := sipedge.ServerConfig{
		Country: a.cfg.Box.Country, Ports: ports, Register: a.cfg.Gateway.Register, SRTP: srtpPolicies[a.cfg.SIP.SRTP], Now: a.now, Tick: a.watchdog.Loop("calls"),
		Features: features{a}, DirectMedia: a.cfg.Media.Direct,
	}
	if cfg.Prompts, err = prompt.New(a.cfg.Box.Country, a.cfg.Media.Hold); err != nil {
		return err
	}
	if cfg.Trunk, err = a.cfg.sipTrunk(); err != nil {
		return err
	}
	cfg.Codes = a.cfg.featureCodes()
	a.help = newEmergencies(a.cfg.Emergency.Webhook, a.log)
	cfg.Emergency = sipedge.EmergencyConfig{
		Locator: locator{a}, OnSite: a.cfg.Emergency.OnSite, Test: a.cfg.Emergency.Test, Alarm: a.help.tell,
	}
	cfg.Language = a.spoken
	if a.settings, err = sipedge.NewSettings(ctx, a.db.LineSettings()); err != nil {
		return err
	}
	cfg.Settings, cfg.Forward, cfg.Policy = a.settings, forwarding{a}, a.policyOf
	if cfg.CallBacks, err = a.db.Whereabouts().CallBacks(ctx, a.now()); err != nil {
		return err
	}
	cfg.CallBackStore = a.db.Whereabouts()
	var uplink sipedge.Uplink
	if a.uplink != nil { // a nil pointer in the interface would not be nil
		uplink = a.uplink
	}
	if err = a.buildDrills(ctx); err != nil {
		return err
	}
	a.sip, err = sipedge.NewServer(cfg, a.endpoint, accounts{a.directory, a.userToken()}, uplink, a.callStore(), a.record, a.log)
	return err
}

// putSiteLine brings the line of the configuration into the inventory.
func (a *Appliance) putSiteLine(ctx context.Context) error {
	s := a.cfg.SiteLine
	if s.AOR == "" {
		return nil
	}
	password, err := s.Password()
	if err != nil {
		return err
	}
	l := enrol.Line{AOR: s.AOR, DisplayName: a.cfg.Box.Name, Number: s.Number, AuthUser: s.AuthUser, AuthPassword: password, Site: true}
	for _, old := range a.directory.Lines() {
		if old.Site {
			l.ID, l.Extension = old.ID, old.Extension
		}
	}
	stored, err := a.desk.PutLine(ctx, l)
	if err != nil {
		return fmt.Errorf("site_line: %w", err)
	}
	a.siteLine = stored.ID
	return nil
}

// emergencyPrefix returns the emergency number that an extension begins with;
// empty if none.
func (a *Appliance) emergencyPrefix(extension string) string {
	for _, n := range a.emergency {
		if strings.HasPrefix(extension, n) {
			return n
		}
	}
	return ""
}
