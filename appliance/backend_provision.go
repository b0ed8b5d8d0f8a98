package appliance

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

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
	cert, err := b.a.doors.publicKey.choose(nil)
	if err != nil {
		return api.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return api.Certificate{}, err
	}
	c := certificateView(leaf, b.a.doors.publicKey.current() != nil)
	if b.a.order != nil {
		var fault error
		c.Ordered = true
		if c.Tried, fault = b.a.order.last(); fault != nil {
			c.Fault = fault.Error()
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

func certificateView(leaf *x509.Certificate, public bool) api.Certificate {
	c := api.Certificate{Public: public, Subject: leaf.Subject.String(), Names: leaf.DNSNames, Until: leaf.NotAfter}
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			c.Names = append(c.Names, a.Unmap().String())
		}
	}
	return c
}

// PutCertificate implements api.Provisioning.
func (b backend) PutCertificate(ctx context.Context, pem string) (api.Certificate, error) {
	c, err := b.putCertificate(ctx, pem)
	action := "put-certificate"
	if pem == "" {
		action = "drop-certificate"
	}
	return c, b.audited(ctx, action, "", "", err)
}

func (b backend) putCertificate(ctx context.Context, pem string) (api.Certificate, error) {
	leaf, err := b.a.doors.publicKey.put([]byte(pem), b.a.now())
	if err != nil {
		return api.Certificate{}, &api.Invalid{Field: "pem", Text: "the certificate can't be used: " + err.Error()}
	}
	if leaf == nil {
		return b.Certificate(ctx)
	}
	return certificateView(leaf, true), nil
}
