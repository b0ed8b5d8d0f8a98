package lab

import (
	"fmt"
	"strconv"
	"time"

	"patchbay/dhcp/mac"
)

// parseGrandstream reads the XML form: settings are elements named P and a
// number. A file with another phone's MAC address is refused (HT801 guide,
// "configuration file").
func parseGrandstream(body []byte, own mac.Addr, values map[string]string) error {
	if err := indexed(body, "gs_provision", values); err != nil {
		return err
	}
	if text, ok := values["mac"]; ok {
		if m, err := mac.Parse(text); err != nil || m != own {
			return fmt.Errorf("%w: the file is for %q", errConfig, text)
		}
	}
	return nil
}

// pcodes are the numbers of the settings of one account.
type pcodes struct{ active, server, user, auth, password, name, label, expires, transport int }

// The numbers of desk phones (template of GXP21xx) and of the ports of HT801
// and HT802.
var (
	deskCodes = []pcodes{
		{271, 47, 35, 36, 34, 3, 270, 32, 130},
		{401, 402, 404, 405, 406, 407, 417, 412, 448},
		{501, 502, 504, 505, 506, 507, 517, 512, 548},
		{601, 602, 604, 605, 606, 607, 617, 612, 648},
		{1701, 1702, 1704, 1705, 1706, 1707, 1717, 1712, 1748},
		{1801, 1802, 1804, 1805, 1806, 1807, 1817, 1812, 1848},
	}
	portCodes = []pcodes{
		{271, 47, 35, 36, 34, 3, 3, 32, 130},
		{401, 747, 735, 736, 734, 703, 703, 732, 830},
	}
)

// profileCodes are those of HT812, HT814 and HT818: the ports share the
// server of the first profile.
func profileCodes() []pcodes {
	var all []pcodes
	for port := range 8 {
		all = append(all, pcodes{4595 + port, 47, 4060 + port, 4090 + port, 4120 + port, 4180 + port, 4180 + port, 32, 130})
	}
	return all
}

func grandstreamAccounts(values map[string]string, codes []pcodes) ([]Account, error) {
	var accounts []Account
	for i, c := range codes {
		p := func(n int) string { return values["P"+strconv.Itoa(n)] }
		if p(c.active) != "1" || p(c.user) == "" {
			continue
		}
		transport, err := number(p(c.transport), 0, 0, 2)
		if err != nil {
			return nil, fmt.Errorf("parameter P%d: %w", c.transport, err)
		}
		minutes, err := number(p(c.expires), 60, 1, 64800)
		if err != nil {
			return nil, fmt.Errorf("parameter P%d: %w", c.expires, err)
		}
		a := Account{
			Slot: i + 1, User: p(c.user), AuthUser: firstOf(p(c.auth), p(c.user)), Password: p(c.password),
			Display: p(c.name), Label: firstOf(p(c.label), p(c.user)), Transport: [...]string{"udp", "tcp", "tls"}[transport],
		}
		if err := a.at(p(c.server), "", strconv.Itoa(int((time.Duration(minutes) * time.Minute).Seconds()))); err != nil {
			return nil, fmt.Errorf("account %d: %w", i+1, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}
