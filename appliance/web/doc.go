// Package web is the page for people: an HTTPS server of its own with a
// login, where an administrator sees the box, its phones and their stories,
// and gives lines to phones. Behind the same login it serves package api.
//
// It is not for phones: provisioning has its own server, and no cookie, route
// or listener is shared. [Landing] alone is shown on the phones' port, to a
// browser that opens it.
//
// What it trusts: nothing. The Host header is checked against DNS rebinding,
// every change of state against cross-site requests, every string of a device
// is escaped by html/template, and the content security policy allows no
// inline script or style. Passwords are hashed with argon2id (RFC 9106).
// Sessions live in memory and end when the process does.
//
// Goroutines: those of net/http, and the one of [Server.Run].
package web
