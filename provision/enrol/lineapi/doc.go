// Package lineapi is the contract by which a gateway tells a box which line
// belongs to a user: one HTTPS request, described by openapi.yaml in this
// folder, and a client for it.
//
//	GET {base}/v1/lines/{user}            one line, with its policy
//	If-None-Match: "…"                    304 while nothing has changed
//
// {user} is the value of the claim by which the identity provider names the
// user, percent-encoded. The box authenticates by a bearer token of its own
// (RFC 6750). 404 means that the user has no line, 403 that the line may not be
// used by SIP devices any more; both end a sign-in that there is. Every other
// answer, and none, leaves everything as it is: what is known goes on.
//
// The package starts no goroutine and keeps nothing.
package lineapi
