package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"patchbay/dhcp/mac"
)

// Provisioning is what the doors for phones have to show, and to be told.
type Provisioning interface {
	// Uploads lists what a phone has written to the box, newest first; or
	// [ErrNotFound].
	Uploads(ctx context.Context, m mac.Addr) ([]Upload, error)
	// Upload returns one of them with its content, or [ErrNotFound].
	Upload(ctx context.Context, m mac.Addr, id string) (Upload, []byte, error)
	// PersonalPath returns the address that only this phone is told.
	PersonalPath(ctx context.Context, m mac.Addr) (PersonalPath, error)
	// RenewPath makes that address worthless and returns the new one.
	RenewPath(ctx context.Context, m mac.Addr) (PersonalPath, error)
	// PhonesTLS says what phones speak by HTTPS, and which would stop working.
	PhonesTLS(ctx context.Context) (PhonesTLS, error)
	// Certificate is what phones are shown by HTTPS.
	Certificate(ctx context.Context) (Certificate, error)
	// OrderCertificate has the public certificate ordered now; what comes of it
	// is in Certificate. [*Invalid] if none is ordered here.
	OrderCertificate(ctx context.Context) error
	// PutCertificate has phones shown a certificate from now on. It is on disk
	// before it is in force. [*Invalid] says why it can't be used.
	PutCertificate(ctx context.Context, e CertificateEdit) (Certificate, error)
	// DropCertificate goes back to the box's own; where the box orders one, an
	// order is placed.
	DropCertificate(ctx context.Context) error
}

// Upload is a file that a phone wrote: a log, overrides, a directory.
type Upload struct {
	ID   string    `json:"id"`
	Name string    `json:"name"` // as the phone gave it
	Size int64     `json:"size"` // bytes
	Time time.Time `json:"time"`
}

// UploadList is the answer to a request for all uploads of a phone.
type UploadList struct {
	Uploads []Upload `json:"uploads"`
}

// PersonalPath is an address that is evidence by itself: who asks there is
// this phone, as far as the secret was kept.
type PersonalPath struct {
	URL string `json:"url"` // of the directory, with a slash at its end
}

// PhonesTLS is what phones speak by HTTPS.
type PhonesTLS struct {
	Phones  []PhoneTLS  `json:"phones"`
	Changes []TLSChange `json:"changes"`
}

// PhoneTLS is what one phone offered when it came last.
type PhoneTLS struct {
	MAC     mac.Addr  `json:"mac"`
	Max     string    `json:"max"`             // highest version that it speaks, such as "TLS 1.2"
	Version string    `json:"version"`         // that was agreed on; empty: it could not connect
	Suite   string    `json:"suite,omitempty"` // IANA name
	Time    time.Time `json:"time"`
}

// TLSChange is a tightening of the settings, and who would not survive it.
type TLSChange struct {
	Change string     `json:"change"` // such as "tls-1.0"
	Text   string     `json:"text"`   // "TLS 1.0 is switched off"
	Phones []mac.Addr `json:"phones"`
}

// Certificate is what phones are shown by HTTPS.
type Certificate struct {
	Public  bool      `json:"public"`  // it is not of the box's own CA
	Source  string    `json:"source"`  // own, uploaded or ordered
	Since   time.Time `json:"since"`   // when it came; zero: not known, or the box's own
	Subject string    `json:"subject"` // RFC 2253
	Issuer  string    `json:"issuer"`
	Names   []string  `json:"names"` // names and addresses that it is good for
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Key     string    `json:"key"` // such as "RSA 2048"
	// Ordered says that the box orders certificates itself: Tried is when it did
	// so last, Got when an order last brought one, Fault why the last came to
	// nothing, and Detail that in the words of authority and name server.
	Ordered bool      `json:"ordered"`
	Tried   time.Time `json:"tried"`
	Got     time.Time `json:"got"`
	Fault   string    `json:"fault"`
	Detail  string    `json:"detail"`
}

// CertificateEdit is the request to show phones another certificate.
type CertificateEdit struct {
	PEM string `json:"pem"` // chain, leaf first, and private key
	// AnyName takes one of which no name leads to the box as far as it can tell.
	AnyName bool `json:"any_name,omitempty"`
}

func (h *handler) provisioningRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/phones/{mac}/uploads", Handler: h.do(h.uploads)},
		{Method: http.MethodGet, Path: "/phones/{mac}/uploads/{upload}", Handler: h.upload},
		{Method: http.MethodGet, Path: "/phones/{mac}/path", Handler: h.do(h.personalPath)},
		{Method: http.MethodPost, Path: "/phones/{mac}/path", Handler: h.do(h.renewPath)},
		{Method: http.MethodGet, Path: "/provisioning/tls", Handler: h.do(h.phonesTLS)},
		{Method: http.MethodGet, Path: "/provisioning/certificate", Handler: h.do(h.certificate)},
		{Method: http.MethodPut, Path: "/provisioning/certificate", Handler: h.do(h.putCertificate)},
		{Method: http.MethodDelete, Path: "/provisioning/certificate", Handler: h.do(h.dropCertificate)},
		{Method: http.MethodPost, Path: "/provisioning/certificate/order", Handler: h.do(h.orderCertificate)},
	}
}

func (h *handler) uploads(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	list, err := h.b.Uploads(r.Context(), m)
	return http.StatusOK, UploadList{Uploads: orEmpty(list)}, err
}

// upload sends the file as the phone wrote it, never as something that a
// browser would show or run.
func (h *handler) upload(w http.ResponseWriter, r *http.Request) {
	m, err := pathMAC(r)
	if err == nil {
		var u Upload
		var content []byte
		if u, content, err = h.b.Upload(r.Context(), m, r.PathValue("upload")); err == nil {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Content-Disposition", `attachment; filename="`+fileName(u.Name)+`"`)
			_, _ = w.Write(content)
			return
		}
	}
	h.fail(w, r, err)
}

// fileName makes a name that a phone gave fit for a header and any file
// system.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
}

func (h *handler) personalPath(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	p, err := h.b.PersonalPath(r.Context(), m)
	return http.StatusOK, p, err
}

func (h *handler) renewPath(r *http.Request) (int, any, error) {
	m, err := pathMAC(r)
	if err != nil {
		return 0, nil, err
	}
	p, err := h.b.RenewPath(r.Context(), m)
	return http.StatusOK, p, err
}

func (h *handler) phonesTLS(r *http.Request) (int, any, error) {
	t, err := h.b.PhonesTLS(r.Context())
	t.Phones, t.Changes = orEmpty(t.Phones), orEmpty(t.Changes)
	for i := range t.Changes {
		t.Changes[i].Phones = orEmpty(t.Changes[i].Phones)
	}
	return http.StatusOK, t, err
}

func (h *handler) certificate(r *http.Request) (int, any, error) {
	c, err := h.b.Certificate(r.Context())
	c.Names = orEmpty(c.Names)
	return http.StatusOK, c, err
}

func (h *handler) putCertificate(r *http.Request) (int, any, error) {
	var in CertificateEdit
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if strings.TrimSpace(in.PEM) == "" {
		return 0, nil, &Invalid{Field: "pem", Text: "send the certificate, the chain and the private key, all in PEM"}
	}
	c, err := h.b.PutCertificate(r.Context(), in)
	c.Names = orEmpty(c.Names)
	return http.StatusOK, c, err
}

func (h *handler) dropCertificate(r *http.Request) (int, any, error) {
	return 0, nil, h.b.DropCertificate(r.Context())
}

func (h *handler) orderCertificate(r *http.Request) (int, any, error) {
	return 0, nil, h.b.OrderCertificate(r.Context())
}

// Uploads asks what a phone has written.
func (c *Client) Uploads(ctx context.Context, m mac.Addr) ([]Upload, error) {
	var l UploadList
	err := c.call(ctx, http.MethodGet, "/phones/"+m.String()+"/uploads", nil, &l)
	return l.Uploads, err
}

// UploadTo writes one upload of a phone.
func (c *Client) UploadTo(ctx context.Context, w io.Writer, m mac.Addr, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://patchbay"+Prefix+"/phones/"+m.String()+"/uploads/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return ErrNotFound
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the box answered %s", resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// PersonalPath asks for the address that only this phone is told; renew makes
// a new one.
func (c *Client) PersonalPath(ctx context.Context, m mac.Addr, renew bool) (p PersonalPath, err error) {
	method := http.MethodGet
	if renew {
		method = http.MethodPost
	}
	return p, c.call(ctx, method, "/phones/"+m.String()+"/path", nil, &p)
}

// PhonesTLS asks what phones speak by HTTPS.
func (c *Client) PhonesTLS(ctx context.Context) (t PhonesTLS, err error) {
	return t, c.call(ctx, http.MethodGet, "/provisioning/tls", nil, &t)
}

// PutCertificate has phones shown another certificate.
func (c *Client) PutCertificate(ctx context.Context, e CertificateEdit) (cert Certificate, err error) {
	return cert, c.call(ctx, http.MethodPut, "/provisioning/certificate", e, &cert)
}

// PrintUploads writes what a phone has written, or one file of it as it is.
func PrintUploads(ctx context.Context, w io.Writer, socket string, m mac.Addr, id string) error {
	c := NewClient(socket)
	defer c.Close()
	if id != "" {
		return c.UploadTo(ctx, w, m, id)
	}
	list, err := c.Uploads(ctx, m)
	if err != nil {
		return fmt.Errorf("uploads of %v: %w", m, err)
	}
	t := newTable(w)
	t.row("TIME", "NAME", "BYTES", "ID")
	for _, u := range list {
		t.row(When(u.Time), Printable(u.Name), fmt.Sprint(u.Size), u.ID)
	}
	return t.flush()
}

// PrintPath writes the personal address of a phone.
func PrintPath(ctx context.Context, w io.Writer, socket string, m mac.Addr, renew bool) error {
	c := NewClient(socket)
	defer c.Close()
	p, err := c.PersonalPath(ctx, m, renew)
	if err != nil {
		return fmt.Errorf("personal address of %v: %w", m, err)
	}
	_, err = fmt.Fprintln(w, p.URL)
	return err
}

// PrintTLS writes what phones speak by HTTPS, and which would stop working.
func PrintTLS(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	r, err := c.PhonesTLS(ctx)
	if err != nil {
		return err
	}
	t := newTable(w)
	t.row("MAC", "SPEAKS AT MOST", "AGREED ON", "SUITE", "LAST")
	for _, p := range r.Phones {
		t.row(p.MAC.String(), p.Max, dash(p.Version), dash(p.Suite), When(p.Time))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, change := range r.Changes {
		if len(change.Phones) == 0 {
			continue
		}
		_, _ = fmt.Fprintf(w, "\nThese phones will stop working when %s:\n", change.Text)
		for _, m := range change.Phones {
			_, _ = fmt.Fprintf(w, "  %v\n", m)
		}
	}
	return nil
}

// PrintCertificate writes what phones are shown, after having it ordered anew if
// that is wanted.
func PrintCertificate(ctx context.Context, w io.Writer, socket string, order bool) error {
	c := NewClient(socket)
	defer c.Close()
	if order {
		if err := c.call(ctx, http.MethodPost, "/provisioning/certificate/order", nil, nil); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, "It is being ordered; patchbay certificate says what comes of it.")
		return err
	}
	var cert Certificate
	if err := c.call(ctx, http.MethodGet, "/provisioning/certificate", nil, &cert); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w, "Phones are shown %s of %s,\n%s, good from %s until %s,\nfor %s.\nSigned by %s.\n", whose(cert), Printable(cert.Subject),
		cert.Key, cert.From.Format(time.DateOnly), cert.Until.Format(time.DateOnly), Printable(strings.Join(cert.Names, ", ")), Printable(cert.Issuer))
	if cert.Ordered {
		_, _ = fmt.Fprintf(w, "Ordered by the box, last %s; a certificate last came %s.\n", When(cert.Tried), When(cert.Got))
	}
	if cert.Fault != "" {
		_, _ = fmt.Fprintf(w, "The last order came to nothing: %s.\nIn full: %s\n", Printable(cert.Fault), Printable(cert.Detail))
	}
	return nil
}

// whose says how a certificate came to be.
func whose(c Certificate) string {
	switch c.Source {
	case "uploaded":
		return "the certificate that was uploaded"
	case "ordered":
		return "the certificate that the box ordered"
	}
	return "the box's own certificate"
}

// OwnCertificate has phones shown the box's own certificate and says so.
func OwnCertificate(ctx context.Context, w io.Writer, socket string) error {
	c := NewClient(socket)
	defer c.Close()
	if err := c.call(ctx, http.MethodDelete, "/provisioning/certificate", nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "Phones are shown the box's own certificate again.")
	return err
}

// ChangeCertificate has phones shown another certificate and says so.
func ChangeCertificate(ctx context.Context, w io.Writer, socket string, e CertificateEdit) error {
	c := NewClient(socket)
	defer c.Close()
	cert, err := c.PutCertificate(ctx, e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Phones are shown the certificate of %s, good until %s.\n", Printable(cert.Subject), cert.Until.Format(time.DateOnly))
	return err
}
