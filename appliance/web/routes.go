package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"patchbay/appliance/web/api"
)

// access says who may call a route.
type access uint8

const (
	public access = iota // anybody
	member               // who is logged in; others are led to the login
	stream               // who is logged in; others get 401, and it ends with the login
	data                 // the API: who is logged in; others get 401 in its form
)

// route is one line of the table that the server is made from, and that the
// tests walk.
type route struct {
	method  string
	path    string // pattern of [http.ServeMux]
	access  access
	handler http.HandlerFunc
}

// routes is the whole surface of the page. No GET changes anything.
func (s *Server) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	table := []route{
		{get, "/static/{file}", public, s.files.serve},
		{get, "/ca.crt", public, s.downloadCA},
		{get, "/setup", public, s.setUpPage},
		{post, "/setup", public, s.setUp},
		{get, "/login", public, s.loginPage},
		{post, "/login", public, s.login},
		{post, "/logout", public, s.logout},
		{get, "/password", member, s.passwordPage},
		{post, "/password", member, s.changePassword},
		{get, "/{$}", member, s.dashboard},
		{get, "/events", stream, s.dashboardEvents},
		{get, "/phones", member, s.phones},
		{post, "/phones", member, s.addPhone},
		{get, "/phones/events", stream, s.phonesEvents},
		{get, "/phones/{mac}", member, s.phone},
		{get, "/phones/{mac}/events", stream, s.phoneEvents},
		{get, "/firmware", member, s.firmware},
		{post, "/firmware", member, s.firmwareDo},
		{post, "/firmware/images", member, s.uploadImage},
		{get, "/firmware/events", stream, s.firmwareEvents},
		{post, "/phones/{mac}/assign", member, s.assign},
		{post, "/phones/{mac}/approve", member, s.approve},
		{post, "/phones/{mac}/window", member, s.openWindow},
		{post, "/phones/{mac}/resync", member, s.resync},
		{post, "/phones/{mac}/passwords", member, s.showPasswords},
		{post, "/phones/{mac}/manage", member, s.manage},
		{post, "/phones/{mac}/pairing", member, s.beginPairing},
		{get, "/phones/{mac}/pairing/{slot}", member, s.pairingPage},
		{get, "/phones/{mac}/pairing/{slot}/events", stream, s.pairingEvents},
		{get, "/phones/{mac}/pairing/{slot}/qr.png", member, s.pairingQR},
		{post, "/phones/{mac}/pairing/{slot}/cancel", member, s.cancelPairing},
		{get, "/pair", public, s.pairPage},
		{post, "/pair", public, s.pair},
		{get, "/pair/{code}", public, s.pairPage},
		{get, "/pair-back", public, s.pairBack},
		{get, "/overrides", member, s.overrides},
		{post, "/overrides", member, s.changeOverride},
		{get, "/source", member, s.source},
		{post, "/source", member, s.setSource},
		{get, "/certificate", member, s.certificate},
		{post, "/certificate", member, s.certificateDo},
		{post, "/certificate/files", member, s.uploadCertificate},
		{get, "/policy", member, s.sitePolicy},
		{post, "/policy", member, s.setSitePolicy},
		{get, "/lines/{id}/policy", member, s.linePolicy},
		{post, "/lines/{id}/policy", member, s.setLinePolicy},
		{post, "/lines/{id}/pin", member, s.setPIN},
		{get, "/lines/export.csv", member, s.lineSheetOut},
		{get, "/enrol", member, s.enrol},
		{post, "/enrol", member, s.enrolDo},
		{get, "/enrol/events", stream, s.enrolEvents},
		{get, "/enrol/sheets", member, s.sheets},
		{post, "/enrol/sheets", member, s.uploadSheet},
		{get, "/enrol/phones.csv", member, s.phoneSheet},
		{get, "/enrol/actions", member, s.actions},
		{get, "/enrol/actions/events", stream, s.actionsEvents},
		{get, "/audit", member, s.audit},
		{get, "/lines", member, s.lines},
		{get, "/lines/new", member, s.newLine},
		{post, "/lines", member, s.putLine},
		{get, "/lines/{id}", member, s.line},
		{post, "/lines/{id}", member, s.putLine},
		{post, "/lines/{id}/calls", member, s.putWish},
		{post, "/lines/{id}/delete", member, s.deleteLine},
		{get, "/calls", member, s.calls},
		{get, "/network", member, s.network},
		{get, "/network/events", stream, s.networkEvents},
		{post, "/network/serve", member, s.serveAnyway},
		{post, "/network/drill", member, s.startDrill},
		{get, "/network/leases", member, s.leases},
		{post, "/network/leases/reserve", member, s.reserve},
		{post, "/network/leases/unreserve", member, s.unreserve},
		{post, "/network/leases/release", member, s.release},
		{get, "/network/snippets", member, s.snippets},
		{post, "/network/verify", member, s.verify},
	}
	for _, r := range api.Routes(s.b, s.log) {
		who := data
		if r.Stream {
			who = stream
		}
		table = append(table, route{r.Method, r.Path, who, r.Handler})
	}
	return table
}

// guarded lets through who may call a route.
func (s *Server) guarded(r route) http.Handler {
	if r.access == public {
		return r.handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		in := s.sessions.find(token(req), r.access != stream)
		if in == nil {
			s.strange(w, req, r.access)
			return
		}
		via := "page"
		if r.access == data {
			via = "api"
		}
		req = req.WithContext(api.WithActor(req.Context(), api.Actor{Name: "administrator", Via: via}))
		if r.access != stream {
			r.handler(w, req)
			return
		}
		ctx, cancel := context.WithCancel(req.Context())
		defer cancel()
		defer context.AfterFunc(in.ctx, cancel)()
		r.handler(w, req.WithContext(ctx))
	})
}

// strange answers somebody who is not logged in.
func (s *Server) strange(w http.ResponseWriter, r *http.Request, a access) {
	if a != member {
		api.WriteError(w, http.StatusUnauthorized, s.texts.say("login.needed"), "")
		return
	}
	to := "/login"
	if r.Method == http.MethodGet && r.URL.Path != "/" {
		to += "?next=" + url.QueryEscape(r.URL.RequestURI())
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// next returns where a login leads: a path of ours, or the dashboard.
func next(path string) string {
	u, err := url.Parse(path)
	// "//host" and "/\host" would lead to another host.
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}
