package lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// polyMaster is what the APPLICATION element of a master file says.
type polyMaster struct {
	present  bool // a file without the element is itself a configuration
	firmware string
	files    []string // CONFIG_FILES, in order
	logs     string   // LOG_FILE_DIRECTORY
	override string   // OVERRIDES_DIRECTORY
	contacts string   // CONTACTS_DIRECTORY
	licence  string   // LICENSE_DIRECTORY
	lists    string   // CALL_LISTS_DIRECTORY
}

// polyFile is a parsed file: its parameters are attributes, whatever elements
// they stand in (UC Software administrator guide, "configuration files").
type polyFile struct {
	values map[string]string
	master polyMaster
}

// parsePoly reads a configuration or master file. The substitutions of a
// master file are made for the phone m.
func parsePoly(body []byte, expand func(string) string) (polyFile, error) {
	f := polyFile{values: make(map[string]string)}
	if !isText(body) {
		return f, fmt.Errorf("%w: binary", errConfig)
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	elements := 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return f, fmt.Errorf("%w: %w", errConfig, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		elements++
		for _, a := range start.Attr {
			if start.Name.Local == "APPLICATION" {
				f.master.present = true
				f.master.set(a.Name.Local, expand(a.Value))
				continue
			}
			name := a.Name.Local
			if a.Name.Space != "" {
				continue // xmlns and schema notes are not parameters
			}
			if _, twice := f.values[name]; !twice {
				f.values[name] = a.Value
			}
		}
	}
	if elements == 0 {
		return f, fmt.Errorf("%w: no XML element", errConfig)
	}
	return f, nil
}

func (m *polyMaster) set(name, value string) {
	switch name {
	case "APP_FILE_PATH":
		m.firmware = value
	case "CONFIG_FILES":
		for file := range strings.SplitSeq(value, ",") {
			if file = strings.TrimSpace(file); file != "" {
				m.files = append(m.files, file)
			}
		}
	case "LOG_FILE_DIRECTORY":
		m.logs = value
	case "OVERRIDES_DIRECTORY":
		m.override = value
	case "CONTACTS_DIRECTORY":
		m.contacts = value
	case "LICENSE_DIRECTORY":
		m.licence = value
	case "CALL_LISTS_DIRECTORY":
		m.lists = value
	}
}

// polyAccounts reads the registrations. What reg.n.server.1 leaves out is
// taken from voIpProt.server.1.
func polyAccounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for _, n := range slots(values, "reg.", ".address") {
		p := "reg." + strconv.Itoa(n) + "."
		if values[p+"address"] == "" || values[p+"server.1.register"] == "0" {
			continue
		}
		server := func(key string) string {
			return firstOf(values[p+"server.1."+key], values["voIpProt.server.1."+key])
		}
		user, _, _ := strings.Cut(values[p+"address"], "@")
		a := Account{
			Slot:     n,
			Server:   server("address"),
			User:     user,
			AuthUser: firstOf(values[p+"auth.userId"], user),
			Password: values[p+"auth.password"],
			Display:  values[p+"displayName"],
			Label:    firstOf(values[p+"label"], user),
		}
		port, err := number(server("port"), 0, 0, 65535)
		if err != nil {
			return nil, fmt.Errorf("%sserver.1.port: %w", p, err)
		}
		if a.Port = uint16(port); port == 0 {
			a.Port = 5060
		}
		if a.Expires, err = seconds(server("expires"), 3600); err != nil {
			return nil, fmt.Errorf("%sserver.1.expires: %w", p, err)
		}
		if a.Transport, err = polyTransport(server("transport"), a.Server); err != nil {
			return nil, fmt.Errorf("%sserver.1.transport: %w", p, err)
		}
		proxy := p + "outboundProxy."
		if a.Proxy, err = endpoint(values[proxy+"address"], values[proxy+"port"]); err != nil {
			return nil, fmt.Errorf("%s: %w", proxy, err)
		}
		if err := a.validate(); err != nil {
			return nil, err
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// polyTransport maps the names. DNSnaptr, the default, means UDP where the
// server is an address (RFC 3263 §4.1).
func polyTransport(s, server string) (string, error) {
	switch s {
	case "UDPOnly":
		return "udp", nil
	case "TCPOnly", "TCPpreferred":
		return "tcp", nil
	case "TLS":
		return "tls", nil
	case "", "DNSnaptr":
		if net.ParseIP(server) != nil {
			return "udp", nil
		}
		return "", fmt.Errorf("%w: NAPTR for %q, lab phones have no DNS", errConfig, server)
	}
	return "", fmt.Errorf("%w: transport %q", errConfig, s)
}

// polyResync: one event; the phone fetches, and starts anew only if a file
// changed, or always if it is told so.
func polyResync(values map[string]string, changed bool) resyncPolicy {
	if changed || values["voIpProt.SIP.specialEvent.checkSync.alwaysReboot"] == "1" {
		return resyncReboot
	}
	return resyncFetch
}
