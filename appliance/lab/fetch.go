package lab

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"
)

// ErrNotFound is wrapped by what a 404 leads to, which is an answer and no
// fault for most files.
var ErrNotFound = errors.New("not found")

var errNoConfig = errors.New("no configuration for this phone")

const (
	maxFile      = 1 << 20
	fetchTimeout = 10 * time.Second
)

// fetcher gets a phone's files as its vendor's phones do: from the leased
// address, under the vendor's user agent, in the vendor's order.
type fetcher struct {
	p    Personality
	ip   netip.Addr
	base *url.URL // the provisioning URL
	note func(format string, args ...any)

	client *http.Client
	agent  string
	absent int                       // files that were asked for and do not exist
	log    []string                  // status, method and path of each request of the last fetch
	sums   map[string][md5.Size]byte // of files applied, as Yealink keeps them
}

// newFetcher makes the client; close it with close.
func newFetcher(p Personality, ip netip.Addr, raw string, note func(string, ...any)) (*fetcher, error) {
	base, err := bootURL(p, raw)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{
		Timeout:   fetchTimeout,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)),
	}
	f := &fetcher{p: p, ip: ip, base: base, note: note, agent: p.fill(p.UserAgent), sums: make(map[string][md5.Size]byte)}
	f.client = &http.Client{
		Timeout:   fetchTimeout,
		Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConns: 1, DisableCompression: true},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			// Cisco follows 301 and 302 only (provisioning guide, HTTP status codes).
			status := req.Response.StatusCode
			if len(via) > 5 || p.dialect == cisco && status != http.StatusMovedPermanently && status != http.StatusFound {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	return f, nil
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }

// bootURL makes a URL of what the option held, as the vendor reads it.
func bootURL(p Personality, raw string) (*url.URL, error) {
	raw = strings.TrimSpace(raw)
	if !strings.Contains(raw, "://") {
		// A bare host means TFTP to Yealink and Cisco and FTP to Poly.
		scheme := "TFTP"
		if p.dialect == poly {
			scheme = "FTP"
		}
		if p.httpsOn66 {
			scheme = "HTTPS"
		}
		return nil, fmt.Errorf("provisioning server %q has no scheme: a %s would use %s, which the lab does not speak", raw, p.Vendor, scheme)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("provisioning URL %q: %w", raw, err)
	}
	if u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("provisioning URL %q: the lab speaks plain HTTP only", raw)
	}
	return u, nil
}

// at returns the URL of a name under the provisioning URL.
func (f *fetcher) at(name string) string {
	if strings.Contains(name, "://") {
		return name
	}
	u := *f.base
	dir := u.Path
	// A path that ends in a file name stands for its folder.
	if dir != "" && strings.Contains(path.Base(dir), ".") {
		dir = path.Dir(dir)
	}
	u.Path = "/" + strings.TrimPrefix(strings.TrimSuffix(dir, "/")+"/"+strings.TrimPrefix(name, "/"), "/")
	return u.String()
}

// get fetches a file whole.
func (f *fetcher) get(ctx context.Context, name string) ([]byte, error) {
	return f.do(ctx, http.MethodGet, f.at(name), nil)
}

// put uploads a file; a phone complains about anything but 200, 201 and 204.
func (f *fetcher) put(ctx context.Context, name string, body []byte) error {
	_, err := f.do(ctx, http.MethodPut, f.at(name), body)
	return err
}

func (f *fetcher) do(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	req.Header.Set("User-Agent", f.agent)
	req.Header.Set("Accept", "*/*")
	res, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	if len(got) > maxFile {
		return nil, fmt.Errorf("%s %s: larger than %d bytes", method, target, maxFile)
	}
	f.log = append(f.log, fmt.Sprintf("%d %s %s", res.StatusCode, method, req.URL.Path))
	if res.StatusCode == http.StatusNotFound {
		f.absent++
	} else {
		f.note("%s %s: %s, %d bytes", method, req.URL.Path, res.Status, len(got))
	}
	switch res.StatusCode {
	case http.StatusOK:
		return got, nil
	case http.StatusCreated, http.StatusNoContent:
		if method == http.MethodPut {
			return nil, nil
		}
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s %s: %w", method, target, ErrNotFound)
	}
	return nil, fmt.Errorf("%s %s: %s", method, target, res.Status)
}

// optional makes no file of a 404.
func optional(b []byte, err error) ([]byte, error) {
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return b, err
}

// fetch gets and parses everything, and says whether anything changed since
// the last time.
func (f *fetcher) fetch(ctx context.Context) (s settings, changed bool, err error) {
	before := len(f.sums)
	fresh := &changes{known: f.sums}
	f.absent, f.log = 0, nil
	switch f.p.dialect {
	case yealink:
		s, err = f.fetchYealink(ctx, fresh)
	case poly:
		s, err = f.fetchPoly(ctx, fresh)
	case cisco:
		s, err = f.fetchCisco(ctx, fresh)
	default:
		form, ok := formats(f.p.dialect)
		if !ok {
			return settings{}, false, fmt.Errorf("%s: a dialect that the lab does not speak", f.p)
		}
		s, err = f.fetchListed(ctx, form, fresh)
	}
	if err != nil {
		return settings{}, false, err
	}
	if f.absent > 0 {
		f.note("asked for %d more files, which do not exist; that is normal", f.absent)
	}
	if len(s.accounts) == 0 {
		return settings{}, false, fmt.Errorf("%w: no account in any file", errNoConfig)
	}
	return s, fresh.any || before == 0, nil
}

// changes keeps the digest of each file, so that a phone can tell a new file
// from one that it has already (Yealink: MD5 of the downloaded file).
type changes struct {
	known map[string][md5.Size]byte
	any   bool
}

func (c *changes) note(name string, body []byte) {
	sum := md5.Sum(body)
	if c.known[name] != sum {
		c.known[name] = sum
		c.any = true
	}
}
