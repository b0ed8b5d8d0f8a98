// Package dhcp gives phones their addresses and tells them where their
// configuration is: a DHCPv4 server (RFC 2131) with the options that phones
// read, and the answer to the question whose address this is.
//
// It does not know what a configuration holds or who may have it, and it does
// not keep leases on disk: a [LeaseStore] does, and a [BootServer] knows the
// options of each vendor.
//
// # Goroutines
//
// [Server.Run] owns three: the receive loop, which decides everything in
// memory and never waits; the scout, which asks for addresses by ARP before
// they are offered; and the watch, which looks for other DHCP servers. Besides
// these there is one for each lease that is being written. An ACK is sent
// when its lease is on disk, never before, and meanwhile others are served.
//
// # RFC 2131
//
// The states of §4.3 are the methods in handle.go, the addressing of §4.1 is
// in reply.go. Where the RFC leaves a choice:
//
//   - A client is its option 61, else its chaddr (§4.2). But a device that
//     sends option 61 at one time and not at another keeps its address, as
//     boot loaders and firmware of one phone differ in this.
//   - A lease that we don't know is refused with a NAK in RENEWING, which was
//     sent to us alone, and ignored in REBINDING and INIT-REBOOT. What comes
//     through a relay is REBINDING, unless the relay says otherwise (RFC 5010).
//   - An address that is reserved for a device is offered at its next
//     DISCOVER; a lease in force is not cut short for it.
//   - Options are read from sname and file (option 52), but never go there,
//     because phones don't look there. What does not fit is left out, last wish first.
//   - Plain BOOTP, hardware other than Ethernet, and relays on networks of
//     which we have no addresses are not served.
//   - A device that is neither known nor a phone is ignored while hundreds
//     of them a second come: somebody makes them up.
//   - If a renewal can't be written, the client may keep what is left of the
//     term that is on disk.
package dhcp
