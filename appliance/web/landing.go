package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// landingPage is what the template of the landing page gets.
type landingPage struct {
	Name        string
	Style       template.CSS
	URL         string
	Fingerprint string
}

// Landing makes the page that a browser gets which opens the box's address
// without https: it says where the page for people is, why the browser will
// warn, and what to compare. It leads on with the name that the browser used
// and this port. ca is the certificate (DER) of the box's own CA.
//
// Without ca it says nothing of a fingerprint.
//
// It belongs to the phones' server, so it needs no other file, sets no cookie
// and reads nothing but the Host header.
func Landing(name string, port uint16, ca []byte) (http.Handler, error) {
	words, err := loadTexts("en")
	if err != nil {
		return nil, err
	}
	style, err := templateFiles.ReadFile("templates/landing.css")
	if err != nil {
		return nil, fmt.Errorf("landing page: %w", err)
	}
	page, err := template.New("landing.html").Funcs(template.FuncMap{"t": words.say, "groups": groups}).ParseFS(templateFiles, "templates/landing.html")
	if err != nil {
		return nil, fmt.Errorf("landing page: %w", err)
	}
	sum := sha256.Sum256(style)
	landingPolicy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	fixed := landingPage{Name: name, Style: template.CSS(style)}
	if ca != nil {
		fixed.Fingerprint = Fingerprint(ca)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		view := fixed
		view.URL = "https://" + net.JoinHostPort(hostOf(r), strconv.Itoa(int(port))) + "/"
		var b bytes.Buffer
		if err := page.Execute(&b, view); err != nil {
			http.Error(w, words.say("error.fault"), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", landingPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(b.Bytes())
	}), nil
}

// hostOf is the name or address in the Host header, without its port.
func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	if r.Host == "" {
		return localAddr(r.Context()).String()
	}
	return strings.Trim(r.Host, "[]")
}
