package sipedge

// Limits of what is read from the network, before anything is understood.
const (
	maxMessage  = 64 << 10
	maxDatagram = 32 << 10 // what sipgo reads at once
	maxLine     = 8 << 10
	maxHeaders  = 100
	maxVias     = 20
)

// fault is why a message is not served. A nil fault is none.
type fault struct {
	status  int    // what a request is answered; 0: nothing
	reason  string // reason phrase
	detail  string // for the story and the log
	headers []field
}

// or keeps the first of two faults.
func (f *fault) or(other *fault) *fault {
	if f != nil {
		return f
	}
	return other
}

func badRequest(detail string) *fault {
	return &fault{status: 400, reason: "Bad Request", detail: detail}
}

// judge says what is wrong with a message, or nil.
func judge(m *message, _ Flow) *fault {
	if m.status != 0 {
		return nil
	}
	return nil
}
