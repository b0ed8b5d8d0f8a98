package lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
)

// parseCisco reads a flat profile: one element for each parameter, its value
// in the text (Cisco IP Phone 8800 Series Multiplatform provisioning guide).
// Elements within elements of the profile, such as the groups of an ATA, are
// read as if they stood at the top.
func parseCisco(body []byte, values map[string]string) error {
	if !isText(body) {
		return fmt.Errorf("%w: binary", errConfig)
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	var path []string
	var text strings.Builder
	profile := false
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errConfig, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path, token.Name.Local)
			profile = profile || token.Name.Local == "flat-profile"
			text.Reset()
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			name := path[len(path)-1]
			path = path[:len(path)-1]
			if slices.Contains(path, "flat-profile") {
				values[name] = strings.TrimSpace(text.String())
			}
			text.Reset()
		}
	}
	if !profile {
		return fmt.Errorf("%w: no flat-profile", errConfig)
	}
	return nil
}

// macros expands $NAME as a Cisco phone does, the longest name first.
type macros map[string]string

func (m macros) expand(s string) string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	var out strings.Builder
next:
	for len(s) > 0 {
		if s[0] == '$' {
			for _, name := range names {
				for _, form := range [...]string{"$" + name, "$(" + name + ")"} {
					if rest, ok := strings.CutPrefix(s, form); ok {
						out.WriteString(m[name])
						s = rest
						continue next
					}
				}
			}
		}
		out.WriteByte(s[0])
		s = s[1:]
	}
	return out.String()
}

// ruleURL takes the address out of a Profile_Rule: qualifiers in brackets and
// a condition before a question mark are stepped over. Only conditions that
// every phone here meets could be judged, so a rule with one is refused.
func ruleURL(rule string) (string, error) {
	rule = strings.TrimSpace(rule)
	for strings.HasPrefix(rule, "[") {
		_, rest, ok := strings.Cut(rule, "]")
		if !ok {
			return "", fmt.Errorf("%w: rule %.60q: open bracket", errConfig, rule)
		}
		rule = strings.TrimSpace(rest)
	}
	if strings.HasPrefix(rule, "(") {
		return "", fmt.Errorf("%w: rule %.60q: conditions are not judged here", errConfig, rule)
	}
	return rule, nil
}

// ciscoAccounts reads the lines that have a user.
func ciscoAccounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for _, n := range slots(values, "User_ID_", "_") {
		key := func(name string) string { return values[name+"_"+strconv.Itoa(n)+"_"] }
		if key("User_ID") == "" || isNo(key("Line_Enable")) || isNo(key("Register")) {
			continue
		}
		a := Account{
			Slot:     n,
			User:     key("User_ID"),
			AuthUser: key("User_ID"),
			Password: key("Password"),
			Display:  key("Display_Name"),
		}
		// The SPA generation and the ATAs use Auth_ID only if they are told to.
		if id := key("Auth_ID"); id != "" && !isNo(key("Use_Auth_ID")) {
			a.AuthUser = id
		}
		short := macros{"USER": a.User}.expand(key("Short_Name"))
		a.Label = firstOf(short, a.Display, a.User)
		var err error
		if a.Server, a.Port, err = ciscoProxy(key("Proxy")); err != nil {
			return nil, fmt.Errorf("line %d: proxy: %w", n, err)
		}
		if out := key("Outbound_Proxy"); out != "" && !isNo(key("Use_Outbound_Proxy")) {
			host, port, err := ciscoProxy(out)
			if err != nil {
				return nil, fmt.Errorf("line %d: outbound proxy: %w", n, err)
			}
			a.Proxy = net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
		if a.Expires, err = seconds(key("Register_Expires"), 3600); err != nil {
			return nil, fmt.Errorf("line %d: expiry: %w", n, err)
		}
		if a.Transport, err = ciscoTransport(key("SIP_Transport")); err != nil {
			return nil, fmt.Errorf("line %d: transport: %w", n, err)
		}
		if err := a.validate(); err != nil {
			return nil, err
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

func isNo(s string) bool { return strings.EqualFold(s, "no") }

// ciscoProxy splits "host" or "host:port".
func ciscoProxy(s string) (host string, port uint16, err error) {
	if s == "" {
		return "", 0, fmt.Errorf("%w: empty", errConfig)
	}
	host, digits, _ := strings.Cut(s, ":")
	n, err := number(digits, 5060, 1, 65535)
	if err != nil {
		return "", 0, err
	}
	return host, uint16(n), nil
}

// ciscoTransport maps the names; AUTO starts with UDP where no SRV record
// says otherwise.
func ciscoTransport(s string) (string, error) {
	switch strings.ToUpper(s) {
	case "", "UDP", "AUTO":
		return "udp", nil
	case "TCP":
		return "tcp", nil
	case "TLS":
		return "tls", nil
	}
	return "", fmt.Errorf("%w: transport %q", errConfig, s)
}

// ciscoResync: Resync_From_SIP must not be off. Reboot is another event.
func ciscoResync(values map[string]string, reboot bool) resyncPolicy {
	switch {
	case isNo(values["Resync_From_SIP"]):
		return resyncIgnore
	case reboot:
		return resyncReboot
	}
	return resyncFetch
}

// ciscoChallenges reports whether the phone asks who sends such an event;
// Auth_Resync-Reboot_n_ is Yes from the factory.
func ciscoChallenges(values map[string]string, slot int) bool {
	return !isNo(values["Auth_Resync-Reboot_"+strconv.Itoa(slot)+"_"])
}
