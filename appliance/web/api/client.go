package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"patchbay/dhcp/mac"
)

// Client speaks to a running box through its socket file. It is safe for
// concurrent use. Errors say what a person at the command line can do.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the box that serves this socket file. Nothing
// is dialled yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{
		Transport: &http.Transport{DialContext: dial, MaxIdleConns: 2, ResponseHeaderTimeout: 30 * time.Second},
	}}
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Snapshot asks for the state of the box.
func (c *Client) Snapshot(ctx context.Context) (s Snapshot, err error) {
	return s, c.call(ctx, http.MethodGet, "/status", nil, &s)
}

// Phones asks for a page of the inventory.
func (c *Client) Phones(ctx context.Context, q Query) (p Phones, err error) {
	v := url.Values{}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	if q.State != "" {
		v.Set("state", string(q.State))
	}
	if q.Offset > 0 {
		v.Set("offset", strconv.Itoa(q.Offset))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return p, c.call(ctx, http.MethodGet, "/phones?"+v.Encode(), nil, &p)
}

// Phone asks for one phone; [ErrNotFound] if there is none.
func (c *Client) Phone(ctx context.Context, m mac.Addr) (p Phone, err error) {
	return p, c.call(ctx, http.MethodGet, "/phones/"+m.String(), nil, &p)
}

// AddPhone puts a phone into the inventory.
func (c *Client) AddPhone(ctx context.Context, m mac.Addr, slots int) (p Phone, err error) {
	return p, c.call(ctx, http.MethodPost, "/phones", NewPhone{MAC: m, Slots: slots}, &p)
}

// Story asks for a page of a story, newest first.
func (c *Client) Story(ctx context.Context, m mac.Addr, before int64, limit int) (s Story, err error) {
	path := fmt.Sprintf("/phones/%s/story?before=%d&limit=%d", m, before, limit)
	return s, c.call(ctx, http.MethodGet, path, nil, &s)
}

// Lines asks for all lines.
func (c *Client) Lines(ctx context.Context) ([]Line, error) {
	var l LineList
	err := c.call(ctx, http.MethodGet, "/lines", nil, &l)
	return l.Lines, err
}

// PutLine makes a line (ID 0) or changes one.
func (c *Client) PutLine(ctx context.Context, e LineEdit) (l Line, err error) {
	if e.ID == 0 {
		return l, c.call(ctx, http.MethodPost, "/lines", e, &l)
	}
	return l, c.call(ctx, http.MethodPut, "/lines/"+strconv.FormatInt(e.ID, 10), e, &l)
}

// DeleteLine removes a line.
func (c *Client) DeleteLine(ctx context.Context, id int64) error {
	return c.call(ctx, http.MethodDelete, "/lines/"+strconv.FormatInt(id, 10), nil, nil)
}

// Assign signs an account in to a line.
func (c *Client) Assign(ctx context.Context, a mac.Account, line int64) error {
	return c.call(ctx, http.MethodPut, accountPath(a)+"/line", Assignment{Line: line}, nil)
}

// Unassign signs an account out.
func (c *Client) Unassign(ctx context.Context, a mac.Account) error {
	return c.call(ctx, http.MethodDelete, accountPath(a)+"/line", nil, nil)
}

// Resync asks a phone to fetch its configuration again.
func (c *Client) Resync(ctx context.Context, a mac.Account) error {
	return c.call(ctx, http.MethodPost, accountPath(a)+"/resync", nil, nil)
}

// Approve holds an address for a phone's.
func (c *Client) Approve(ctx context.Context, m mac.Addr, a Approval) error {
	return c.call(ctx, http.MethodPost, "/phones/"+m.String()+"/approve", a, nil)
}

// OpenWindow lets a phone fetch its configuration for some minutes.
func (c *Client) OpenWindow(ctx context.Context, m mac.Addr) error {
	return c.call(ctx, http.MethodPost, "/phones/"+m.String()+"/window", nil, nil)
}

// Follow calls send with every entry of a story behind the place after, until
// ctx ends (nil) or the box goes away (an error).
func (c *Client) Follow(ctx context.Context, m mac.Addr, after int64, send func(Entry) error) error {
	path := "/phones/" + m.String() + "/story/events"
	if after >= 0 {
		path += "?after=" + strconv.FormatInt(after, 10)
	}
	res, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return quiet(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e Entry
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read an entry of the story: %w", err)
		}
		if err := send(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return quiet(ctx, fmt.Errorf("follow the story: %w", err))
	}
	return quiet(ctx, errors.New("patchbay stopped"))
}

// quiet drops an error that only says that the caller stopped.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func accountPath(a mac.Account) string {
	return "/phones/" + a.MAC.String() + "/accounts/" + strconv.Itoa(int(a.Slot))
}

// call does one operation; in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	res, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if out == nil {
		return nil
	}
	return decodeBody(res.Body, out)
}

func decodeBody(body io.Reader, out any) error {
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("read the answer of patchbay: %w", err)
	}
	return nil
}

// do returns a response of success; the caller closes its body.
func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://patchbay"+Prefix+path, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, fault(res)
}

// fault is the error of a response that is none of success.
func fault(res *http.Response) error {
	var e Error
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(&e); err != nil || e.Detail == "" {
		return fmt.Errorf("patchbay answered %s", res.Status)
	}
	switch res.StatusCode {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusUnprocessableEntity:
		return &Invalid{Field: e.Field, Text: e.Detail}
	case http.StatusConflict:
		return ErrOffline
	default:
		return errors.New(e.Detail)
	}
}

// explain says what to do when nobody answers.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("patchbay is not running: nobody answers at %s; start it with `systemctl start patchbay`, or name its socket with --socket", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s is closed to this user; run the command as root or as the user that patchbay runs as", c.socket)
	default:
		return fmt.Errorf("ask patchbay at %s: %w", c.socket, err)
	}
}
