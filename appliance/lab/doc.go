// Package lab holds the peers that Patchbay is tried against: desk phones and
// a SIP gateway. The demonstration and the end-to-end tests use them.
//
// A [Phone] is a whole phone: it asks for an address (RFC 2131), reads the
// option that its vendor reads, fetches the files that its vendor asks for,
// parses them, registers (RFC 3261 §10) and makes and takes calls with G.711
// audio (RFC 3551). What makes it a Yealink, a Poly or a Cisco is data, a
// [Personality]. A [Gateway] is a registrar and telephone network behind SIP
// over TLS with SRTP keyed by SDES (RFC 4568). [Run] is the demonstration.
//
// Phones are written from what vendors document and from the RFCs, and never
// from what this box renders or answers: the package imports nothing of
// provision and sipedge, so a wrong belief there is not repeated here. It
// stands in for phones, not for their owners: what an administrator does is
// asked of an [Admin].
//
// Everything a phone says after its lease leaves from the leased address. On
// loopback that is one of 127/8, which Linux lets anybody bind.
//
// Goroutines: one per socket that is read, one per registration that is kept,
// one per lease, two per stream of audio. All of them end with Close of the
// phone or the gateway that owns them, which waits.
package lab
