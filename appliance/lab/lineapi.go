package lab

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// LinePolicy is what the gateway lets a line do, in the words of its line API.
type LinePolicy struct {
	SIPDevices *bool    `json:"sip_devices,omitempty"`
	Forward    string   `json:"forward_always,omitempty"`
	Language   string   `json:"language,omitempty"`
	Codes      []string `json:"codes,omitempty"`
}

// LineAPI tells boxes which line belongs to a user: the gateway's side of the
// contract in provision/enrol/lineapi/openapi.yaml, read from that page alone.
type LineAPI struct {
	g      *Gateway
	token  string
	url    string
	server *http.Server
	wg     sync.WaitGroup
}

// ServeLineAPI serves the lines of the gateway that have an Account to boxes
// with a token, until Close, with the gateway's certificate.
func (g *Gateway) ServeLineAPI(listen netip.AddrPort, token string) (*LineAPI, error) {
	l, err := net.Listen("tcp4", listen.String())
	if err != nil {
		return nil, fmt.Errorf("bind the line API: %w", err)
	}
	a := &LineAPI{g: g, token: token, url: "https://" + l.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/lines/{user}", a.line)
	a.server = serveTLS(l, g.ca, mux, &a.wg)
	return a, nil
}

// URL is its address.
func (a *LineAPI) URL() string { return a.url }

// Close stops serving and waits.
func (a *LineAPI) Close() {
	_ = a.server.Close()
	a.wg.Wait()
}

func (a *LineAPI) line(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+a.token)) != 1 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	l, ok := a.g.account(r.PathValue("user"))
	if !ok {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	credentials := map[string]string{}
	if !l.Token {
		credentials["username"], credentials["password"] = l.AuthUser, l.Password
	}
	text, err := json.Marshal(map[string]any{
		"id": "line-" + l.User, "aor": "sip:" + l.User + "@" + a.g.cfg.Domain, "display_name": l.Name, "number": l.Number,
		"credentials": credentials, "policy": l.Policy,
	})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(text)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		a.g.step("says that nothing has changed about the line of %s", l.Account)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	a.g.step("tells the line of %s", l.Account)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// account finds the line of a user.
func (g *Gateway) account(user string) (GatewayLine, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lines {
		if user != "" && l.Account == user {
			return l.GatewayLine, true
		}
	}
	return GatewayLine{}, false
}

// ChangeLine changes the line of a user, or takes it away where change says
// false. It is false if there is no such line.
func (g *Gateway) ChangeLine(user string, change func(*GatewayLine) (keep bool)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, l := range g.lines {
		if l.Account != user {
			continue
		}
		if !change(&l.GatewayLine) {
			delete(g.lines, key)
		}
		return true
	}
	return false
}
