package lab

import (
	"fmt"
	"strconv"
)

// parseFanvil reads the dialect sysConf: settings are elements in groups, those
// of a line in an element with its number.
func parseFanvil(body []byte, values map[string]string) error {
	return readElements(body, "sysConf", func(way []element, text string) {
		key := ""
		for _, e := range way[1:] {
			key += "." + e.name
			if n, ok := e.attr["index"]; ok {
				key += "." + n
			}
		}
		if key != "" {
			values[key[1:]] = text
		}
	})
}

func fanvilAccounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for n := 1; n <= 20; n++ {
		key := func(name string) string { return values["sip.line."+strconv.Itoa(n)+"."+name] }
		if key("EnableReg") != "1" {
			continue
		}
		transport, err := number(key("Transport"), 0, 0, 3)
		if err != nil || transport == 2 {
			return nil, fmt.Errorf("line %d: %w: transport %q", n, errConfig, key("Transport"))
		}
		a := Account{
			Slot: n, User: key("PhoneNumber"), AuthUser: firstOf(key("RegisterUser"), key("PhoneNumber")), Password: key("RegisterPswd"),
			Display: key("DisplayName"), Label: firstOf(key("SipName"), key("DisplayName"), key("PhoneNumber")),
			Transport: [...]string{"udp", "tcp", "", "tls"}[transport],
		}
		proxy := ""
		if host := key("ProxyAddr"); host != "" {
			proxy = host + ":" + firstOf(key("ProxyPort"), "5060")
		}
		if err := a.at(key("RegisterAddr")+":"+firstOf(key("RegisterPort"), "5060"), proxy, key("RegisterTTL")); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}
