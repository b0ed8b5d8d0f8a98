package api

import (
	"context"
	"errors"
	"net/http"
)

// What a [Backend] returns when it is not at fault.
var (
	// ErrNotFound: there is no such phone, account or line.
	ErrNotFound = errors.New("not found")
	// ErrOffline: the phone is not registered, so nothing can be sent to it.
	ErrOffline = errors.New("the phone is not registered, so it can't be reached")
)

// Invalid is an input that can't be accepted, said to the person who wrote
// it. Conflicts with other entries are Invalid too.
type Invalid struct {
	Field string // JSON name of the field at fault, empty if none is alone
	Text  string // one sentence that says what to write instead
}

// Error implements error.
func (e *Invalid) Error() string { return e.Text }

// StatusOf maps an error to its HTTP status and to the words that the caller
// may read. The words of an error of the box itself stay in the log.
func StatusOf(err error) (status int, detail, field string) {
	if bad, ok := errors.AsType[*Invalid](err); ok {
		return http.StatusUnprocessableEntity, bad.Text, bad.Field
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, "the request is too large", ""
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound, ErrNotFound.Error(), ""
	case errors.Is(err, ErrOffline):
		return http.StatusConflict, ErrOffline.Error(), ""
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "it took too long; try again", ""
	default:
		return http.StatusInternalServerError, "the box could not do it; its log says why", ""
	}
}
