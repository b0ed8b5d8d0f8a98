package appliance

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"patchbay/appliance/mdns"
	"patchbay/appliance/store"
	"patchbay/appliance/story"
	"patchbay/appliance/switchport"
	"patchbay/appliance/web"
	"patchbay/appliance/web/api"
	"patchbay/dhcp"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
	"patchbay/provision/firmware"
	"patchbay/sipedge"
	"patchbay/sipedge/hep"
	"patchbay/systemd"
)

// ControlSocket is the name of the socket in the state directory on which
// the daemon answers the command line.
const ControlSocket = "control.sock"

// portRest is how long a closed media port is not given to another call, so
// that late packets of the old one are not heard in the new one.
const portRest = 30 * time.Second

// Options are what differs between ways of running the box, besides the
// configuration.
type Options struct {
	Version string
	Log     *slog.Logger
	// ListenDHCP opens the DHCP socket of an interface; nil means the real
	// one of the system.
	ListenDHCP func(l LAN) (dhcp.PacketConn, dhcp.Prober, error)
	// Notify tells the service manager; nil means nobody.
	Notify *systemd.Notifier
}

// Appliance is the whole box, wired. Make one with [New] and run it once.
type Appliance struct {
	cfg     Config
	opt     Options
	log     *slog.Logger
	now     func() time.Time
	started time.Time

	db        *store.DB
	directory *enrol.Directory
	desk      *enrol.Desk
	windows   *provision.Windows
	catalog   *provision.Catalog
	arrivals  *arrivals
	dhcp      []lanServer
	clock     *dhcp.Clock
	whois     *dhcp.Whois
	lldp      []*dhcp.LLDP
	reserving sync.Mutex // one reservation is changed at a time
	endpoint  *sipedge.Endpoint
	pnp       *sipedge.PnP      // nil: on no interface
	uplink    *sipedge.Gateways // nil: no gateway
	sip       *sipedge.Server
	help      *emergencies
	settings  *sipedge.Settings // what the users of lines want
	hep       *hep.Exporter     // nil: no capture server
	provision *provision.Server
	doors     provisioning
	images    *firmware.Store
	imagesDir *os.Root
	rollouts  *firmware.Rollouts
	agents    agents
	page      *web.Server
	mdns      []*mdns.Responder
	control   *api.Unix
	watchdog  *systemd.Watchdog
	ca        *authority
	phonesCA  *authority
	order     *ordering // nil: no public certificate is ordered

	emergency []string      // numbers of the country
	siteLine  int64         // id of the line that the configuration sets; 0: none
	changed   chan struct{} // holds one token when lines or their accounts changed
	ever      accountSet
	sources   sources
	ports     switchPorts
	drills    *drills
	switches  *switchport.Finder // nil: there are none to ask
	pairings  *enrol.Pairings
	ownPage   *enrol.OwnPage     // nil: users sign in elsewhere
	remote    *enrol.RemoteLines // nil: lines are in the local directory
	tokens    *enrol.Tokens      // nil: lines have passwords of their own
	troubles  troubles
	claim     sync.Mutex
	setUp     string // the set-up code, empty once the box is claimed
	closers   []func() error
}

// lanServer is the DHCP server of one interface.
type lanServer struct {
	lan    LAN
	server *dhcp.Server
}

// New builds the box: it opens the database, restores what phones rely on,
// and binds every socket. Nothing is answered before [Appliance.Run].
// An error says what to do about it. On error nothing stays open.
func New(ctx context.Context, cfg Config, opt Options) (_ *Appliance, err error) {
	a := &Appliance{cfg: cfg, opt: opt, log: opt.Log, now: time.Now, started: time.Now(), changed: make(chan struct{}, 1)}
	if a.opt.ListenDHCP == nil {
		a.opt.ListenDHCP = listenDHCP
	}
	a.watchdog = systemd.NewWatchdog(opt.Notify, a.log)
	if opt.ListenDHCP == nil { // real interfaces
		a.buildLLDP()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	for _, build := range []func(context.Context) error{
		a.openStore, a.buildInventory, a.buildDHCP, a.buildEndpoint, a.buildPnP, a.buildUplink, a.buildSIP, a.putSiteLine, a.buildFirmware, a.buildPage, a.buildSignIn, a.buildProvision, a.buildMDNS,
	} {
		if err := build(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// listenDHCP opens the socket of a real interface.
func listenDHCP(l LAN) (dhcp.PacketConn, dhcp.Prober, error) {
	conn, prober, err := dhcp.Listen(l.Interface, l.Address, 67)
	if err != nil { // it says itself what to do
		return nil, nil, fmt.Errorf("DHCP on %s: %w", l.Interface, err)
	}
	return conn, prober, nil
}

func (a *Appliance) openStore(ctx context.Context) error {
	dir := a.cfg.Box.State
	fault := func(err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("box.state = %q: %w; name a directory that this user may write, or run as the user who did", dir, err)
		}
		return fmt.Errorf("box.state = %q: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("box.state = %q: %w; name a directory that this user may write", dir, err)
	}
	key, err := store.LoadKey(filepath.Join(dir, "secret.key"))
	if err != nil {
		return fault(err)
	}
	if a.db, err = store.Open(ctx, filepath.Join(dir, "patchbay.db"), key, a.log); err != nil {
		return fault(err)
	}
	a.closers = append(a.closers, a.db.Close)
	if a.ca, err = pageAuthority(dir, a.cfg.Box.Name); err != nil {
		return err
	}
	a.phonesCA, err = phonesAuthority(dir, a.cfg.Box.Name)
	return err
}

func (a *Appliance) buildInventory(ctx context.Context) (err error) {
	if a.catalog, err = provision.NewCatalog(); err != nil {
		return err
	}
	if a.directory, err = enrol.NewDirectory(ctx, a.db.Inventory(), a.tell, a.now); err != nil {
		return err
	}
	if a.ports.by, err = a.db.Whereabouts().SwitchPorts(ctx); err != nil {
		return err
	}
	a.ports.put = a.db.Whereabouts().PutSwitchPort
	if err = a.buildSwitches(); err != nil {
		return err
	}
	a.windows = provision.NewWindows(a.cfg.Provision.Window, a.now, a.record)
	return a.restoreProvisioning(ctx)
}

// record puts an event on the story of a phone, notes that the phone lives if
// it was the phone that spoke, and ends an approval for once that it has used.
func (a *Appliance) record(m mac.Addr, e story.Event) {
	a.tell(m, e)
	a.troubles.add(m, e)
	if e.Code == story.Registered {
		// Not with the first file: some phones fetch two that name their password.
		a.directory.Used(e.Args.IP)
	}
	if e.Dir == story.In {
		a.directory.Saw(m)
	}
}

// tell writes an event down, with the vendor by the name that people know.
func (a *Appliance) tell(m mac.Addr, e story.Event) {
	e.Args.Vendor = a.vendorTitle(e.Args.Vendor)
	a.db.Story().Record(m, e)
}

// vendorTitle is the name of a vendor of the catalogue for people; what is
// not in it stays as it is.
func (a *Appliance) vendorTitle(name string) string {
	if v, ok := a.catalog.Vendor(name); ok {
		return v.Title
	}
	return name
}

func (a *Appliance) buildDHCP(ctx context.Context) error {
	a.arrivals = newArrivals(a.catalog, a.directory, a.watchdog.Loop("arrivals"), a.log)
	acked := func(l dhcp.Lease) {
		a.windows.Open(l.MAC, l.IP, story.WindowByLease)
		a.arrivals.acked(l)
	}
	clock, err := dhcp.NewClock(ctx, a.db.Leases(), a.watchdog.Loop("dhcp clock"), a.log)
	if err != nil {
		return err
	}
	a.clock = clock
	// All sockets first: that of a relay stands beside those of the interfaces.
	conns, probers := make([]dhcp.PacketConn, len(a.cfg.LANs)), make([]dhcp.Prober, len(a.cfg.LANs))
	for i, l := range a.cfg.LANs {
		if l.DHCP == dhcp.Off.String() {
			continue
		}
		if conns[i], probers[i], err = a.opt.ListenDHCP(l); err != nil {
			return err
		}
		a.closers = append(a.closers, conns[i].Close)
	}
	var servers []*dhcp.Server
	passes := a.cfg.passes()
	for i, l := range a.cfg.LANs {
		if l.DHCP == dhcp.Off.String() {
			continue // and no loop that the watchdog would miss
		}
		cfg, err := dhcpConfig(l, a.watchdog.Loop("dhcp "+l.Interface))
		if err != nil {
			return err
		}
		boot, err := a.bootFor(l)
		if err != nil {
			return err
		}
		cfg.Clock, cfg.Passes, cfg.Enrolled, cfg.Ours = clock, passes, a.directory.Enrolled, a.cfg.ours(l.Interface)
		if cfg.Beside, err = a.beside(ctx, l.Interface); err != nil {
			return err
		}
		server, err := dhcp.New(ctx, conns[i], probers[i], cfg, a.db.Leases(), withInventory{boot, a.directory.Known, &a.ports}, acked, a.record, a.log)
		if err != nil {
			return fmt.Errorf("DHCP on %s: %w", l.Interface, err)
		}
		a.dhcp = append(a.dhcp, lanServer{l, server})
		servers = append(servers, server)
	}
	a.whois = dhcp.NewWhois(servers, dhcp.KernelNeighbors(), a.directory.Bound)
	return a.applyReservations(ctx)
}

func (a *Appliance) buildPage(ctx context.Context) (err error) {
	names, addrs := a.hosts()
	cert, err := a.ca.page(a.cfg.Box.State, a.now(), names, addrs)
	if err != nil {
		return err
	}
	zone, err := time.LoadLocation(a.cfg.Box.TimeZone)
	if err != nil {
		return fmt.Errorf("box.time_zone: %w", err)
	}
	cfg := web.Config{
		Listen:      a.cfg.Page.Listen,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		CA:          a.ca.cert.Raw, Hosts: append(names, addrTexts(addrs)...), Location: zone, Language: a.cfg.Box.Language, Now: a.now, Tick: a.watchdog.Loop("page"),
	}
	if a.page, err = web.New(cfg, backend{a}, a.log); err != nil {
		return explainBind("the page", a.cfg.Page.Listen, "page.listen", err)
	}
	a.closers = append(a.closers, a.page.Close)
	socket := filepath.Join(a.cfg.Box.State, ControlSocket)
	if a.control, err = api.ListenUnix(socket, backend{a}, a.watchdog.Loop("control"), a.log); err != nil {
		return err
	}
	a.closers = append(a.closers, a.control.Close)
	return a.makeSetUpCode(ctx)
}

// hosts are the names and addresses by which people open the page.
func (a *Appliance) hosts() (names []string, addrs []netip.Addr) {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "patchbay"
	}
	host = strings.ToLower(host)
	names = a.cfg.withMDNS([]string{host, strings.SplitN(host, ".", 2)[0] + ".local", "localhost"})
	addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), fallback}
	for _, l := range a.cfg.LANs {
		addrs = append(addrs, l.Address)
	}
	return names, addrs
}

func addrTexts(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, ip := range addrs {
		out[i] = ip.String()
	}
	return out
}

// makeSetUpCode makes sure that an unclaimed box has a code. Its characters
// can't be taken for one another, since it is read from a screen.
func (a *Appliance) makeSetUpCode(ctx context.Context) error {
	access, err := backend{a}.Access(ctx)
	if err != nil || access.PasswordHash != "" {
		return err
	}
	a.setUp = access.SetUpCode
	if a.setUp == "" {
		text := strings.ToLower(rand.Text()) // base32: 5 bits a character
		a.setUp = text[:4] + "-" + text[4:8] + "-" + text[8:12]
		return a.db.Settings().PutSecret(ctx, settingSetUpCode, a.setUp)
	}
	return nil
}

// SetUpCode is the one-time code by which the first administrator claims the
// box; empty if it is claimed already.
func (a *Appliance) SetUpCode() string { return a.setUp }

// Fingerprint is that of the box's own authority, which signed the page's
// certificate: for the console, to compare with what a browser shows.
func (a *Appliance) Fingerprint() string { return web.Fingerprint(a.ca.cert.Raw) }

// Backend is the box as administrators see and change it; it may be asked
// while Run runs.
func (a *Appliance) Backend() api.Backend { return backend{a} }

// PageURL is where people open the page.
func (a *Appliance) PageURL() string {
	host := a.page.Addr().Addr()
	if host.IsUnspecified() && len(a.cfg.LANs) > 0 {
		host = a.cfg.LANs[0].Address
	}
	return "https://" + net.JoinHostPort(host.String(), strconv.Itoa(int(a.page.Port()))) + "/"
}

// Run answers until ctx ends, then stops in order: first what talks to
// phones and people, then the uplink, last the store. It closes everything.
func (a *Appliance) Run(ctx context.Context) error {
	front, base := a.tasks()
	a.opt.Notify.Ready("serving " + strconv.Itoa(len(a.cfg.LANs)) + " network(s)")
	err := runTasks(ctx, front, base, a.log)
	a.opt.Notify.Stopping()
	return errors.Join(err, a.close())
}

// tasks returns every long-lived goroutine of the box in its group.
func (a *Appliance) tasks() (front, base []Task) {
	for _, d := range a.dhcp {
		front = append(front, d.server)
	}
	for _, l := range a.lldp {
		front = append(front, l)
	}
	front = append(front, a.clock)
	for _, t := range a.provision.Tasks() {
		front = append(front, t)
	}
	if a.pnp != nil {
		for _, t := range a.pnp.Tasks() {
			front = append(front, t)
		}
	}
	for _, r := range a.mdns {
		front = append(front, r)
	}
	front = append(front, a.page, a.control)
	for _, t := range a.sip.Tasks() {
		front = append(front, t)
	}
	if a.switches != nil {
		front = append(front, a.switches)
	}
	front = append(front, a.drills, &lineSync{a}, a.arrivals, a.desk, a.rollouts)
	if a.remote != nil {
		front = append(front, a.remote)
	}
	if a.tokens != nil {
		front = append(front, a.tokens)
	}
	for _, t := range a.endpoint.Tasks() {
		base = append(base, t)
	}
	if a.uplink != nil {
		base = append(base, a.uplink)
	}
	if a.order != nil {
		front = append(front, a.order)
	}
	if a.hep != nil {
		base = append(base, a.hep)
	}
	base = append(base, a.help)
	base = append(base, a.db.Task(a.watchdog.Loop("store")), a.watchdog)
	return front, base
}

// close releases what New opened, newest first.
func (a *Appliance) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		if err := a.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	a.closers = nil
	return errors.Join(errs...)
}

// lineSync tells the SIP server when lines or their accounts changed.
type lineSync struct{ a *Appliance }

// String names the task.
func (l *lineSync) String() string { return "line sync" }

// Run implements Task.
func (l *lineSync) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.a.changed:
			l.a.sip.Sync()
		}
	}
}
