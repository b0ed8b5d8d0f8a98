package sipedge

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// handleOwn sets the handlers of the endpoint.
func (e *Endpoint) handleOwn() {
	e.Handle(sip.OPTIONS, e.options)
	e.Handle(sip.SUBSCRIBE, e.subscribe)
	e.dispatch.other = func(r *Request) {
		if r.Method == sip.ACK {
			return // never answered (RFC 3261 §17.1.1.3)
		}
		e.answer(r, sip.StatusMethodNotAllowed, "Method Not Allowed", e.allow())
	}
}

// allow lists the methods that are served (RFC 3261 §20.5). CANCEL has no
// handler, as it ends an INVITE's, and REGISTER is served where it is read.
func (e *Endpoint) allow() sip.Header {
	names := []string{"CANCEL", "REGISTER"}
	for method := range e.dispatch.handlers {
		names = append(names, string(method))
	}
	slices.Sort(names)
	return sip.NewHeader("Allow", strings.Join(names, ", "))
}

// options answers with what the box can do (RFC 3261 §11.2).
func (e *Endpoint) options(r *Request) {
	e.answer(r, sip.StatusOK, "OK",
		e.allow(),
		sip.NewHeader("Accept", "application/sdp"),
		sip.NewHeader("Accept-Language", "en"),
		supportedHeader(),
	)
	r.Tx.Terminate()
}
