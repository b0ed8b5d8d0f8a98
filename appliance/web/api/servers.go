package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"patchbay/dhcp/mac"
)

// Servers is about DHCP servers of others: how to set them up so that phones
// find the box, and what they really answer.
type Servers interface {
	// SnippetServers lists the servers that there are settings for.
	SnippetServers() []SnippetServer
	// Snippet writes the settings for one; [ErrNotFound] if there are none.
	Snippet(ctx context.Context, q SnippetQuery) (Snippet, error)
	// Verify plays phones on an interface. It takes some ten seconds.
	Verify(ctx context.Context, iface string, q VerifyQuery) (Verification, error)
}

// SnippetServer is a DHCP server that there are settings for.
type SnippetServer struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// SnippetList is the answer to a request for all servers.
type SnippetList struct {
	Servers []SnippetServer `json:"servers"`
}

// SnippetQuery says what settings are for.
type SnippetQuery struct {
	Server    string
	Interface string       // the network with the phones; empty: the first one
	Vendors   []string     // names in the catalogue; empty: all
	Language  string       // of the phones; empty: that of the box
	NTP       []netip.Addr // time servers; nil: those of the network
	VLAN      int          // voice VLAN that phones are moved to; 0: none
	Data      netip.Prefix // network that they are moved from; zero: not said
}

// Snippet is the settings for one server.
type Snippet struct {
	Server string        `json:"server"`
	Title  string        `json:"title"`
	Parts  []SnippetPart `json:"parts"`
	Text   string        `json:"text"` // all parts, with what to do with each as comments
}

// SnippetPart is a piece that goes to one place.
type SnippetPart struct {
	Name  string `json:"name"`
	Where string `json:"where"` // what to do with it
	File  string `json:"file,omitempty"`
	Text  string `json:"text"` // to be pasted as it is
}

// VerifyQuery says what is to be proved.
type VerifyQuery struct {
	Server  string   `json:"server,omitempty"`  // what server it is, if that is known: some are known to go by class
	Vendors []string `json:"vendors,omitempty"` // names in the catalogue; empty: all
	VLAN    int      `json:"vlan,omitempty"`    // the interface is in the data network, and phones should be told this VLAN
	Take    bool     `json:"take,omitempty"`    // take the addresses too, and give them back
}

// Verification is what the DHCP servers of a network answer to phones.
type Verification struct {
	Interface string        `json:"interface"`
	OK        bool          `json:"ok"`
	MAC       mac.Addr      `json:"mac"` // ours, from which all was asked
	Servers   []FoundServer `json:"servers"`
	Phones    []Played      `json:"phones"`
	Strangers []Played      `json:"strangers"` // devices that are no phones
}

// FoundServer is a DHCP server that answered.
type FoundServer struct {
	IP  netip.Addr `json:"ip,omitzero"`
	MAC mac.Addr   `json:"mac"`
}

// Played is a kind of phone that was played.
type Played struct {
	Name    string       `json:"name"`
	Title   string       `json:"title"`
	Class   string       `json:"class,omitempty"` // option 60
	Verdict string       `json:"verdict"`         // ok, wrong, nothing, unproven
	Text    string       `json:"text,omitempty"`
	Fix     string       `json:"fix,omitempty"`
	Answers []DHCPAnswer `json:"answers"`
}

// DHCPAnswer is what one server offers, and what the phone makes of it.
type DHCPAnswer struct {
	Server  netip.Addr   `json:"server,omitzero"`
	MAC     mac.Addr     `json:"mac"`
	Address netip.Addr   `json:"address,omitzero"`
	Acked   bool         `json:"acked"`
	Verdict string       `json:"verdict"`
	Text    string       `json:"text"`
	Fix     string       `json:"fix,omitempty"`
	Notes   []string     `json:"notes"`
	Options []DHCPOption `json:"options"`
}

// DHCPOption is an option of an answer in readable form.
type DHCPOption struct {
	Code  uint8  `json:"code"`
	Value string `json:"value"`
	Taken bool   `json:"taken"` // the phone takes this one
}

// serverRoutes are the operations on servers of others.
func (h *handler) serverRoutes() []Route {
	var running sync.Mutex // one verification at a time: two would be one client to the servers
	verify := func(r *http.Request) (int, any, error) {
		var q VerifyQuery
		if err := decode(r, &q); err != nil {
			return 0, nil, err
		}
		if q.VLAN < 0 || q.VLAN > 4094 {
			return 0, nil, badVLAN
		}
		if !running.TryLock() {
			return 0, nil, &Invalid{Text: "a verification is running; wait until it has ended"}
		}
		defer running.Unlock()
		v, err := h.b.Verify(r.Context(), r.PathValue("name"), q)
		return http.StatusOK, v.filled(), err
	}
	return []Route{
		{Method: http.MethodGet, Path: "/snippets", Handler: h.do(h.snippets)},
		{Method: http.MethodGet, Path: "/snippets/{server}", Handler: h.do(h.snippet)},
		{Method: http.MethodPost, Path: "/interfaces/{name}/verify", Handler: h.do(verify)},
	}
}

var badVLAN = &Invalid{Field: "vlan", Text: "a VLAN is a number from 1 to 4094"}

func (h *handler) snippets(*http.Request) (int, any, error) {
	return http.StatusOK, SnippetList{Servers: orEmpty(h.b.SnippetServers())}, nil
}

func (h *handler) snippet(r *http.Request) (int, any, error) {
	q, err := ParseSnippetQuery(r.PathValue("server"), r.URL.Query())
	if err != nil {
		return 0, nil, err
	}
	s, err := h.b.Snippet(r.Context(), q)
	s.Parts = orEmpty(s.Parts)
	return http.StatusOK, s, err
}

// ParseSnippetQuery reads interface, vendors, language, ntp, vlan and data;
// errors are [*Invalid].
func ParseSnippetQuery(server string, v url.Values) (SnippetQuery, error) {
	q := SnippetQuery{Server: server, Interface: v.Get("interface"), Vendors: words(v.Get("vendors")), Language: v.Get("language")}
	for _, s := range words(v.Get("ntp")) {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			return q, &Invalid{Field: "ntp", Text: "write the IPv4 addresses of time servers with commas between them"}
		}
		q.NTP = append(q.NTP, a)
	}
	if s := v.Get("vlan"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > 4094 {
			return q, badVLAN
		}
		q.VLAN = n
	}
	if s := v.Get("data"); s != "" {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() {
			return q, &Invalid{Field: "data", Text: "write the data network as address and length, such as 192.0.2.0/24"}
		}
		q.Data = p.Masked()
	}
	return q, nil
}

// words splits a list with commas.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// filled has [] in the place of every null.
func (v Verification) filled() Verification {
	v.Servers, v.Phones, v.Strangers = orEmpty(v.Servers), orEmpty(v.Phones), orEmpty(v.Strangers)
	for _, list := range [][]Played{v.Phones, v.Strangers} {
		for i := range list {
			list[i].Answers = orEmpty(list[i].Answers)
			for j := range list[i].Answers {
				a := &list[i].Answers[j]
				a.Notes, a.Options = orEmpty(a.Notes), orEmpty(a.Options)
			}
		}
	}
	return v
}

// Snippet asks for the settings for a server.
func (c *Client) Snippet(ctx context.Context, q SnippetQuery) (s Snippet, err error) {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("interface", q.Interface)
	set("vendors", strings.Join(q.Vendors, ","))
	set("language", q.Language)
	ntp := make([]string, len(q.NTP))
	for i, a := range q.NTP {
		ntp[i] = a.String()
	}
	set("ntp", strings.Join(ntp, ","))
	if q.VLAN != 0 {
		set("vlan", strconv.Itoa(q.VLAN))
	}
	if q.Data.IsValid() {
		set("data", q.Data.String())
	}
	return s, c.call(ctx, http.MethodGet, "/snippets/"+url.PathEscape(q.Server)+"?"+v.Encode(), nil, &s)
}

// Verify plays phones on an interface of the box.
func (c *Client) Verify(ctx context.Context, iface string, q VerifyQuery) (v Verification, err error) {
	return v, c.call(ctx, http.MethodPost, "/interfaces/"+url.PathEscape(iface)+"/verify", q, &v)
}

// ErrNotProved says that phones are not led to the box.
var ErrNotProved = errors.New("not all phones are led to this box")

// WriteVerification writes a verification for a terminal. It returns
// [ErrNotProved] if something is wrong.
func WriteVerification(w io.Writer, v Verification) error {
	t := newTable(w)
	if len(v.Servers) == 0 {
		t.row("server", "none answers on "+v.Interface)
	}
	for _, s := range v.Servers {
		t.row("server", s.IP.String()+" at "+s.MAC.String()+" on "+v.Interface)
	}
	t.row("", "")
	for _, p := range append(append([]Played(nil), v.Phones...), v.Strangers...) {
		writePlayed(t, p, len(v.Servers) > 1)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if !v.OK {
		return ErrNotProved
	}
	return nil
}

// verdictWords are the verdicts as people read them.
var verdictWords = map[string]string{"ok": "ok", "wrong": "WRONG", "nothing": "NOTHING", "unproven": "not provable"}

func writePlayed(t table, p Played, several bool) {
	name := p.Title
	if p.Class != "" {
		name += " (" + p.Class + ")"
	}
	if len(p.Answers) == 0 {
		text := p.Text
		if text == "" {
			text = "no server answers it"
		}
		t.row(verdictWords[p.Verdict], name, text)
		if p.Fix != "" {
			t.row("", "", "-> "+p.Fix)
		}
	}
	for _, a := range p.Answers {
		text := a.Text
		if several {
			text = a.Server.String() + ": " + text
		}
		t.row(verdictWords[a.Verdict], name, text)
		for _, n := range a.Notes {
			t.row("", "", "note: "+n)
		}
		if a.Fix != "" {
			t.row("", "", "-> "+a.Fix)
		}
	}
}
