// Package mdns makes the box be found by name on a LAN that has no name
// server: patchbay.local, and its page among the services that browsers of
// the network list (RFC 6762, RFC 6763).
//
// It answers for its own names only and asks nothing for others. Messages are
// packed and read by miekg/dns; when what is said is here: names are probed
// for before they are used (§8.1), announced (§8.3), defended or given up
// (§9), and taken back at the end (§10.1).
//
// # Goroutines
//
// One task per interface, which owns its socket and its state.
//
// # Deviations
//
//   - IPv4 only, as the LAN side of the box is.
//   - Probes carry the addresses, and all names are probed together; the loser
//     of a tie waits and probes again (§8.2).
//   - An answer is not delayed by 20 to 120 ms (§6): every record here is
//     unique to the box, but for the types of service, where a collision of a
//     few answers does no harm.
//   - Known answers that follow a truncated question (§7.2) are not waited for.
package mdns
