// Package sipedge is the SIP server of the site: the registrar that phones
// register to, the back-to-back user agent that their calls go through, and
// the upstream side towards the gateway.
//
// It does not know how phones get their configuration, who signs in, or
// where its data is stored. sipgo transports, parses and runs transactions;
// judging, registering, routing and calls are here.
//
// # The way of a message
//
// An [Endpoint] owns the sockets of the LAN. A datagram, or the next message of
// a connection, goes through the limiter (one bucket per source address, before
// anything is parsed), is split and judged (RFC 3261 §8.2, the torture tests of
// RFC 4475 and RFC 5118), is noted in the order of arrival, and only then seen
// by sipgo. What is refused is answered without a transaction. Nothing on that
// way waits for a name server, a disk or another peer.
//
// sipgo then starts a goroutine per message, without any order. The dispatcher
// restores it: handlers of one Call-ID start as their requests arrived, one at
// a time; only an INVITE that rings lets the others pass.
//
// # Goroutines
//
// One task per UDP socket reads it; one task per TCP socket accepts, and sipgo
// reads each connection in a goroutine that ends with it; one task keeps house
// once a second. [Endpoint.Close] waits for all handlers.
//
// # Deviations
//
//   - An account has one live binding (RFC 3261 §10 allows many): the phone's
//     new contact replaces the ghost that it left behind.
//   - One MD5 challenge, without a second one for SHA-256 (RFC 8760): old
//     phones fail on two.
//   - Requests to a phone go over the flow that it registered over, whatever
//     its Contact says (RFC 5626 without its headers). A connection that is
//     gone is never dialled: the phone comes back.
//   - CSeq that is lower than that of the binding is refused for 32 s only
//     (§10.3 step 7): phones begin anew after a power cut.
//   - A long request is not moved from UDP to TCP (§18.1.1): phones do not
//     accept connections, and take fragments.
//   - The URI of a digest is not compared with that of the request line.
package sipedge
