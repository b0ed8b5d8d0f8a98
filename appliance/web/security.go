package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// policy lets the page load its own files and nothing else. No inline script
// or style, no framing, no form that leads away; script may set HTML only
// through the one policy of live.js.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; " +
	"require-trusted-types-for 'script'; trusted-types patchbay"

// secured sets the headers of every answer.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// hosts answers only to names that are ours. A page of a hostile name that was
// made to resolve to this box (DNS rebinding) sends that name.
func (s *Server) hosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local := localAddr(r.Context()); !s.knows(r.Host, local) {
			s.log.Debug("request for another host", "component", "web", "host", r.Host)
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusMisdirectedRequest)
			_, _ = fmt.Fprintln(w, s.texts.say("refused.host", s.urlOf(local)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a Host header means this box: the address that the
// connection came to, or one of the configured names.
func (s *Server) knows(host string, local netip.Addr) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	if addr, err := netip.ParseAddr(name); err == nil {
		return local.IsValid() && addr.Unmap().WithZone("") == local || s.names[addr.String()]
	}
	return s.names[name] || name == "localhost" && local.IsLoopback()
}

func (s *Server) urlOf(local netip.Addr) string {
	return "https://" + netip.AddrPortFrom(local, s.Port()).String() + "/"
}

// localAddr is the address of ours that the connection of a request came to.
func localAddr(ctx context.Context) netip.Addr {
	a, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap().WithZone("")
}

// source is the address that a request came from.
func source(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// recovered turns a panic of a handler into a 500 and a line in the log.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				s.log.Error("page panicked", "component", "web", "path", r.URL.Path, "err", fmt.Sprint(v))
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// groups cuts a fingerprint into pieces of eight bytes, between which a line
// may break.
func groups(fingerprint string) []string {
	const size = 8 * len("00:")
	var out []string
	for len(fingerprint) > size {
		out, fingerprint = append(out, fingerprint[:size]), fingerprint[size:]
	}
	return append(out, fingerprint)
}

// Fingerprint is the SHA-256 of a certificate in the form that browsers show.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	digits := strings.ToUpper(hex.EncodeToString(sum[:]))
	pairs := make([]string, 0, len(sum))
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	return strings.Join(pairs, ":")
}
