// Package snippet writes settings for DHCP servers of others, so that phones
// there are led to the box: ISC dhcpd, Kea, dnsmasq, Windows, RouterOS,
// pfSense, OPNsense and Meraki.
//
// It is pure: plain values go in, text comes out. It knows the syntax of each
// server, how to quote in it and what the server can tell clients apart by,
// but no vendor of phones: who they are, what they send and what they read is
// given to it as [Group]s.
//
// Two rules hold for every server that can classify clients: an option goes
// only to what is recognised as a phone that reads it, and it goes there
// whether or not the phone's option 55 lists it, for few lists are known and
// option 66 must not move to the header instead (RFC 2131 §2, sname). Servers
// that can't keep a rule say so in a comment.
package snippet
