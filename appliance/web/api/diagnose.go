package api

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"patchbay/appliance/story"
)

// Diagnosis answers the question why a phone does not work.
type Diagnosis struct {
	OK   bool   `json:"ok"` // it works
	Text string `json:"text"`
	Fix  string `json:"fix,omitempty"` // the next thing to do
	// Approve is an address that the phone was refused from, and that an
	// administrator may approve.
	Approve netip.Addr `json:"approve,omitzero"`
	// Window: the fix begins with opening the time for fetching.
	Window bool `json:"window,omitempty"`
}

// Diagnose judges a phone by its state and the newest part of its story, newest
// first. It is pure; the words are English.
func Diagnose(p Phone, newest []Entry) Diagnosis {
	switch p.State {
	case SignedIn:
		return signedIn(p)
	case Onboarded:
		return Diagnosis{
			Text: "It is registered, and nobody is signed in: it can dial emergency numbers only.",
			Fix:  "Assign a line to one of its accounts.",
		}
	default:
		if d, ok := refused(newest); ok {
			return d
		}
		if p.State == Offline {
			return Diagnosis{
				Text: "It was registered once and is not reachable now.",
				Fix:  "Check its cable and power; if its screen is on, restart it.",
			}
		}
		return onItsWay(newest)
	}
}

func signedIn(p Phone) Diagnosis {
	for _, a := range p.Accounts {
		if a.FlowLost {
			return Diagnosis{
				Text: fmt.Sprintf("The connection of account %d is lost; it comes back when the phone refreshes its registration.", a.Slot),
				Fix:  "Wait a few minutes, or restart the phone.",
			}
		}
		if a.Line != nil && a.State != SignedIn {
			return Diagnosis{
				Text: fmt.Sprintf("Account %d has a line and is not registered; its other accounts work.", a.Slot),
				Fix:  "Let the phone fetch its configuration again.",
			}
		}
	}
	return Diagnosis{OK: true, Text: "It works: registered and signed in."}
}

// refused looks for the newest refusal that nothing good came after.
func refused(newest []Entry) (Diagnosis, bool) {
	for _, e := range newest {
		switch e.Code {
		case story.Refused:
			d := Diagnosis{
				Text: "It asked for its configuration and was refused: " + e.Args.Reason.Words() + ".",
				Fix:  "Restart the phone, so that it asks again.",
			}
			switch e.Args.Reason {
			case story.AddressUnknown:
				d.Approve = e.Args.IP
				d.Text = fmt.Sprintf("It asked for its configuration and was refused: nothing says that %v is its address.", e.Args.IP)
				d.Fix = fmt.Sprintf("If %v is the address on its screen, approve it, then restart the phone.", e.Args.IP)
			case story.WindowClosed:
				d.Fix, d.Window = "Open its time for fetching, then restart the phone.", true
			case story.AddressOfOther:
				d.Fix = fmt.Sprintf("Find out which device has %v; two phones may have one address.", e.Args.IP)
			}
			return d, true
		case story.NoOffer, story.Nak:
			if !e.Trouble() {
				continue
			}
			return Diagnosis{
				Text: "It asked for an address and got none: " + e.Args.Reason.Words() + ".",
				Fix:  "See to the addresses of its network, then restart the phone.",
			}, true
		case story.RegisterRefused:
			return Diagnosis{
				Text: "It tried to register and was refused: " + e.Args.Reason.Words() + ".",
				Fix:  "Open its time for fetching, then restart the phone, so that it gets a fresh configuration.", Window: true,
			}, true
		case story.Served, story.Ack, story.Registered, story.Approved, story.Window:
			return Diagnosis{}, false
		}
	}
	return Diagnosis{}, false
}

// slowAfter is how long a phone may rest between two steps of its start; old
// ones take minutes from address to registration.
const slowAfter = 5 * time.Minute

// onItsWay says which step of its start a phone took last.
func onItsWay(newest []Entry) Diagnosis {
	i := slices.IndexFunc(newest, func(e Entry) bool {
		return slices.Contains([]story.Code{story.Served, story.Unchanged, story.Ack, story.Offer, story.Discover}, e.Code)
	})
	if i < 0 {
		return Diagnosis{
			Text: "It was never seen on the network.",
			Fix:  "Plug it in, and check that its network cable leads to the network of this box.",
		}
	}
	patience := fmt.Sprintf("Wait %s; then restart the phone.", Span(slowAfter))
	switch newest[i].Code {
	case story.Served, story.Unchanged:
		return Diagnosis{Text: "It has fetched its configuration and has not registered yet.", Fix: patience}
	case story.Ack:
		return Diagnosis{
			Text: "It has an address and has not asked for its configuration yet.",
			Fix:  patience + " If that does not help, reset it to factory settings: an old provisioning address may be set in it.",
		}
	case story.Offer:
		return Diagnosis{Text: "It was offered an address and did not take it.", Fix: "Look for another DHCP server on its network."}
	default:
		return Diagnosis{Text: "It asked for an address and got no offer yet.", Fix: patience}
	}
}
