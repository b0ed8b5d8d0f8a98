package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// parseYealink reads "key = value" lines into values, a later line over an
// earlier one. %NULL% clears. The first line must be the version header
// (Yealink auto-provisioning guide, "configuration files").
func parseYealink(body []byte, values map[string]string) error {
	if bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		return fmt.Errorf("%w: byte order mark", errConfig)
	}
	if !isText(body) {
		return fmt.Errorf("%w: binary", errConfig)
	}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 64<<10)
	for first := true; lines.Scan(); first = false {
		line := strings.TrimSpace(lines.Text())
		if first && !strings.HasPrefix(line, "#!version:1.0.0.1") {
			return fmt.Errorf("%w: first line %.40q is not #!version:1.0.0.1", errConfig, line)
		}
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if value == "%NULL%" {
			value = ""
		}
		values[key] = value
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	return nil
}

// includesOf returns the files that a boot file names, in order.
func includesOf(boot []byte) []string {
	var names []string
	for line := range strings.Lines(string(boot)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "include:config")
		if !ok {
			continue
		}
		if name := strings.Trim(strings.TrimSpace(rest), `"<>`); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// yealinkAccounts reads the accounts that are switched on.
func yealinkAccounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for _, n := range slots(values, "account.", ".enable") {
		p := "account." + strconv.Itoa(n) + "."
		if values[p+"enable"] != "1" {
			continue
		}
		a := Account{
			Slot:     n,
			Server:   values[p+"sip_server.1.address"],
			User:     values[p+"user_name"],
			AuthUser: firstOf(values[p+"auth_name"], values[p+"user_name"]),
			Password: values[p+"password"],
			Display:  values[p+"display_name"],
			Label:    firstOf(values[p+"label"], values[p+"display_name"], values[p+"user_name"]),
		}
		port, err := number(values[p+"sip_server.1.port"], 5060, 0, 65535)
		if err != nil {
			return nil, fmt.Errorf("%ssip_server.1.port: %w", p, err)
		}
		a.Port = uint16(port)
		if a.Port == 0 {
			a.Port = 5060
		}
		if a.Expires, err = seconds(values[p+"sip_server.1.expires"], 3600); err != nil {
			return nil, fmt.Errorf("%ssip_server.1.expires: %w", p, err)
		}
		if a.Transport, err = yealinkTransport(values[p+"sip_server.1.transport_type"], a.Server); err != nil {
			return nil, fmt.Errorf("%ssip_server.1.transport_type: %w", p, err)
		}
		if values[p+"outbound_proxy_enable"] == "1" {
			if a.Proxy, err = endpoint(values[p+"outbound_proxy.1.address"], values[p+"outbound_proxy.1.port"]); err != nil {
				return nil, fmt.Errorf("%soutbound_proxy.1: %w", p, err)
			}
		}
		if err := a.validate(); err != nil {
			return nil, err
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// yealinkTransport maps 0 UDP, 1 TCP, 2 TLS, 3 DNS-NAPTR. With an address for
// a server there is nothing to look up (RFC 3263 §4.1), so 3 means UDP.
func yealinkTransport(s, server string) (string, error) {
	n, err := number(s, 0, 0, 3)
	if err != nil {
		return "", err
	}
	if n == 3 && net.ParseIP(server) == nil {
		return "", fmt.Errorf("%w: NAPTR for %q, lab phones have no DNS", errConfig, server)
	}
	return [...]string{"udp", "tcp", "tls", "udp"}[n], nil
}

// yealinkResync reads sip.notify_reboot_enable: 0 reboots if the event says
// so, 1 (the default) always, 2 never does anything.
func yealinkResync(values map[string]string, reboot bool) resyncPolicy {
	switch values["sip.notify_reboot_enable"] {
	case "2":
		return resyncIgnore
	case "0":
		if !reboot {
			return resyncFetch
		}
	}
	return resyncReboot
}
