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
// A REGISTER is served where it was read, in memory and without a transaction.
// For all else sipgo starts a goroutine per message, without any order. The dispatcher
// restores it: handlers of one Call-ID start as their requests arrived, one at
// a time; only an INVITE that rings lets the others pass.
//
// Connections are bounded per source and overall. Those over which nobody has
// registered go first, the silent before the others. TLS shakes hands where
// the connection is read, so a slow peer holds up nobody.
//
// # PnP
//
// [PnP] hears the phones that ask by multicast where their configuration is. It
// reads a socket of its own per interface and judges as the endpoint does;
// its answers leave from the endpoint's sockets, so that what the phones say to
// them finds its transaction.
//
// # Events
//
// Phones subscribe (RFC 6665) to what a colleague does (dialog, RFC 4235) and to
// the mailbox of their line (message-summary, RFC 3842). The state of calls comes
// from what the calls tell the stories, that of mailboxes from the gateway, to
// whose word each line subscribes after it has registered. A subscription has
// one NOTIFY under way at most, and the next tells what holds then.
//
// # Goroutines
//
// One task per UDP socket reads it; one task per TCP or TLS socket accepts, and sipgo
// reads each connection in a goroutine that ends with it; one task keeps house
// once a second. PnP has one task per interface, and 64 answers at a time. [Endpoint.Close] waits for all handlers.
//
// A call is owned by one goroutine, that of the handler of its INVITE, until
// its record is written. Each INVITE of ours has a goroutine that reads its
// answers as long as it lives, also when the call has lost interest: a late
// 2xx must be ended. The [Gateways] and the [Upstream] are tasks, with one
// goroutine per registration; [Server.Drain] waits for what calls left behind.
//
// # Calls
//
// A [Server] is a back-to-back user agent (RFC 3261 §6): two dialogs with
// Call-IDs of their own, media anchored on each leg by package media, offers
// and answers (RFC 3264) made anew for each side. All phones of a line ring
// and the first 2xx wins. Towards the gateway nothing shows what the LAN looks
// like: the caller is the line, and the address is the one that the gateway
// itself told us in the Via of an answer (RFC 3581). Media there is SRTP with
// keys by SDES (RFC 4568) or there is no call.
//
// A change to a fax (T.38 over UDPTL) within a call is passed on where both
// sides talk in the clear; where one has SRTP it is refused, and the fax goes
// as audio.
//
// A transfer is carried out here, whoever asked for it (RFC 5589): the target
// is called under the line of who transfers, who is passed on gets a re-INVITE,
// and only then the one who transfers is let go. The peers need not know REFER
// or Replaces. In an attended transfer a leg moves from one call to another:
// its owner changes, and requests that were on their way follow it. Each pair
// of people that talks has a record of its own.
//
// Where a feature code is dialled ([FeatureCode]) the box is the other side
// itself: it answers, speaks, hears digits, and hangs up. A refusal that the
// phone's tones would not explain is spoken as early media before its final
// answer, if the caller's INVITE says where to.
//
// All signalling with a gateway, in both directions, goes over the one
// connection that we opened: nothing else leads through a NAT. [Gateways] keeps
// one to each server, and one of them is for new calls. A dialog stays with its
// server; when its connection is replaced, a re-INVITE tells where the call is
// reached now. An emergency
// call goes out under the caller's line, else under the site line.
//
// # Deviations
//
//   - 100rel (RFC 3262) and session timers (RFC 4028) hold between one peer
//     and us: neither side need know what the other one does. An INVITE
//     without an offer does not offer 100rel, for its PRACK would have to bring
//     the answer. An offer in a PRACK is answered with what the called agreed
//     to before, and is no business of it.
//   - UPDATE with an offer (RFC 3311) becomes a re-INVITE for the other side;
//     before the call is answered it is refused with 491.
//   - REFER outside of a dialog needs Target-Dialog (RFC 4538).
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
