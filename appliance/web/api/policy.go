package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// SitePolicy reads the policy of the site.
func (c *Client) SitePolicy(ctx context.Context) (p Policy, err error) {
	return p, c.call(ctx, http.MethodGet, "/policy", nil, &p)
}

// SetSitePolicy writes the policy of the site.
func (c *Client) SetSitePolicy(ctx context.Context, p Policy) error {
	return c.call(ctx, http.MethodPut, "/policy", p, nil)
}

// LinePolicy reads what a line's own policy says.
func (c *Client) LinePolicy(ctx context.Context, line int64) (p Policy, err error) {
	return p, c.call(ctx, http.MethodGet, linePath(line)+"/policy", nil, &p)
}

// SetLinePolicy writes it.
func (c *Client) SetLinePolicy(ctx context.Context, line int64, p Policy) error {
	return c.call(ctx, http.MethodPut, linePath(line)+"/policy", p, nil)
}

// SetPIN gives a line a PIN; empty takes it away.
func (c *Client) SetPIN(ctx context.Context, line int64, pin string) error {
	return c.call(ctx, http.MethodPut, linePath(line)+"/pin", PINEdit{pin}, nil)
}

func linePath(id int64) string { return "/lines/" + strconv.FormatInt(id, 10) }

// policyKeys are the settings of a policy, as the command line names them.
var policyKeys = []struct {
	name, hint string
	text       func(*Policy) *string   // nil: it is a list
	list       func(*Policy) *[]string // of words
}{
	{"sip_devices", "allowed or denied: may desk phones be used for calls", func(p *Policy) *string { return &p.SIPDevices }, nil},
	{"forward_always", "number", func(p *Policy) *string { return &p.ForwardAlways }, nil},
	{"forward_busy", "number", func(p *Policy) *string { return &p.ForwardBusy }, nil},
	{"forward_no_answer", "number", func(p *Policy) *string { return &p.ForwardNoAnswer }, nil},
	{"voicemail", "number", func(p *Policy) *string { return &p.Voicemail }, nil},
	{"language", "such as de", func(p *Policy) *string { return &p.Language }, nil},
	{"emergency", "more numbers that go out as emergency calls", nil, func(p *Policy) *[]string { return &p.Emergency }},
	{"location", "where emergency services are sent to", func(p *Policy) *string { return &p.Location }, nil},
	{"codes", "feature codes that may be dialled; empty: all", nil, func(p *Policy) *[]string { return &p.Codes }},
}

// Set changes one setting, as key=value; an empty value leaves the matter to
// the site. Words of a list have blanks or commas between them. What the value
// may be is judged by the daemon.
func (p *Policy) Set(setting string) error {
	key, value, ok := strings.Cut(setting, "=")
	if !ok {
		return fmt.Errorf("%q: write KEY=VALUE, such as sip_devices=denied", setting)
	}
	var known []string
	for _, k := range policyKeys {
		known = append(known, k.name)
		if k.name != key {
			continue
		}
		if k.text != nil {
			*k.text(p) = strings.TrimSpace(value)
			return nil
		}
		*k.list(p) = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
		return nil
	}
	return fmt.Errorf("%q: no such setting; there are %s", key, strings.Join(known, ", "))
}

// PrintPolicy writes a policy; what it leaves open is told by other.
func PrintPolicy(w io.Writer, p Policy, other string) error {
	t := newTable(w)
	for _, k := range policyKeys {
		value := ""
		if k.text != nil {
			value = *k.text(&p)
		} else {
			value = strings.Join(*k.list(&p), " ")
		}
		if value == "" {
			value = "(" + other + "; " + k.hint + ")"
		}
		t.row(k.name, value)
	}
	return t.flush()
}
