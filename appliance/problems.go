package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patchbay/appliance/acme"
	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/appliance/switchport"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/firmware"
	"patchbay/sipedge"
)

// condition is the state of the box that problems are told from. It is
// gathered for each question and holds no reference into a package.
type condition struct {
	gatewayConfigured bool
	gateway           string
	gatewayUp         bool
	gatewaySince      time.Time
	gatewayDetail     string

	trunk   string // address of the fallback trunk; empty: none
	trunkUp bool
	onSite  bool // somebody on site gets emergency calls that go nowhere else

	helpless      sipedge.EmergencyCall // the last one that did not reach the services
	helplessKnown bool

	siteLineConfigured bool
	siteLineOK         bool
	siteLineSince      time.Time
	siteLineDetail     string

	pools     []poolUse
	conflicts []conflict
	deaf      []string // interfaces without LLDP, and why

	untaken     []untakenOffers
	relaySilent []relaySilent

	stolen  []twoSources     // device identities that are used from two places
	walks   []provision.Walk // who tries one MAC address after the other
	noHTTPS error            // why phones have no HTTPS

	drillFaults []string // what the last drill found
	drillBegan  time.Time

	silentSwitches []switchport.Fault // that do not say where phones hang

	halted []firmware.Rollout // that stopped by themselves
	tooOld int                // phones that the cloud gateway would not take with their firmware

	orderFault error     // why the last order for a public certificate came to nothing
	publicEnds time.Time // end of the public certificate; zero: there is none
	uploaded   bool      // and an administrator brought it

	pnpHeld []pnpHeld // who asked by PnP and was not answered

	now        time.Time
	dropped    uint64 // story and call rows that found no room in the buffer
	storeErr   string // last write that failed, empty if writing works
	clockUnset bool
}

// certificateSoon is how long before its end people are told of a certificate
// that they have to renew.
const certificateSoon = 28 * 24 * time.Hour

// pnpHeld is one device that got no answer by PnP.
type pnpHeld struct {
	mac    mac.Addr
	ip     netip.Addr
	reason story.Reason
	since  time.Time
}

// poolUse is how full the pools of one interface are.
type poolUse struct {
	iface      string
	used, size int
}

// conflict is another DHCP server on an interface of ours.
type conflict struct {
	iface string
	ip    netip.Addr
	mac   mac.Addr
	since time.Time
	quiet bool // we make no offers because of it

	vendor string // of its interface; empty if not known
	relay  bool   // we relay there, and don't because of it
}

// poolNearlyFull is the share of a pool from which on a warning is due: a
// visitor's laptops must not be able to take the last address unnoticed.
const poolNearlyFull = 0.9

// problems says what is wrong, worst first. It is pure, so that each sentence
// can be tested.
func problems(c condition) []health.Problem {
	var out []health.Problem
	add := func(code string, s health.Severity, since time.Time, text, fix string) {
		out = append(out, health.Problem{Code: code, Severity: s, Since: since, Text: text, Fix: fix})
	}
	c.wayOut(add)
	c.dhcp(add)
	for _, p := range c.pools {
		switch {
		case p.size == 0:
		case p.used >= p.size:
			add("pool-full", health.Critical, time.Time{}, fmt.Sprintf("All %d addresses of %s are taken; the next phone gets none.", p.size, p.iface),
				"Enlarge the pools in patchbay.toml, or shorten the lease.")
		case float64(p.used) >= poolNearlyFull*float64(p.size):
			add("pool-nearly-full", health.Warning, time.Time{}, fmt.Sprintf("%d of %d addresses of %s are taken.", p.used, p.size, p.iface),
				"Enlarge the pools in patchbay.toml, or shorten the lease.")
		}
	}
	c.intruders(add)
	if len(c.drillFaults) > 0 {
		add("drill", health.Warning, c.drillBegan, "The last drill found that without the gateway not all works: "+strings.Join(c.drillFaults, "; ")+".",
			"`patchbay drill` shows all drills, and `patchbay drill now` begins one. A fallback trunk or people on site give calls for help a way out.")
	}
	for _, s := range c.silentSwitches {
		add("switch-silent", health.Warning, s.Since, fmt.Sprintf("The switch %s does not say by SNMP where phones hang: %s. Emergency calls go out with what it said last.", s.Switch, s.Err),
			"Check address, community or user and password of the [[switch]] in patchbay.toml, and that the switch lets this box ask.")
	}
	if len(c.pnpHeld) > 0 { // the newest comes first
		h := c.pnpHeld[0]
		add("pnp-held", health.Notice, h.since, fmt.Sprintf("%d device(s) asked by SIP PnP for a configuration and got no answer, last %v from %v: %s.", len(c.pnpHeld), h.mac, h.ip, h.reason.Words()),
			"If it is a phone of yours, add it under Phones and approve its address; else nothing needs to be done.")
	}
	for _, t := range c.stolen {
		add("two-sources", health.Critical, t.since, fmt.Sprintf("The device identity of %v is used from two places, %v and %v: one of them is a copy.", t.account, t.ip, t.other),
			"Find out which of the two is the phone, take the other one off the network, and give the phone a new device password on its page.")
	}
	for _, r := range c.halted {
		text := fmt.Sprintf("The roll-out of firmware %s to %s has stopped by itself", r.Version, r.Target)
		for _, s := range r.Steps {
			if s.State == firmware.Failed {
				text += fmt.Sprintf(": %v, %s", s.MAC, s.Why.Words())
				break
			}
		}
		add("firmware-halted", health.Warning, r.Changed, text+".", "Look at that phone; then go on with the roll-out, or roll it back, on the page Firmware.")
	}
	if c.tooOld > 0 && c.gatewayConfigured {
		add("firmware-old", health.Notice, time.Time{}, fmt.Sprintf("The Teams SIP gateway would not take %d phone(s) with the firmware that they have.", c.tooOld),
			"The page Firmware says which, and brings them another one.")
	}
	for _, text := range c.deaf {
		add("lldp", health.Notice, time.Time{}, "What the switch says by LLDP can't be heard on "+text+".",
			"Nothing to do unless you want to see the switch port of the box here.")
	}
	if c.storeErr != "" {
		add("store", health.Critical, time.Time{}, "The database can't be written: "+c.storeErr+".", "Make room on the disk, or replace it; nothing new is accepted until then.")
	}
	if c.dropped > 0 {
		add("dropped", health.Notice, time.Time{}, fmt.Sprintf("%d entries of stories or calls were lost because the disk was too slow.", c.dropped), "Nothing to do unless the number grows.")
	}
	if c.clockUnset {
		add("clock", health.Warning, time.Time{}, "The clock of the box is not set.", "Connect the box to the Internet, or set an NTP server for it.")
	}
	slices.SortStableFunc(out, func(a, b health.Problem) int { return int(b.Severity) - int(a.Severity) })
	return out
}

// intruders says what looks as if somebody wanted to be a phone.
func (c condition) intruders(add func(code string, s health.Severity, since time.Time, text, fix string)) {
	for _, w := range c.walks {
		who := w.IP.String()
		if !w.MAC.IsZero() {
			who += " (" + w.MAC.String() + ")"
		}
		add("walk", health.Warning, w.First, fmt.Sprintf("%s asks for the configurations of one phone after the other; it was refused those of %d phones so far, and is slowed down.", who, w.Phones),
			"Find out what it is, and take it off the phones' network if it does not belong there.")
	}
	if c.orderFault != nil {
		text := "No public certificate for phones could be ordered: " + acme.Why(c.orderFault) + "."
		severity := health.Warning
		if !c.publicEnds.IsZero() {
			text += " The one that there is ends on " + c.publicEnds.Format(time.DateOnly) + "."
			severity = health.Notice
		}
		add("no-certificate", severity, time.Time{}, text, "See [acme] in the configuration file; patchbay certificate order tries again.")
	}
	if left := c.publicEnds.Sub(c.now); c.uploaded && left < certificateSoon {
		severity, text := health.Notice, "The certificate that phones are shown ends on "
		if left < certificateSoon/4 {
			severity = health.Warning
		}
		if left < 0 {
			text = "Phones that verify the box can't fetch by HTTPS, for its certificate ended on "
		}
		add("certificate-ends", severity, time.Time{}, text+c.publicEnds.Format(time.DateOnly)+".",
			"Upload a new one at the page (Phones, Certificate), or go back to the box's own.")
	}
	if c.noHTTPS != nil {
		add("no-https", health.Notice, time.Time{}, "Phones can't fetch by HTTPS: "+c.noHTTPS.Error()+".",
			"Free the port, or set provision.https_port to another one, or to 0 if no phone needs it.")
	}
}

// survival says what works without the gateway.
func (c condition) survival() string {
	switch {
	case c.trunk != "" && c.trunkUp:
		return "calls to elsewhere and emergency calls go out by the fallback trunk " + c.trunk + "."
	case c.onSite:
		return "phones can call each other only, and emergency calls go to people on site."
	}
	return "phones can call each other only, and emergency calls have no way out."
}

// wayOut says whether calls, and emergency calls above all, leave the house.
func (c condition) wayOut(add func(code string, s health.Severity, since time.Time, text, fix string)) {
	if h := c.helpless; c.helplessKnown {
		add("emergency-not-reached", health.Critical, h.Time, fmt.Sprintf("An emergency call to %s from %s (%s) did NOT reach the emergency services.", h.Dialled, h.Name, h.From),
			"Go and see whether help is needed, then find out why there was no way: this notice stays for a day.")
	}
	if c.trunk != "" && !c.trunkUp {
		add("trunk-down", health.Warning, time.Time{}, fmt.Sprintf("The fallback trunk %s does not answer.", c.trunk), "Check the gateway to the telephone network on site, and trunk.address in patchbay.toml.")
	}
	switch {
	case !c.gatewayConfigured:
		add("no-gateway", health.Critical, time.Time{}, "No gateway is set up: "+c.survival(),
			"Fill in [gateway] and [site_line] in patchbay.toml and restart the box.")
	case !c.gatewayUp:
		add("gateway-down", health.Critical, c.gatewaySince,
			fmt.Sprintf("The gateway %s can't be reached (%s): %s", c.gateway, c.gatewayDetail, c.survival()),
			"Check the cable to the Internet and the router; outgoing TCP to the gateway's port must be allowed.")
	case !c.siteLineConfigured:
		add("no-site-line", health.Critical, time.Time{}, "No site line is set up: phones that nobody is signed in to can't call for help.",
			"Fill in [site_line] in patchbay.toml and restart the box.")
	case !c.siteLineOK:
		add("site-line", health.Critical, c.siteLineSince, fmt.Sprintf("The site line is not registered at the gateway (%s).", c.siteLineDetail),
			"Compare user name and password of [site_line] with what the gateway expects.")
	}
}
