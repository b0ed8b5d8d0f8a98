// Package dhcp gives phones their addresses and tells them where their
// configuration is: a DHCPv4 server (RFC 2131) with the options that phones
// read, and the answer to the question whose address this is.
//
// It does not know what a configuration holds or who may have it.
package dhcp
