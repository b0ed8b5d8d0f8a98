package sipedge

import (
	"github.com/emiago/sipgo/sip"
)

// allowed are the methods that the box serves, in the order in which Allow
// lists them.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, UPDATE, INFO, PRACK, REFER, MESSAGE"

// handleOwn sets the handlers of the endpoint.
func (e *Endpoint) handleOwn() {
	e.Handle(sip.OPTIONS, e.options)
	e.Handle(sip.REGISTER, e.register)
	e.Handle(sip.SUBSCRIBE, e.subscribe)
	e.dispatch.other = func(r *Request) {
		if r.Method == sip.ACK {
			return // never answered (RFC 3261 §17.1.1.3)
		}
		e.answer(r, sip.StatusMethodNotAllowed, "Method Not Allowed", sip.NewHeader("Allow", allowed))
	}
}

// options answers with what the box can do (RFC 3261 §11.2).
func (e *Endpoint) options(r *Request) {
	e.answer(r, sip.StatusOK, "OK",
		sip.NewHeader("Allow", allowed),
		sip.NewHeader("Accept", "application/sdp"),
		sip.NewHeader("Accept-Language", "en"),
		sip.NewHeader("Supported", "replaces, timer"),
	)
	r.Tx.Terminate()
}
