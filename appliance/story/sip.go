package story

import "fmt"

// The codes of registration and calls.
const (
	Registered      Code = "sip.registered"       // Account, IP, Via, Seconds
	Refreshed       Code = "sip.refreshed"        // as Registered
	Unregistered    Code = "sip.unregistered"     // Account
	Expired         Code = "sip.expired"          // Account
	FlowLost        Code = "sip.flow-lost"        // Account, Via
	RegisterRefused Code = "sip.register-refused" // Account, IP, Status, Reason
	Resync          Code = "sip.resync"           // Account, Detail (event), Status
	BadMessage      Code = "sip.bad-message"      // IP, Status, Detail
	TLSFailed       Code = "sip.tls-failed"       // IP, Detail
	CallOut         Code = "sip.call-out"         // Number, Call, Via
	CallIn          Code = "sip.call-in"          // Number, Name, Call, Via
	CallAnswered    Code = "sip.call-answered"    // Number, Call
	CallEnded       Code = "sip.call-ended"       // Number, Call, Duration
	CallFailed      Code = "sip.call-failed"      // Number, Call, Status, Reason
	Transferred     Code = "sip.transferred"      // Number, Name: its call goes on with that party
	TransferFailed  Code = "sip.transfer-failed"  // Status, Reason
	CallForwarded   Code = "sip.call-forwarded"   // Number, Call, Reason
	Emergency       Code = "sip.emergency"        // Number, Call, Via
	Quality         Code = "rtp.quality"          // Call, Detail
	AudioMissing    Code = "rtp.missing"          // Call, Duration, Name: phone, peer or gateway, whose audio it is
	AudioBack       Code = "rtp.back"             // Call, Name
	QualityReport   Code = "sip.quality-report"   // Call, Detail
	PnpAsked        Code = "sip.pnp-asked"        // IP, Vendor, Model, Firmware
	PnpTold         Code = "sip.pnp-told"         // IP, URL, Status
	PnpSilent       Code = "sip.pnp-silent"       // IP, URL
	PnpRefused      Code = "sip.pnp-refused"      // IP, MAC (whose address it is), Reason
)

// The reasons of registration and calls.
const (
	WrongPassword   Reason = "wrong-password"
	AccountUnknown  Reason = "account-unknown"
	WrongAddress    Reason = "wrong-address"
	NotSignedIn     Reason = "not-signed-in"
	NumberUnknown   Reason = "number-unknown"
	NobodyThere     Reason = "nobody-there"
	GatewayDown     Reason = "gateway-down"
	GatewayRefused  Reason = "gateway-refused"
	NoEmergencyPath Reason = "no-emergency-path"
	Preempted       Reason = "preempted"
	CodeNotAllowed  Reason = "code-not-allowed"
	NoCommonCodec   Reason = "no-common-codec"
	NoMediaPorts    Reason = "no-media-ports"
	Busy            Reason = "busy"
	NoAnswer        Reason = "no-answer"
	Cancelled       Reason = "cancelled"
	Stopping        Reason = "stopping"
	NoAudio         Reason = "no-audio"
	Elsewhere       Reason = "answered-elsewhere"
	NoCommonCrypto  Reason = "no-common-crypto"
	SessionExpired  Reason = "session-expired"
	PnpUnrecognised Reason = "pnp-unrecognised"
	WindowByPnp     Reason = "window-pnp"
)

// whose names the side that audio comes from, seen from the phone of the story.
var whose = map[string]string{"phone": "the phone", "peer": "the other phone", "gateway": "the gateway"}

var whereToLook = map[string]string{
	"phone":   "look at the phone's network port, or for a firewall between it and the box",
	"peer":    "look at the other phone's network port, or for a firewall between it and the box",
	"gateway": "look at the connection to the Internet: RTP of the gateway does not get in",
}

var sipWords = map[Code]func(Args) string{
	Registered:      with("registered account %d from %v by %v", slot, ip, via),
	Refreshed:       with("refreshed its registration of account %d", slot),
	Unregistered:    with("ended its registration of account %d", slot),
	Expired:         with("did not refresh its registration of account %d in time", slot),
	FlowLost:        with("lost its %v connection; it is reached again when it reconnects", via),
	RegisterRefused: with("was refused registration (%d)", status),
	Resync:          func(a Args) string { return fmt.Sprintf("was asked to fetch its configuration again (%s)", a.Detail) },
	BadMessage:      func(a Args) string { return fmt.Sprintf("sent a SIP message that breaks the rules: %s", a.Detail) },
	TLSFailed:       func(a Args) string { return "tried to connect by TLS, but " + a.Detail },
	CallOut: func(a Args) string {
		if a.Via == "gateway" {
			return fmt.Sprintf("called %s through the gateway", a.Number)
		}
		return fmt.Sprintf("called %s", a.Number)
	},
	CallIn: func(a Args) string {
		return "is called by " + party(a)
	},
	CallAnswered: with("is connected with %s", number),
	CallEnded:    func(a Args) string { return fmt.Sprintf("call with %s ended after %s", a.Number, span(a.Duration)) },
	CallFailed:   with("call with %s failed (%d)", number, status),
	Transferred:  func(a Args) string { return "its call goes on with " + party(a) },
	TransferFailed: func(a Args) string {
		return fmt.Sprintf("its transfer failed (%d)", a.Status)
	},
	CallForwarded: with("a call for it was forwarded to %s", number),
	Emergency:     func(a Args) string { return fmt.Sprintf("EMERGENCY CALL to %s by %v", a.Number, a.Via) },
	Quality:       func(a Args) string { return "sound of the call: " + a.Detail },
	AudioMissing: func(a Args) string {
		return fmt.Sprintf("no audio comes from %s for %s; %s", whose[a.Name], span(a.Duration), whereToLook[a.Name])
	},
	AudioBack:     func(a Args) string { return "audio comes from " + whose[a.Name] + " again" },
	QualityReport: func(a Args) string { return "reported how the call sounded: " + a.Detail },
	PnpAsked:      with("asked by SIP PnP where its configuration is, from %v", ip),
	PnpTold: func(a Args) string {
		if a.Status >= 300 {
			return fmt.Sprintf("was told by SIP PnP to fetch from %s and refused (%d)", a.URL, a.Status)
		}
		return "was told by SIP PnP to fetch from " + a.URL
	},
	PnpSilent: func(a Args) string {
		return fmt.Sprintf("was told by SIP PnP to fetch from %s and did not acknowledge it", a.URL)
	},
	PnpRefused: func(a Args) string {
		s := fmt.Sprintf("somebody at %v asked by SIP PnP in its name and was not answered", a.IP)
		if !a.MAC.IsZero() {
			s += fmt.Sprintf("; %v is the address of %v", a.IP, a.MAC)
		}
		return s
	},
}

var sipReasons = map[Reason]string{
	WrongPassword:   "wrong password; the phone holds an old configuration, so let it fetch the new one",
	AccountUnknown:  "no such account; let the phone fetch its configuration again",
	WrongAddress:    "the account belongs to a phone at another address",
	NotSignedIn:     "nobody is signed in at this phone; it can dial feature codes and emergency numbers only",
	NumberUnknown:   "nobody has this number",
	NobodyThere:     "no phone of this line is registered",
	GatewayDown:     "the gateway can't be reached",
	GatewayRefused:  "the gateway refused",
	CodeNotAllowed:  "the policy of the line does not allow this feature code",
	Preempted:       "an emergency call needed the ports of this one",
	NoEmergencyPath: "no way out: the gateway can't be reached and no fallback is fitted. The emergency services were NOT reached",
	NoCommonCodec:   "the two sides have no codec in common",
	NoMediaPorts:    "no free media port; enlarge the range",
	Busy:            "the other side is busy",
	NoAnswer:        "nobody answered",
	Cancelled:       "the caller hung up first",
	Stopping:        "the box is stopping",
	NoAudio:         "no audio arrived",
	Elsewhere:       "another phone of the line answered",
	NoCommonCrypto:  "the two sides can't agree on how to encrypt the audio",
	SessionExpired:  "the other side did not say any more that it is there",
	PnpUnrecognised: "nothing tells a vendor that is known here",
	WindowByPnp:     "it has just asked by SIP PnP",
}

// party is who is at the other end.
func party(a Args) string {
	if a.Name == "" {
		return a.Number
	}
	return a.Name + " (" + a.Number + ")"
}
