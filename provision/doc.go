// Package provision gives every phone its own configuration, and nobody else's.
//
// It knows the vendors (what each asks for by DHCP, which files in which
// order, in which syntax), recognises a phone by what it sends, renders its
// configuration and serves it over HTTP and TFTP behind a guard. It does not
// know how phones register or call, nor where its data is stored.
package provision
