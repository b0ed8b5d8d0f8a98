package appliance

import "patchbay/dhcp/mac"

// spoken is the language in which the box speaks to a phone: its own, else
// that of the network on which it registered, else that of the box.
func (a *Appliance) spoken(acc mac.Account) string {
	if p, ok := a.directory.Phone(acc.MAC); ok && p.Language != "" {
		return p.Language
	}
	if b, ok := a.endpoint.Location().Binding(acc); ok {
		for _, l := range a.cfg.LANs {
			if l.Address == b.Local.Addr() {
				return a.cfg.language(l)
			}
		}
	}
	return a.cfg.Box.Language
}
