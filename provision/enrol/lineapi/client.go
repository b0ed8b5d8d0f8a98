package lineapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of a request.
const (
	timeout = 10 * time.Second
	maxBody = 256 << 10
)

// What the gateway says of a user. Every other error is a fault of the way or
// of the gateway, and says nothing about the line.
var (
	ErrNoLine     = errors.New("the gateway has no line for this user")
	ErrNotAllowed = errors.New("the gateway says that SIP devices can't be used for calls by this line")
	ErrUnchanged  = errors.New("nothing has changed")
)

// Line is a line as the gateway tells it.
type Line struct {
	ID          string      `json:"id"`                     // its key at the gateway, never changes
	AOR         string      `json:"aor"`                    // sip:user@domain (RFC 3261 §6)
	DisplayName string      `json:"display_name,omitempty"` //
	Number      string      `json:"number,omitempty"`       // E.164 with +
	Extension   string      `json:"extension,omitempty"`    // short number on the site
	Credentials Credentials `json:"credentials"`
	Policy      Policy      `json:"policy"`

	ETag string `json:"-"` // for [Client.Line]; empty: none was sent
}

// Credentials are those of the line for digest at the gateway. They never
// leave the box.
type Credentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// Policy says what the line may do. What is empty is left to the site.
type Policy struct {
	SIPDevices      *bool    `json:"sip_devices,omitempty"` // may desk phones be used for its calls
	ForwardAlways   string   `json:"forward_always,omitempty"`
	ForwardBusy     string   `json:"forward_busy,omitempty"`
	ForwardNoAnswer string   `json:"forward_no_answer,omitempty"`
	Voicemail       string   `json:"voicemail,omitempty"`
	Language        string   `json:"language,omitempty"` // ISO 639-1
	Emergency       []string `json:"emergency,omitempty"`
	Location        string   `json:"location,omitempty"`
	Codes           []string `json:"codes,omitempty"`
}

// Client asks one gateway. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient makes a client of the API under an https address. ca may be nil:
// the authorities of the system.
func NewClient(base, token string, ca *x509.CertPool) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q: write an address such as https://gw.example.com/patchbay", base)
	}
	if strings.ContainsAny(token, " \r\n\t") || token == "" {
		return nil, errors.New("the token is empty, or has spaces in it")
	}
	return &Client{base: strings.TrimSuffix(u.String(), "/"), token: token, http: &http.Client{
		Timeout: timeout,
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca}, MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second},
	}}, nil
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Line asks for the line of a user. etag is that of the answer before; it may
// be empty. The error is or wraps [ErrNoLine], [ErrNotAllowed], [ErrUnchanged]
// or says why nothing is known.
func (c *Client) Line(ctx context.Context, user, etag string) (Line, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/lines/"+url.PathEscape(user), nil)
	if err != nil {
		return Line{}, fmt.Errorf("ask for a line: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Line{}, fmt.Errorf("ask for a line: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	switch res.StatusCode {
	case http.StatusOK:
		return read(res)
	case http.StatusNotModified:
		return Line{}, ErrUnchanged
	case http.StatusNotFound:
		// A proxy in the way says 404 too, but not in this form.
		if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "application/problem+json" {
			return Line{}, errors.New("ask for a line: the address of the line API is wrong: it answered 404 without application/problem+json")
		}
		return Line{}, ErrNoLine
	case http.StatusForbidden:
		return Line{}, ErrNotAllowed
	case http.StatusUnauthorized:
		return Line{}, errors.New("ask for a line: the gateway does not take the token of this box (401)")
	}
	return Line{}, fmt.Errorf("ask for a line: the gateway answered %d", res.StatusCode)
}

func read(res *http.Response) (l Line, err error) {
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "application/json" {
		return l, fmt.Errorf("ask for a line: the gateway answered %q, not JSON", res.Header.Get("Content-Type"))
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(&l); err != nil {
		return l, fmt.Errorf("ask for a line: %w", err)
	}
	if l.ID == "" || l.AOR == "" {
		return l, errors.New("ask for a line: the answer has no id or no address of record")
	}
	l.ETag = res.Header.Get("ETag")
	return l, nil
}
