package story

import (
	"fmt"
	"time"
)

// The codes of what people did.
const (
	Approved      Code = "admin.approved"      // IP: this address may fetch the configuration of this phone
	Disapproved   Code = "admin.disapproved"   // IP: its approval was taken back
	PhoneEnrolled Code = "admin.enrolled"      // accepted into the organisation's inventory
	LineAssigned  Code = "admin.line-assigned" // Account, Name, Number
	LineRemoved   Code = "admin.line-removed"  // Account
	Enlisted      Code = "admin.enlisted"      // Vendor, Model: the phone is in the inventory from now on
	PasswordNew   Code = "admin.password-new"  // Account: its device identity was replaced
	LeaseEnded    Code = "admin.lease-ended"   // IP
	Reserved      Code = "admin.reserved"      // IP
	Unreserved    Code = "admin.unreserved"    // IP
	PathRenewed   Code = "admin.path-renewed"
	CodeIssued    Code = "admin.code-issued" // Seconds: how long it is good for
	CodeWithdrawn Code = "admin.code-withdrawn"
	PhoneRetired  Code = "admin.retired"        // put back to the phones that wait
	Located       Code = "admin.located"        // Account, Detail
	Replaced      Code = "admin.replaced"       // MAC: the phone that it took the place of
	CodeTaken     Code = "enrol.code-taken"     // Account: its verification code was dialled on it
	CodeRefused   Code = "enrol.code-refused"   // Account, Reason, Free (tries left), Total
	ActionWaits   Code = "enrol.action-waits"   // Account, Detail (kind), Reason
	ActionDone    Code = "enrol.action-done"    // Account, Detail (kind)
	ActionFailed  Code = "enrol.action-failed"  // Account, Detail (kind), Reason
	PairingShown  Code = "enrol.pairing-shown"  // Account, URL, Seconds
	PairingFailed Code = "enrol.pairing-failed" // Account, Reason, Detail
	IdentityTaken Code = "enrol.identity-taken" // Account: it uses its new device identity
	TwoSources    Code = "enrol.two-sources"    // Account, IP, Peer: both use one device identity
)

// The reasons of enrolment.
const (
	CodeWrong        Reason = "code-wrong"
	CodeTooMany      Reason = "code-too-many"
	LineRevoked      Reason = "line-revoked"
	GrantOver        Reason = "grant-over"
	ActionOffline    Reason = "action-offline"
	ActionRefused    Reason = "action-refused"
	ActionNotFetched Reason = "action-not-fetched"
	ActionNotHeard   Reason = "action-not-heard"
	ActionInCall     Reason = "action-in-call"
	PairingDenied    Reason = "pairing-denied"
	PairingExpired   Reason = "pairing-expired"
	PairingNetwork   Reason = "pairing-network"
	PairingNoLine    Reason = "pairing-no-line"
	PairingRefused   Reason = "pairing-refused"
)

var adminWords = map[Code]func(Args) string{
	Approved:      with("an administrator approved the address %v (%v)", ip, evidence),
	Disapproved:   with("an administrator took back the approval of the address %v", ip),
	PhoneEnrolled: plain("an administrator enrolled it"),
	LineAssigned:  with("account %d was given to %s (%s)", slot, name, number),
	LineRemoved:   with("account %d was taken from its line", slot),
	Enlisted:      with("was seen for the first time: %v", model),
	PasswordNew:   with("account %d got a new device password", slot),
	LeaseEnded:    with("an administrator ended its lease of %v", ip),
	Reserved:      with("an administrator reserved %v for it", ip),
	PathRenewed:   plain("an administrator gave it a new personal address"),
	Unreserved:    with("an administrator took back its reservation of %v", ip),
	CodeIssued: func(a Args) string {
		return fmt.Sprintf("got a verification code, good for %s; it is enrolled when *55 and the code are dialled on it", span(time.Duration(a.Seconds)*time.Second))
	},
	CodeWithdrawn: plain("its verification code was withdrawn"),
	PhoneRetired:  plain("an administrator put it back to the phones that wait"),
	Located: func(a Args) string {
		if a.Detail == "" {
			return fmt.Sprintf("nobody knows where account %d stands any more", a.Account.Slot)
		}
		return fmt.Sprintf("account %d stands at %s", a.Account.Slot, a.Detail)
	},
	Replaced:  func(a Args) string { return fmt.Sprintf("took the place of %v, with its lines and settings", a.MAC) },
	CodeTaken: plain("was enrolled: its verification code was dialled on it"),
	CodeRefused: func(a Args) string {
		if a.Reason == CodeWrong {
			return fmt.Sprintf("a wrong verification code was dialled on it; %d of %d tries are left today", a.Free, a.Total)
		}
		return "a verification code was dialled on it and not looked at"
	},
	ActionWaits:  func(a Args) string { return "is to " + actionWord(a) + ", which waits" },
	ActionDone:   func(a Args) string { return "has done what it was asked: " + actionWord(a) },
	ActionFailed: func(a Args) string { return "has not done what it was asked: " + actionWord(a) },
	PairingShown: func(a Args) string {
		return fmt.Sprintf("somebody wants to sign in on account %d and was told to open %s", a.Account.Slot, a.URL)
	},
	PairingFailed: with("signing in on account %d failed", slot),
	IdentityTaken: with("account %d uses its new device password", slot),
	TwoSources: func(a Args) string {
		return fmt.Sprintf("account %d is used from two places: %v and %v", a.Account.Slot, a.IP, a.Peer)
	},
}

func actionWord(a Args) string {
	if a.Detail == "restart" {
		return "restart"
	}
	return "fetch its configuration"
}

var adminReasons = map[Reason]string{
	CodeWrong:        "the code is wrong or over; look at the list of phones that wait, and make a new one if need be",
	CodeTooMany:      "too many wrong codes today; make a new code for it, or enrol it on the page",
	LineRevoked:      "the policy no longer lets SIP devices be used for calls by this line",
	GrantOver:        "the identity provider no longer vouches for the user, and the gateway takes no other proof; sign in again",
	ActionOffline:    "it is not registered; it fetches its configuration when it starts",
	ActionRefused:    "it refused to be asked by SIP; restart it by hand",
	ActionNotFetched: "it said yes, but did not fetch its configuration; restart it by hand",
	ActionNotHeard:   "it fetched its configuration, but was not heard of since; look whether it is on",
	ActionInCall:     "somebody is talking on it; it is asked when the call is over",
	PairingDenied:    "the user or the identity provider said no",
	PairingExpired:   "nobody entered the code in time; dial *56 again",
	PairingNetwork:   "the identity provider can't be reached",
	PairingNoLine:    "there is no line for this user",
	PairingRefused:   "the identity provider refused",
}
