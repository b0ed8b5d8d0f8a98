package appliance

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"patchbay/appliance/story"
	"patchbay/appliance/web"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/upload"
)

// The kinds of what provisioning keeps in the store.
const (
	keptHome  = "home"  // by MAC address: where the phone was served last
	keptOffer = "tls"   // by MAC address: what it offered by TLS
	keptEpoch = "epoch" // by MAC address: how often its personal path was renewed
)

// settingPathKey is the secret that personal paths are made of.
const settingPathKey = "provision.path-key"

// provisioning is what the doors for phones have beside the packages.
type provisioning struct {
	uploads   *upload.Store
	paths     *provision.Paths
	roots     *provision.Roots
	overrides *provision.Overrides
	sources   *provision.Sources
	changing  sync.Mutex // one override or source is changed at a time
	siteSaid  bool       // the source of the site was said by an administrator; guarded by changing
	noHTTPS   error      // why there is no HTTPS although it is configured
	publicKey *certificates

	mu     sync.Mutex
	offers map[mac.Addr]provision.Offer
}

// restoreProvisioning reads what phones rely on before anything answers.
func (a *Appliance) restoreProvisioning(ctx context.Context) (err error) {
	kept := a.db.Provisioning()
	homes := make(map[mac.Addr]netip.Addr)
	err = eachPhone(ctx, kept.All, keptHome, func(m mac.Addr, text string) error {
		ip, err := netip.ParseAddr(text)
		homes[m] = ip
		return err
	})
	if err != nil {
		return err
	}
	a.windows.Settle(homes, func(m mac.Addr, ip netip.Addr) { kept.Later(keptHome, m.String(), ip.String()) })
	p := &a.doors
	p.offers = make(map[mac.Addr]provision.Offer)
	err = eachPhone(ctx, kept.All, keptOffer, func(m mac.Addr, text string) error {
		var o provision.Offer
		err := json.Unmarshal([]byte(text), &o)
		p.offers[m] = o
		return err
	})
	if err != nil {
		return err
	}
	if p.uploads, err = upload.Open(filepath.Join(a.cfg.Box.State, "uploads"), upload.Default, a.now); err != nil {
		return err
	}
	if err := a.restoreOverrides(ctx); err != nil {
		return err
	}
	if err := a.restoreSources(ctx); err != nil {
		return err
	}
	return a.restorePaths(ctx)
}

// eachPhone reads what is kept of a kind for each phone.
func eachPhone(ctx context.Context, all func(context.Context, string) (map[string]string, error), kind string, take func(mac.Addr, string) error) error {
	texts, err := all(ctx, kind)
	if err != nil {
		return err
	}
	for key, text := range texts {
		m, err := mac.Parse(key)
		if err == nil {
			err = take(m, text)
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", kind, key, err)
		}
	}
	return nil
}

func (a *Appliance) restorePaths(ctx context.Context) error {
	epochs := make(map[mac.Addr]uint32)
	err := eachPhone(ctx, a.db.Provisioning().All, keptEpoch, func(m mac.Addr, text string) error {
		n, err := strconv.ParseUint(text, 10, 32)
		epochs[m] = uint32(n)
		return err
	})
	if err != nil {
		return err
	}
	secret, found, err := a.db.Settings().Get(ctx, settingPathKey)
	if err != nil {
		return err
	}
	if !found {
		key := make([]byte, 32)
		rand.Read(key)
		secret = hex.EncodeToString(key)
		if err := a.db.Settings().PutSecret(ctx, settingPathKey, secret); err != nil {
			return err
		}
	}
	a.doors.paths = provision.NewPaths([]byte(secret), epochs)
	return nil
}

func (a *Appliance) buildProvision(context.Context) error {
	landing, err := web.Landing(a.cfg.Box.Name, a.page.Port(), a.ca.cert.Raw)
	if err != nil {
		return err
	}
	if a.doors.roots, err = provision.ReadRoots(a.cfg.vendorRoots()); err != nil {
		return fmt.Errorf("provision.vendor_roots: %w; remove what is no certificate", err)
	}
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.phonesCA.cert.Raw}))
	cfg := provision.Config{
		Site:      a.cfg.sites(a.emergency, ca),
		Delivered: a.desk.Fetched,
		Landing:   landing,
		Screens:   screens{a},
		Tick:      a.watchdog.Loop("provision"),
		Uploads:   a.doors.uploads,
		Overrides: a.doors.overrides,
		Sources:   a.doors.sources,
		Paths:     a.doors.paths,
		TLS:       a.phonesTLS(),
		Firmware:  a.imagesDir,
		Image:     a.imageOf,
		Loads:     a.loadsImage,
	}
	for _, l := range a.cfg.LANs {
		cfg.Listen = append(cfg.Listen, netip.AddrPortFrom(l.Address, a.cfg.Provision.HTTPPort))
		if a.cfg.Provision.HTTPSPort != 0 {
			cfg.HTTPS = append(cfg.HTTPS, netip.AddrPortFrom(l.Address, a.cfg.Provision.HTTPSPort))
		}
		if a.cfg.Provision.TFTPPort != 0 {
			cfg.TFTP = append(cfg.TFTP, netip.AddrPortFrom(l.Address, a.cfg.Provision.TFTPPort))
		}
	}
	a.provision, err = provision.New(cfg, a.catalog, a.directory, a.whois, a.windows, a.record, a.log)
	if errors.Is(err, provision.ErrHTTPS) && (errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EADDRINUSE)) {
		// Phones come up by plain HTTP, so that they must not wait for this.
		a.log.Warn("no HTTPS for phones", "component", "provision", "err", err)
		a.doors.noHTTPS, cfg.HTTPS = err, nil
		a.provision, err = provision.New(cfg, a.catalog, a.directory, a.whois, a.windows, a.record, a.log)
	}
	if err != nil {
		return explainBind("provisioning", "its port", "provision.http_port, provision.https_port or provision.tftp_port", err)
	}
	a.closers = append(a.closers, a.provision.Close)
	if a.cfg.ACME.Directory != "" {
		a.order = newOrdering(a)
	}
	return nil
}

// phonesTLS is how HTTPS is spoken with phones.
func (a *Appliance) phonesTLS() *provision.TLS {
	a.doors.publicKey = &certificates{dir: a.cfg.Box.State, own: sync.OnceValues(a.phonesCertificate)}
	t := &provision.TLS{
		MinVersion: tlsVersions[a.cfg.Provision.TLSMin], Suites: a.cfg.Provision.suites(),
		Certificate: a.doors.publicKey.choose, Saw: a.sawOffer,
	}
	if a.doors.roots.Len() > 0 {
		t.Roots = a.doors.roots
	}
	return t
}

// phonesCertificate is the box's own certificate for phones: with an RSA key,
// which every phone knows. It is made when the first phone asks, for a small
// processor takes seconds for it.
func (a *Appliance) phonesCertificate() (*tls.Certificate, error) {
	names, addrs := a.hosts()
	cert, err := a.phonesCA.kept(filepath.Join(a.cfg.Box.State, "provision-rsa.pem"), a.now(), names, addrs, rsaKey)
	if err != nil {
		return nil, fmt.Errorf("certificate for phones: %w", err)
	}
	return &cert, nil
}

// sawOffer notes what a phone speaks by TLS, and writes it down if that is
// news.
func (a *Appliance) sawOffer(m mac.Addr, o provision.Offer) {
	a.doors.mu.Lock()
	old, known := a.doors.offers[m]
	a.doors.offers[m] = o
	a.doors.mu.Unlock()
	if known && old.Max == o.Max && old.Version == o.Version && old.Suite == o.Suite && o.Time.Sub(old.Time) < 24*time.Hour {
		return
	}
	if text, err := json.Marshal(o); err == nil {
		a.db.Provisioning().Later(keptOffer, m.String(), string(text))
	}
}

// renewPath makes the personal path that a phone had worthless.
func (a *Appliance) renewPath(ctx context.Context, m mac.Addr) error {
	n := a.doors.paths.Renew(m)
	if err := a.db.Provisioning().Put(ctx, keptEpoch, map[string]string{m.String(): strconv.FormatUint(uint64(n), 10)}); err != nil {
		return err
	}
	a.record(m, story.Event{Time: a.now(), Proto: story.Admin, Code: story.PathRenewed})
	return nil
}
