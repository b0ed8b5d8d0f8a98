package lab

import (
	"fmt"
	"strconv"
	"strings"
)

// parsePairs reads lines of key and value with an equals sign between them,
// with or without blanks; a line that begins with # is a comment. AudioCodes
// (administrator manual, "file syntax") and Algo write so.
func parsePairs(body []byte, values map[string]string) error {
	if !isText(body) {
		return fmt.Errorf("%w: binary", errConfig)
	}
	found := false
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("%w: line %.60q", errConfig, line)
		}
		values[strings.TrimSpace(key)] = strings.TrimSpace(value)
		found = true
	}
	if !found {
		return fmt.Errorf("%w: no line with a key", errConfig)
	}
	return nil
}

// audiocodesAccounts reads the lines that are switched on; their keys count
// from 0. All lines have one proxy.
func audiocodesAccounts(values map[string]string) ([]Account, error) {
	const sip = "voip/signalling/sip/"
	if values[sip+"use_proxy"] != "1" {
		return nil, nil
	}
	port, err := number(values[sip+"proxy_port"], 5060, 1, 65535)
	if err != nil {
		return nil, fmt.Errorf("proxy_port: %w", err)
	}
	expires, err := seconds(values[sip+"registration_expires"], 3600)
	if err != nil {
		return nil, fmt.Errorf("registration_expires: %w", err)
	}
	var accounts []Account
	for n := range 8 {
		p := "voip/line/" + strconv.Itoa(n) + "/"
		if values[p+"enabled"] != "1" {
			continue
		}
		a := Account{
			Slot: n + 1, Server: values[sip+"proxy_address"], Port: uint16(port), User: values[p+"id"],
			AuthUser: firstOf(values[p+"auth_name"], values[p+"id"]), Password: values[p+"auth_password"],
			Display: values[p+"description"], Label: firstOf(values[p+"extension_display"], values[p+"description"], values[p+"id"]),
			Transport: strings.ToLower(firstOf(values[sip+"transport_protocol"], "UDP")), Expires: expires,
		}
		if err := a.validate(); err != nil {
			return nil, err
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}
