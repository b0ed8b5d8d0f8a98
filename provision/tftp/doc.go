// Package tftp is a TFTP server for phones: RFC 1350 with the options of RFC
// 2347 (in any case of letters), blksize (RFC 2348), timeout and tsize (RFC
// 2349). Names are handed to a [Handler] as they came; the package opens no
// file.
//
// # Goroutines
//
// [Server.Run] reads requests on the well-known port and all transfers on one
// socket beside it, whose port is the server's transfer identifier; a transfer
// is a map entry, not a goroutine and not a socket, so a thousand phones that
// boot at once cost a thousand buffers of one block. Each request is judged
// and each upload stored in a goroutine of its own, of which there is a
// bounded number.
//
// # Deviations
//
// The transfer identifier of the server is chosen once for each listener, not
// for each transfer (RFC 1350 §4): the pair with the client's is unique all
// the same. A request that is repeated is not begun twice. Mail mode, obsolete
// since 1992, is refused. The options multicast (RFC 2090) and windowsize (RFC
// 7440) are not negotiated, which RFC 2347 allows for any option.
package tftp
