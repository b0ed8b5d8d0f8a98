package story

import "fmt"

// The codes of provisioning.
const (
	Served      Code = "provision.served"   // File, Bytes, Via, Evidence, Vendor, Model, Firmware
	Unchanged   Code = "provision.304"      // File, Via
	NotFound    Code = "provision.404"      // File, Via: an optional file that does not exist, which is normal
	Refused     Code = "provision.refused"  // File, Via, IP, Reason
	Uploaded    Code = "provision.uploaded" // File, Bytes, Via
	Identified  Code = "provision.identified"
	Walked      Code = "provision.walked"       // IP, Total, Via: it tries one MAC address after the other
	Relayed     Code = "provision.relayed"      // File, Via, URL (host), Status, Bytes
	RelayFailed Code = "provision.relay-failed" // File, Via, URL (host), Detail
	HTTPSFailed Code = "provision.tls-failed"   // IP, Reason, Detail: what the phone offers
	Window      Code = "provision.window"       // Duration, Reason: fetching is allowed for so long

	FirmwareAsked   Code = "firmware.asked"   // Firmware, Detail (version before)
	FirmwareWaits   Code = "firmware.waits"   // Firmware, Reason
	FirmwareLoading Code = "firmware.loading" // Firmware
	FirmwareLoaded  Code = "firmware.loaded"  // Firmware
	FirmwareSeen    Code = "firmware.seen"    // Firmware, Detail (version before)
	FirmwareFailed  Code = "firmware.failed"  // Firmware, Reason
)

// The reasons of provisioning.
const (
	AddressUnknown    Reason = "address-unknown"
	AddressOfOther    Reason = "address-of-other"
	WindowClosed      Reason = "window-closed"
	IdentityClash     Reason = "identity-clash"
	PhoneUnknown      Reason = "phone-unknown"
	TooFast           Reason = "too-fast"
	UploadTooLarge    Reason = "upload-too-large"
	RenderFailed      Reason = "render-failed"
	WindowByLease     Reason = "window-lease"
	WindowByAdmin     Reason = "window-admin"
	LanguageFallback  Reason = "language-fallback"
	VendorUnsupported Reason = "vendor-unsupported"
	WriteRefused      Reason = "write-refused"
	UpstreamFailed    Reason = "upstream-failed"
	PathUnknown       Reason = "path-unknown"

	FirmwareNotLoaded Reason = "firmware-not-loaded"
	FirmwareNotSeen   Reason = "firmware-not-seen"

	TLSNotSpoken          Reason = "tls-not-spoken"
	TLSTooOld             Reason = "tls-too-old"
	TLSNoSuite            Reason = "tls-no-suite"
	TLSCertificateRefused Reason = "tls-certificate-refused"
	TLSBroken             Reason = "tls-broken"
)

var provisionWords = map[Code]func(Args) string{
	Served: func(a Args) string {
		s := fmt.Sprintf("fetched %s by %v, %d bytes", a.File, via(a), a.Bytes)
		if a.Total > 0 {
			s += fmt.Sprintf(", and %d times more shortly before", a.Total)
		}
		if a.Evidence != 0 {
			s += fmt.Sprintf("; its address is known by: %v", a.Evidence)
		}
		return s
	},
	Unchanged: with("asked for %s by %v and has the newest already", file, via),
	NotFound:  with("asked for %s by %v, which does not exist; that is normal", file, via),
	Refused:   with("%v was refused %s by %v", ip, file, via),
	Uploaded:  with("sent %s by %v, %d bytes", file, via, size),
	Identified: func(a Args) string {
		if a.Firmware == "" { // a boot loader tells its own version only
			return fmt.Sprintf("is a %v", model(a))
		}
		return fmt.Sprintf("is a %v with firmware %s", model(a), a.Firmware)
	},
	Walked: func(a Args) string {
		return fmt.Sprintf("asks for the files of one phone after the other (%d and more) from %v; its requests are slowed down", a.Total, a.IP)
	},
	Relayed: func(a Args) string {
		return fmt.Sprintf("asked for %s by %v; %s answered %d with %d bytes", a.File, via(a), a.URL, a.Status, a.Bytes) + more(a)
	},
	RelayFailed: func(a Args) string {
		return fmt.Sprintf("asked for %s by %v, and %s could not be asked (%s)", a.File, via(a), a.URL, a.Detail)
	},
	FirmwareAsked: func(a Args) string {
		if a.Detail == "" {
			return fmt.Sprintf("its turn has come: it is to load firmware %s", a.Firmware)
		}
		return fmt.Sprintf("its turn has come: it is to load firmware %s in the place of %s", a.Firmware, a.Detail)
	},
	FirmwareWaits:   with("is to load firmware %s, but not now", firmware),
	FirmwareLoading: with("fetches firmware %s", firmware),
	FirmwareLoaded:  with("has got all of firmware %s; it writes it and starts anew, which takes some minutes", firmware),
	FirmwareSeen:    with("runs firmware %s now", firmware),
	FirmwareFailed:  with("did not come to run firmware %s", firmware),
	HTTPSFailed:     func(a Args) string { return fmt.Sprintf("could not connect by HTTPS (%s)", a.Detail) },
	Window:          func(a Args) string { return fmt.Sprintf("may fetch its configuration for %s", span(a.Duration)) },
}

var provisionReasons = map[Reason]string{
	AddressUnknown:    "nothing says whose address this is; approve it on the page of the phone if it is right",
	AddressOfOther:    "the address belongs to another device",
	WindowClosed:      "its time for fetching was over; restart the phone or open it again on its page",
	IdentityClash:     "the request contradicts itself about which phone it comes from",
	PhoneUnknown:      "no such phone",
	TooFast:           "too many requests from this address",
	UploadTooLarge:    "the file is too large",
	RenderFailed:      "its configuration could not be made",
	WindowByLease:     "it has just got its address",
	WindowByAdmin:     "an administrator opened it",
	LanguageFallback:  "the phone does not speak the language that was asked for, so it gets English",
	VendorUnsupported: "this vendor is not supported yet",
	UpstreamFailed:    "the other provisioning service gave no answer; check provision.upstream and the way to the Internet",
	PathUnknown:       "the personal address is not valid, or no more; give the phone its new one",

	FirmwareNotLoaded: "it was asked twice and did not fetch the image; look whether it has room for it, and whether it is the right one for this model and revision",
	FirmwareNotSeen:   "it fetched the image and was not seen with it; look at the phone",

	TLSNotSpoken:          "what it sent is no TLS",
	TLSTooOld:             "its TLS is older than provision.tls_min allows; lower that, or update the phone's firmware",
	TLSNoSuite:            "it has no cipher suite in common with the box; set provision.tls_old, or update the phone's firmware",
	TLSCertificateRefused: "it did not accept the certificate of the box; give the phone the box's CA, or the box a public certificate",
	TLSBroken:             "the handshake broke off",

	WriteRefused: "phones of this vendor do not write this file",
}

// more is what else there is to say.
func more(a Args) string {
	if a.Detail == "" {
		return ""
	}
	return "; " + a.Detail + " was put in"
}
