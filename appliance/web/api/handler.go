package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"

	"patchbay/dhcp/mac"
)

// Prefix is the path that all routes of this version begin with.
const Prefix = "/api/v1"

// Route is one operation of the API, as the OpenAPI document lists it.
type Route struct {
	Method string
	Path   string // pattern of [http.ServeMux], with Prefix
	// Stream marks an answer of server-sent events, which lasts until the
	// caller goes away.
	Stream  bool
	Handler http.HandlerFunc
}

// maxBody is far above the largest request that makes sense (one line).
const maxBody = 64 << 10

// Routes returns every operation. They judge their input, not who asks: that
// is up to the server that they are mounted in.
func Routes(b Backend, log *slog.Logger) []Route {
	h := &handler{b: b, log: log}
	routes := []Route{
		{Method: http.MethodGet, Path: "/status", Handler: h.do(h.status)},
		{Method: http.MethodGet, Path: "/phones", Handler: h.do(h.phones)},
		{Method: http.MethodPost, Path: "/phones", Handler: h.do(h.addPhone)},
		{Method: http.MethodGet, Path: "/phones/{mac}", Handler: h.do(h.phone)},
		{Method: http.MethodGet, Path: "/phones/{mac}/passwords", Handler: h.do(h.passwords)},
		{Method: http.MethodGet, Path: "/phones/{mac}/emergency", Handler: h.do(h.help)},
		{Method: http.MethodGet, Path: "/phones/{mac}/story", Handler: h.do(h.story)},
		{Method: http.MethodGet, Path: "/phones/{mac}/story/events", Handler: h.events, Stream: true},
		{Method: http.MethodPost, Path: "/phones/{mac}/approve", Handler: h.do(h.approve)},
		{Method: http.MethodPost, Path: "/phones/{mac}/window", Handler: h.do(h.window)},
		{Method: http.MethodPut, Path: "/phones/{mac}/accounts/{slot}/line", Handler: h.do(h.assign)},
		{Method: http.MethodDelete, Path: "/phones/{mac}/accounts/{slot}/line", Handler: h.do(h.unassign)},
		{Method: http.MethodPost, Path: "/phones/{mac}/accounts/{slot}/resync", Handler: h.do(h.resync)},
		{Method: http.MethodGet, Path: "/lines", Handler: h.do(h.lines)},
		{Method: http.MethodPost, Path: "/lines", Handler: h.do(h.newLine)},
		{Method: http.MethodGet, Path: "/lines/{id}", Handler: h.do(h.line)},
		{Method: http.MethodPut, Path: "/lines/{id}", Handler: h.do(h.editLine)},
		{Method: http.MethodDelete, Path: "/lines/{id}", Handler: h.do(h.deleteLine)},
		{Method: http.MethodGet, Path: "/lines/{id}/calls", Handler: h.do(h.wish)},
		{Method: http.MethodPut, Path: "/lines/{id}/calls", Handler: h.do(h.putWish)},
		{Method: http.MethodGet, Path: "/drills", Handler: h.do(h.drills)},
		{Method: http.MethodPost, Path: "/drills", Handler: h.do(h.startDrill)},
		{Method: http.MethodGet, Path: "/calls", Handler: h.do(h.calls)},
		{Method: http.MethodGet, Path: "/troubles", Handler: h.do(h.troubles)},
		{Method: http.MethodGet, Path: "/openapi.json", Handler: document},
	}
	routes = append(routes, h.serverRoutes()...)
	routes = append(routes, h.interfaceRoutes()...)
	routes = append(routes, h.leaseRoutes()...)
	routes = append(routes, h.provisioningRoutes()...)
	routes = append(routes, h.overrideRoutes()...)
	routes = append(routes, h.sourceRoutes()...)
	routes = append(routes, h.firmwareRoutes()...)
	routes = append(routes, h.enrolmentRoutes()...)
	routes = append(routes, h.signInRoutes()...)
	routes = append(routes, Route{Method: http.MethodGet, Path: "/doctor", Handler: h.do(h.doctor)})
	for i := range routes {
		routes[i].Path = Prefix + routes[i].Path
	}
	return routes
}

// Handler serves [Routes] alone; an unknown path or method is answered in the
// form of all errors.
func Handler(b Backend, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	for _, r := range Routes(b, log) {
		mux.HandleFunc(r.Method+" "+r.Path, r.Handler)
	}
	return Matched(mux, func(w http.ResponseWriter, _ *http.Request, status int) {
		WriteError(w, status, "no such operation; "+Prefix+"/openapi.json lists all", "")
	})
}

// Matched serves a mux, but lets another function answer what none of its
// patterns takes. The status is 404, or 405 with the header Allow set.
func Matched(mux *http.ServeMux, unmatched func(w http.ResponseWriter, r *http.Request, status int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		v := verdict{header: http.Header{}, status: http.StatusNotFound}
		refuse.ServeHTTP(&v, r)
		if allow := v.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		if v.status != http.StatusMethodNotAllowed {
			v.status = http.StatusNotFound
		}
		unmatched(w, r, v.status)
	})
}

// verdict takes what a mux answers by itself, without the body.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }

type handler struct {
	b   Backend
	log *slog.Logger
}

// operation returns what is sent as JSON; nil is sent as 204.
type operation func(r *http.Request) (status int, body any, err error)

// do turns an operation into a handler: limits, errors, JSON.
func (h *handler) do(op operation) http.HandlerFunc { return h.within(maxBody, op) }

// within is do for requests of up to so many bytes.
func (h *handler) within(limit int64, op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		status, body, err := op(r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		if body == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		text, err := json.Marshal(body)
		if err != nil {
			h.fail(w, r, fmt.Errorf("encode answer: %w", err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(append(text, '\n')) // an error means that the caller has gone
	}
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, detail, field := StatusOf(err)
	if status == http.StatusInternalServerError {
		h.log.Error("api request failed", "component", "api", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	WriteError(w, status, detail, field)
}

// Error is the body of every error (RFC 9457).
type Error struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	Field  string `json:"field,omitempty"` // the field of the request at fault
}

// WriteError answers with an [Error].
func WriteError(w http.ResponseWriter, status int, detail, field string) {
	text, err := json.Marshal(Error{Status: status, Title: http.StatusText(status), Detail: detail, Field: field})
	if err != nil {
		text = []byte("{}") // strings and a number always encode
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// decode reads the one JSON object of a request.
func decode(r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &Invalid{Text: "send JSON, with Content-Type: application/json"}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return err
		}
		return &Invalid{Text: "the JSON can't be read: " + err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &Invalid{Text: "send one JSON object and nothing after it"}
	}
	return nil
}

func pathMAC(r *http.Request) (mac.Addr, error) {
	m, err := mac.Parse(r.PathValue("mac"))
	if err != nil {
		return m, &Invalid{Field: "mac", Text: err.Error()}
	}
	return m, nil
}

func pathAccount(r *http.Request) (mac.Account, error) {
	m, err := pathMAC(r)
	if err != nil {
		return mac.Account{}, err
	}
	slot, err := strconv.ParseUint(r.PathValue("slot"), 10, 8)
	if err != nil || slot == 0 {
		return mac.Account{}, &Invalid{Field: "slot", Text: "a slot is a number from 1 to 255"}
	}
	return mac.Account{MAC: m, Slot: uint8(slot)}, nil
}

func pathLine(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id <= 0 {
		return 0, &Invalid{Field: "id", Text: "the id of a line is a positive number"}
	}
	return id, nil
}

// number reads a query parameter; absent means without.
func number(r *http.Request, key string, without, low, high int64) (int64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return without, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, &Invalid{Field: key, Text: fmt.Sprintf("%s is a number from %d to %d", key, low, high)}
	}
	return n, nil
}
