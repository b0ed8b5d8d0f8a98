package api

import (
	_ "embed"
	"net/http"
)

// Document is the OpenAPI 3.1 description of [Routes]. Tests hold the two
// together: each route and each field of a view is in it.
//
//go:embed openapi.json
var Document []byte

func document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(Document)
}
