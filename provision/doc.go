// Package provision gives every phone its own configuration, and nobody else's.
//
// It knows the vendors (what each asks for by DHCP, which files in which
// order, in which syntax), recognises a phone by what it sends, renders its
// configuration and serves it over HTTP and TFTP behind a guard. It does not
// know how phones register or call, nor where its data is stored.
//
// A vendor is a data file in vendors/ and, if its phones are configured here,
// templates in templates/<vendor>/. A new model is a line of data and a folder
// of golden files in testdata/; code is needed only where data can't say it.
//
// # What is given to whom
//
// A file that is the same for all phones carries no secret and goes to
// anybody. A file with a device identity goes to an address only if [Whois]
// says that the address is that phone's, no User-Agent contradicts it, and the
// phone's window is open (see [Windows]). Everybody else gets what an unknown
// file gets, byte for byte, and the stories of both phones say why. Who can
// forge the MAC address of a phone on its own segment can be that phone.
//
// Rendering is deterministic: the same inventory gives the same bytes, since
// phones skip a file that has not changed, or restart for one that has. Every
// value goes through the escaper of its syntax, which is checked when the
// templates are read.
//
// # Goroutines
//
// One task for each listener ([Server.Tasks]), and below it one goroutine for
// each connection of HTTP, within limits for each source and for all; for TFTP
// see package tftp. No request waits for anything but the inventory's disk,
// and that only if it brings news of the phone.
//
// # Standards
//
// HTTP/1.1 (RFC 9110, RFC 9112): GET, HEAD with If-None-Match and
// If-Modified-Since; PUT and POST of what phones write; no cookies, no
// redirects. TFTP (RFC 1350, RFC 2347 to 2349), reading and writing of the
// same files. DHCP option values by vendor: see [Catalog.Boot].
package provision
