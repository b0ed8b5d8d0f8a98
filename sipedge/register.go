package sipedge

import (
	"patchbay/appliance/story"
)

// flowLost is called when a connection has ended.
func (e *Endpoint) flowLost(f Flow) {
	for _, b := range e.location.lose(f) {
		e.tell(story.FlowLost, story.Local, b, 0)
	}
}

// expire ends the registrations that were not refreshed in time.
func (e *Endpoint) expire() {
	for _, b := range e.location.expire() {
		e.tell(story.Expired, story.Local, b, 0)
	}
}

// tell puts a step of a registration on the story of its phone.
func (e *Endpoint) tell(code story.Code, dir story.Direction, b Binding, seconds int64) {
	e.record(b.Account.MAC, story.Event{
		Time: e.now(), Proto: story.SIP, Dir: dir, Code: code,
		Args: story.Args{Account: b.Account, IP: b.Source.Addr(), Via: b.Transport, Seconds: seconds},
	})
}
