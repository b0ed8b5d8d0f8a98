// Package acme gets certificates from a public authority by the protocol of
// RFC 8555, for boxes that nobody can reach from outside: the authority is shown
// by DNS that the name is ours (challenge dns-01, §8.4), and the record is put
// there by a signed dynamic update (RFC 2136, TSIG of RFC 8945).
//
// It keeps nothing and starts no goroutine: one call is one order. Who calls it
// keeps the account key and the certificate.
package acme
