package media

// Direction is what one side of a stream is ready to do (RFC 3264 §5.1), seen
// from that side. The zero value means that nobody said anything.
type Direction uint8

// The directions.
const (
	Unspecified Direction = iota
	SendRecv
	SendOnly
	RecvOnly
	Inactive
)

var directionText = [...]string{"", "sendrecv", "sendonly", "recvonly", "inactive"}

// String is the SDP attribute, empty for [Unspecified].
func (d Direction) String() string {
	if int(d) < len(directionText) {
		return directionText[d]
	}
	return ""
}

// Sends tells whether that side sends. An unspecified one does both.
func (d Direction) Sends() bool { return d != RecvOnly && d != Inactive }

// Receives tells whether that side listens.
func (d Direction) Receives() bool { return d != SendOnly && d != Inactive }

// Reverse is the same seen from the other side.
func (d Direction) Reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// And is what is left when both must agree, both seen from the same side.
func (d Direction) And(e Direction) Direction {
	return d.with(d.Sends() && e.Sends(), d.Receives() && e.Receives())
}

func (Direction) with(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}

func directionOf(name string) Direction {
	for i, t := range directionText {
		if i > 0 && t == name {
			return Direction(i)
		}
	}
	return Unspecified
}
