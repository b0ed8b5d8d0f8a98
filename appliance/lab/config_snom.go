package lab

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// parseSnom reads the XML of snom: settings named by their elements, of an
// identity with its number as idx (service.snom.com, "XML configuration").
func parseSnom(body []byte, values map[string]string) error { return indexed(body, "settings", values) }

// snomFiles lists the files that a file sends the phone on to.
func snomFiles(body []byte) []string {
	var urls []string
	_ = readElements(body, "settings", func(way []element, _ string) {
		if last := way[len(way)-1]; last.name == "file" && last.attr["url"] != "" {
			urls = append(urls, last.attr["url"])
		}
	})
	return urls
}

// snomAccounts reads the identities that are active. What is hidden is the
// way to a second server.
func snomAccounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for n := 1; n <= 12; n++ {
		key := func(name string) string { return values[name+"["+strconv.Itoa(n)+"]"] }
		if key("user_active") != "on" || key("hide_identity") == "true" {
			continue
		}
		outbound, params, _ := strings.Cut(firstOf(key("user_outbound"), key("user_host")), ";")
		a := Account{
			Slot: n, User: key("user_name"), AuthUser: firstOf(key("user_pname"), key("user_name")), Password: key("user_pass"),
			Display: key("user_realname"), Label: firstOf(key("user_idle_text"), key("user_realname"), key("user_name")), Transport: "udp",
		}
		if t, ok := strings.CutPrefix(params, "transport="); ok {
			a.Transport = t
		}
		if err := a.at(key("user_host"), outbound, key("user_expiry")); err != nil {
			return nil, fmt.Errorf("identity %d: %w", n, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// snomBaseAccounts reads the handsets of a DECT base: each names its server by
// number.
func snomBaseAccounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for n := 1; n <= 50; n++ {
		key := func(name string) string { return values[name+"["+strconv.Itoa(n)+"]"] }
		if key("user_active") != "on" {
			continue
		}
		server := func(name string) string {
			return values[name+"["+firstOf(key("subscr_sip_ua_data_server_id"), "1")+"]"]
		}
		a := Account{
			Slot: n, User: key("user_name"), AuthUser: firstOf(key("user_pname"), key("user_name")), Password: key("user_pass"),
			Display: key("user_realname"), Label: firstOf(key("subscr_sip_line_name"), key("user_name")),
			Transport: strings.ToLower(firstOf(server("srv_sip_transport"), "UDP")),
		}
		if err := a.at(server("user_host"), server("user_outbound"), server("user_expiry")); err != nil {
			return nil, fmt.Errorf("handset %d: %w", n, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// at fills in where the account registers: host or host:port, the same of a
// proxy if that is another, and seconds.
func (a *Account) at(server, proxy, expires string) error {
	host, port, err := hostPort(server)
	if err != nil {
		return err
	}
	a.Server, a.Port = host, port
	if proxy != "" {
		if host, port, err = hostPort(proxy); err != nil {
			return err
		}
		if host != a.Server || port != a.Port {
			a.Proxy = net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
	}
	if a.Expires, err = seconds(expires, 3600); err != nil {
		return err
	}
	return a.validate()
}

// hostPort splits "host" or "host:port".
func hostPort(s string) (host string, port uint16, err error) {
	host, digits, _ := strings.Cut(s, ":")
	n, err := number(digits, 5060, 1, 65535)
	return host, uint16(n), err
}
