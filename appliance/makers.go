package appliance

import (
	_ "embed"
	"encoding/hex"
	"strings"
	"sync"

	"patchbay/dhcp/mac"
)

//go:embed makers.txt
var makersText string

// makers are the names of makers by the first half of a MAC address.
var makers = sync.OnceValue(func() map[[3]byte]string {
	out := map[[3]byte]string{}
	for line := range strings.Lines(makersText) {
		name, list, ok := strings.Cut(line, ": ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		for oui := range strings.FieldsSeq(list) {
			var key [3]byte
			if n, err := hex.Decode(key[:], []byte(oui)); err == nil && n == len(key) {
				out[key] = name
			}
		}
	}
	return out
})

// maker names who made a network card, so that somebody can look for the
// device; empty if that is not known. The catalogue knows makers of phones.
func (a *Appliance) maker(m mac.Addr) string {
	if name, ok := makers()[[3]byte(m[:3])]; ok || m.IsZero() {
		return name
	}
	_, _, vendor, _, _, _ := a.catalog.Boot(m, "", "", nil, a.cfg.LANs[0].Address, a.cfg.Provision.HTTPPort, "")
	return a.vendorTitle(vendor)
}
