package sipedge

import (
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// parkSlot reads the target of a transfer that parks: the code and the slot, which
// is any short number; without one it is the extension of who parks. ok is
// false for other targets.
func (s *Server) parkSlot(number, own string) (slot string, ok bool) {
	slot, ok = s.cutCode(digits(number), FeaturePark)
	switch {
	case !ok || strings.ContainsAny(slot, "*#+") || len(slot) > 8:
		return "", false
	case slot == "":
		return own, own != ""
	}
	return slot, true
}

// park lets who is passed on wait in a slot. It hears what the phone that
// parked played last: nothing is negotiated until somebody fetches it.
func (c *call) park(slot string) {
	t := c.transfer
	if t.held.gateway && t.by.gateway {
		c.tryFailed(errNotYours)
		return
	}
	if !c.s.takeSlot(slot, c) {
		c.tryFailed(errSlotTaken)
		return
	}
	c.parked = slot
	t.until = time.Now().Add(c.s.cfg.Park)
	c.disconnectMedia()
	c.log.Info("parked", "slot", slot)
	c.note(sip.StatusOK, true)
}

// unpark ends the waiting: the call rings at who parked it.
func (c *call) unpark() {
	c.s.freeSlot(c.parked, c)
	c.parked = ""
	if c.busy { // somebody fetches it just now
		return
	}
	c.recall()
}

// byRetrieve fetches a parked call.
func (c *call) byRetrieve(slot string) error {
	if c.line.ID == 0 {
		return errNotSignedIn
	}
	if slot == "" {
		slot = c.a.shown.Number
	}
	c.s.mu.Lock()
	other := c.s.parked[slot]
	c.s.mu.Unlock()
	if other == nil {
		return errNothingParked
	}
	return c.enterOther(other, func(ad *admission) {
		if other.parked == "" || other.transfer == nil {
			ad.refuse(errNothingParked)
			return
		}
		other.replace(ad, other.transfer.by)
	})
}

// takeSlot is false if a call is parked there.
func (s *Server) takeSlot(slot string, c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parked[slot] != nil {
		return false
	}
	s.parked[slot] = c
	return true
}

func (s *Server) freeSlot(slot string, c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parked[slot] == c {
		delete(s.parked, slot)
	}
}
