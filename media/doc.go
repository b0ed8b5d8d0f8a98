// Package media anchors the audio of calls: it opens port pairs, moves RTP and
// RTCP between the two legs of a call, protects a leg with SRTP where its SDP
// said so, measures what arrives, and rewrites the SDP so that each side only
// ever sees this box.
//
// Where this box itself is the other side of a call, a [Player] speaks and a
// [Listener] hears digits or echoes.
//
// It knows nothing of SIP: who calls whom, and when a leg changes, is told by
// its caller. It does not transcode; two sides without a common codec get
// [ErrNoCommonCodec].
//
// Goroutines: the sockets of a [PortPool] are read by one for each processor,
// which carries what came to the other leg and sends it. [Relay.Run] and
// [Listener.Run] send the keep-alives in their callers'. Nothing else here starts
// a goroutine. All methods of [Stream] and [PortPool] may be called at any time
// from any goroutine.
//
// Sources: RFC 3550 (RTP, statistics), RFC 3551 (static payload types), RFC
// 3605 (a=rtcp), RFC 3711 (SRTP), RFC 4568 (SDES keys), RFC 3264 (offer and
// answer), RFC 4961 (symmetric RTP), RFC 6263 (keep-alive), RFC 8866 (SDP),
// ITU-T G.107 (E-model).
//
// Deviations, all deliberate: SDP is read leniently (see [ParseSDP]); RTP from
// another address than the one in the SDP is dropped unless the stream was
// allowed to learn ([Learn]); RTCP is not passed as it is, because its SDES
// packets carry host names and addresses of the other side.
package media
