// Package api is what an administrator's programs see of the box: the views
// that the page and the command line show, the [Backend] that they come from,
// and the same things as JSON under /api/v1 with an OpenAPI document.
//
// [Handler] answers the requests. It is served twice: by package web behind
// its login, and by [Unix] on a socket file without one, where the kernel says
// who calls. [Client] is the other end of the socket.
//
// The package asks nothing of a protocol and keeps no state. Goroutines: the
// one of [Unix.Run], those that net/http makes for it, and one for each
// [Client.Follow] while it runs.
package api
