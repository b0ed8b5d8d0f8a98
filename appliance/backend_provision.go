package appliance

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"patchbay/appliance/acme"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/upload"
)

// Uploads implements api.Provisioning.
func (b backend) Uploads(_ context.Context, m mac.Addr) ([]api.Upload, error) {
	files := b.a.doors.uploads.List(m)
	if _, ok := b.a.directory.Phone(m); !ok && len(files) == 0 {
		return nil, api.ErrNotFound
	}
	out := make([]api.Upload, len(files))
	for i, f := range files {
		out[i] = api.Upload{ID: f.ID, Name: f.Name, Size: f.Size, Time: f.Time}
	}
	return out, nil
}

// Upload implements api.Provisioning.
func (b backend) Upload(_ context.Context, m mac.Addr, id string) (api.Upload, []byte, error) {
	f, content, err := b.a.doors.uploads.Read(m, id)
	if errors.Is(err, upload.ErrUnknown) {
		return api.Upload{}, nil, api.ErrNotFound
	}
	return api.Upload{ID: f.ID, Name: f.Name, Size: f.Size, Time: f.Time}, content, err
}

// PersonalPath implements api.Provisioning.
func (b backend) PersonalPath(_ context.Context, m mac.Addr) (api.PersonalPath, error) {
	if _, ok := b.a.directory.Phone(m); !ok {
		return api.PersonalPath{}, api.ErrNotFound
	}
	scheme, port, usual := "http", b.a.cfg.Provision.HTTPPort, uint16(80)
	if b.a.cfg.Provision.HTTPSPort != 0 && b.a.doors.noHTTPS == nil && b.a.doors.publicKey.current() != nil {
		scheme, port, usual = "https", b.a.cfg.Provision.HTTPSPort, 443
	}
	host := ""
	for _, l := range b.a.cfg.LANs {
		host = cmp.Or(host, l.Address.String())
	}
	if leaf := b.a.doors.publicKey.leaf(); leaf != nil && scheme == "https" {
		for _, name := range leaf.DNSNames { // it is not good for addresses
			if !strings.HasPrefix(name, "*.") {
				host = name
				break
			}
		}
	}
	if port != usual {
		host += ":" + strconv.Itoa(int(port))
	}
	return api.PersonalPath{URL: scheme + "://" + host + b.a.doors.paths.Path(m)}, nil
}

// RenewPath implements api.Provisioning.
func (b backend) RenewPath(ctx context.Context, m mac.Addr) (api.PersonalPath, error) {
	p, err := b.newPath(ctx, m)
	return p, b.audited(ctx, "renew-path", m.String(), "", err)
}

func (b backend) newPath(ctx context.Context, m mac.Addr) (api.PersonalPath, error) {
	if _, ok := b.a.directory.Phone(m); !ok {
		return api.PersonalPath{}, api.ErrNotFound
	}
	if err := b.a.renewPath(ctx, m); err != nil {
		return api.PersonalPath{}, err
	}
	return b.PersonalPath(ctx, m)
}

// tlsChanges are the changes in words that follow "when".
var tlsChanges = map[provision.Change]string{
	provision.NoDES:   "3DES is switched off",
	provision.NoTLS10: "TLS 1.0 is switched off",
	provision.NoTLS11: "TLS 1.1 is switched off",
	provision.NoOld:   "RSA key exchange and CBC are switched off (tls_old = false)",
	provision.NoTLS12: "only TLS 1.3 is left",
}

// PhonesTLS implements api.Provisioning.
func (b backend) PhonesTLS(context.Context) (api.PhonesTLS, error) {
	d := &b.a.doors
	d.mu.Lock()
	defer d.mu.Unlock()
	var out api.PhonesTLS
	for m, o := range d.offers {
		p := api.PhoneTLS{MAC: m, Max: tls.VersionName(o.Max), Time: o.Time}
		if o.Version != 0 {
			p.Version, p.Suite = tls.VersionName(o.Version), tls.CipherSuiteName(o.Suite)
		}
		out.Phones = append(out.Phones, p)
	}
	slices.SortFunc(out.Phones, func(x, y api.PhoneTLS) int { return x.MAC.Compare(y.MAC) })
	for _, c := range provision.Changes {
		change := api.TLSChange{Change: string(c), Text: tlsChanges[c]}
		for _, p := range out.Phones {
			// Who can't connect now loses nothing.
			if o := d.offers[p.MAC]; o.Version != 0 && o.Breaks(c) {
				change.Phones = append(change.Phones, p.MAC)
			}
		}
		out.Changes = append(out.Changes, change)
	}
	return out, nil
}

// Certificate implements api.Provisioning.
func (b backend) Certificate(context.Context) (api.Certificate, error) {
	keys := b.a.doors.publicKey
	cert, err := keys.choose(nil)
	if err != nil {
		return api.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return api.Certificate{}, err
	}
	c := certificateView(leaf, keys.source())
	c.Since = keys.since()
	if b.a.order != nil {
		var fault error
		c.Ordered, c.Got = true, b.a.order.succeeded()
		if c.Tried, fault = b.a.order.last(); fault != nil {
			c.Fault, c.Detail = acme.Why(fault), fault.Error()
		}
	}
	return c, nil
}

// OrderCertificate implements api.Provisioning.
func (b backend) OrderCertificate(ctx context.Context) error {
	var err error
	if b.a.order == nil {
		err = &api.Invalid{Field: "order", Text: "no certificate is ordered here; see [acme] in the configuration file"}
	} else {
		b.a.order.hurry()
	}
	return b.audited(ctx, "certificate-order", strings.Join(b.a.cfg.ACME.Names, " "), "", err)
}

func certificateView(leaf *x509.Certificate, from certSource) api.Certificate {
	c := api.Certificate{
		Public: from != certOwn, Source: string(from), Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Names: slices.Clone(leaf.DNSNames),
		From: leaf.NotBefore, Until: leaf.NotAfter, Key: keyKind(leaf.PublicKey),
	}
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			c.Names = append(c.Names, a.Unmap().String())
		}
	}
	return c
}

// PutCertificate implements api.Provisioning.
func (b backend) PutCertificate(ctx context.Context, e api.CertificateEdit) (api.Certificate, error) {
	c, err := b.putCertificate(ctx, e)
	detail := ""
	if err == nil {
		detail = strings.Join(c.Names, " ") + " until " + c.Until.Format(time.DateOnly)
	}
	return c, b.audited(ctx, "put-certificate", "", detail, err)
}

func (b backend) putCertificate(ctx context.Context, e api.CertificateEdit) (api.Certificate, error) {
	text := []byte(e.PEM)
	pair, err := readPair(text, b.a.now())
	if err != nil {
		return api.Certificate{}, &api.Invalid{Field: "pem", Text: "the certificate can't be used: " + err.Error()}
	}
	if !e.AnyName {
		if err := b.leadsHere(ctx, pair.Leaf); err != nil {
			return api.Certificate{}, err
		}
	}
	if _, err := b.a.doors.publicKey.put(text, certUploaded, b.a.now()); err != nil {
		return api.Certificate{}, err
	}
	return b.Certificate(ctx)
}

// leadsHere says if no name of a certificate is one of the box, as far as it
// can tell.
func (b backend) leadsHere(ctx context.Context, leaf *x509.Certificate) error {
	names, _ := b.a.hosts()
	names = slices.DeleteFunc(append(names, b.a.cfg.ACME.Names...), func(name string) bool { return name == "localhost" })
	var addrs []netip.Addr
	for _, l := range b.a.cfg.LANs {
		addrs = append(addrs, l.Address)
	}
	look := func(ctx context.Context, name string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
	}
	if leadsHere(ctx, leaf, names, addrs, look) {
		return nil
	}
	return &api.Invalid{Field: "any_name", Text: fmt.Sprintf("no name of the certificate (%s) is one of this box, and DNS leads none to %s; put a record for it there, or say that phones reach the box by it all the same",
		strings.Join(certificateView(leaf, certUploaded).Names, ", "), strings.Join(addrTexts(addrs), " or "))}
}

// DropCertificate implements api.Provisioning.
func (b backend) DropCertificate(ctx context.Context) error {
	err := b.a.doors.publicKey.drop()
	if err == nil && b.a.order != nil {
		b.a.order.hurry()
	}
	return b.audited(ctx, "drop-certificate", "", "", err)
}
