package tftp

import (
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// transfer is one file on its way. Its fields belong to the loop of the
// transfers once it is in the map, but for what Server.mu guards.
type transfer struct {
	req     Request
	block   int // size of a block in bytes
	every   time.Duration
	content Content // of a read
	size    int64   // bytes that are sent in all
	max     int64   // of a write

	n      int64  // number of the block that is under way, not cut to 16 bits
	last   []byte // packet that was sent last, for repeating it
	final  bool   // last is the end of the file; its acknowledgement ends the transfer
	file   []byte // of a write, what has come
	done   bool   // of a write: stored, and kept to acknowledge a repeated last block
	busy   bool   // of a write: being stored
	sentAt time.Time
	sent   int // times that last was sent

	begun   time.Time
	judging bool // Server.mu: the handler is looking at the request
	heard   bool // Server.mu: the client has answered, so its request is old
}

// first makes the first packet: the options, or else the first block or the
// leave to send it.
func (t *transfer) first() error {
	if ack := t.req.optionAck(t.shownSize()); ack != nil {
		t.n, t.last = 0, ack
		return nil
	}
	if t.req.Write {
		t.n, t.last = 0, packAck(0)
		return nil
	}
	return t.next()
}

func (t *transfer) shownSize() int64 {
	if t.req.Write {
		return t.req.Size
	}
	return t.size
}

// next makes the packet of the next block of a read. The last block is
// shorter than the others, and empty if the file ends with a full one.
func (t *transfer) next() error {
	at := t.n * int64(t.block)
	length := min(int64(t.block), t.size-at)
	if cap(t.last) < 4+t.block {
		t.last = make([]byte, 0, 4+t.block)
	}
	t.last = t.last[:4+length]
	if length > 0 {
		if n, err := t.content.ReadAt(t.last[4:], at); int64(n) < length {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	t.n++
	t.final = length < int64(t.block)
	binary.BigEndian.PutUint16(t.last, opData)
	binary.BigEndian.PutUint16(t.last[2:], uint16(t.n)) // wraps to 0, as clients expect
	return nil
}

// acked takes an acknowledgement and reports what is to be sent, and whether
// the transfer has ended. One of another block is old, and must not make us
// send twice for ever (RFC 1123 §4.2.3.1).
func (t *transfer) acked(block uint16) (send []byte, ended bool, err error) {
	if t.req.Write || block != uint16(t.n) {
		return nil, false, nil
	}
	if t.final {
		return nil, true, nil
	}
	if err := t.next(); err != nil {
		return nil, true, err
	}
	return t.last, false, nil
}

// arrived takes a block of a write and reports what is to be sent; whole is
// true when the file is complete and must be stored before that is told.
func (t *transfer) arrived(block uint16, data []byte) (send []byte, whole bool, err error) {
	switch {
	case !t.req.Write || t.busy:
		return nil, false, nil
	case block == uint16(t.n) && t.n > 0: // our acknowledgement was lost
		return t.last, false, nil
	case t.done || block != uint16(t.n+1):
		return nil, false, nil
	case len(data) > t.block:
		return nil, false, &Error{Illegal, "block is too long"}
	case int64(len(t.file)+len(data)) > t.max:
		return nil, false, &Error{Full, "file is too large"}
	}
	t.n++
	t.file = append(t.file, data...)
	t.last = packAck(block)
	if len(data) < t.block {
		return nil, true, nil
	}
	return t.last, false, nil
}
