package provision

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// parseConfig is a reader of ours for each dialect, as strict as a phone
// might be. It returns all settings by key.
func parseConfig(vendor string, body []byte) (map[string]string, error) {
	switch {
	case bytes.HasPrefix(body, []byte("<?xml")):
		return parseXML(body)
	case vendor == "audiocodes":
		return parsePairs(body, "", "# ", "=", regexp.MustCompile(`^[a-z0-9_/]+$`))
	case vendor == "algo":
		return parsePairs(body, "", "# ", "=", regexp.MustCompile(`^[a-z0-9.]+ $`))
	}
	return parseKV(body)
}

// parseKV reads Yealink's dialect: a version line, comments, key = value.
func parseKV(body []byte) (map[string]string, error) {
	return parsePairs(body, "#!version:1.0.0.1", "## ", "=", regexp.MustCompile(`^[a-z0-9_.]+ $`))
}

// parsePairs reads lines of key and value with a sign between them. The value
// must not begin or end with a blank but for one behind the sign.
func parsePairs(body []byte, first, comment, sign string, keys *regexp.Regexp) (map[string]string, error) {
	text, ok := strings.CutSuffix(string(body), "\n")
	if !ok {
		return nil, errors.New("last line has no end")
	}
	lines := strings.Split(text, "\n")
	if first != "" {
		if lines[0] != first {
			return nil, fmt.Errorf("first line %q", lines[0])
		}
		lines = lines[1:]
	}
	all := make(map[string]string)
	for i, line := range lines {
		if strings.HasPrefix(line, comment) {
			continue
		}
		key, value, ok := strings.Cut(line, sign)
		if !ok || !keys.MatchString(key) {
			return nil, fmt.Errorf("line %d: %q", i+1, line)
		}
		key, value = strings.TrimSpace(key), strings.TrimPrefix(value, " ")
		if value != strings.TrimSpace(value) || strings.ContainsAny(value, "\r\x00") {
			return nil, fmt.Errorf("line %d: value %q", i+1, value)
		}
		if name, password, ok := strings.Cut(value, ":"); ok && strings.HasSuffix(key, "user_password") {
			key, value = key+"."+name, password // one key for each of its names
		}
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("line %d: %s again", i+1, key)
		}
		all[key] = value
	}
	return all, nil
}

// parseXML reads the XML dialects. A setting is an attribute, named by itself;
// the text of an element, named by the element and, where it or one around it
// has an attribute that counts, by that; or the attribute value of an element
// that is named by its attribute name or ID.
func parseXML(body []byte) (map[string]string, error) {
	all := make(map[string]string)
	put := func(key, value string) error {
		if _, twice := all[key]; twice {
			return fmt.Errorf("%s again", key)
		}
		all[key] = value
		return nil
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	var open []string
	var text strings.Builder
	leaf := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			name, named := token.Name.Local, ""
			other := map[string]string{}
			for _, a := range token.Attr {
				switch a.Name.Local {
				case "idx", "index", "slot":
					name += "[" + a.Value + "]"
				case "name", "ID":
					named = a.Value
				case "perm", "class", "version", "productID", "context", "label", "encoding":
				default:
					other[a.Name.Local] = a.Value
				}
			}
			if named != "" {
				if value, ok := other["value"]; ok {
					if token.Name.Local == "oper" {
						named += "[" + value + "]"
					}
					if err := put(named, value); err != nil && named != "hs.RegStatus" {
						return nil, err
					}
				}
			} else {
				for key, value := range other {
					if key == "value" {
						key = token.Name.Local
					}
					if err := put(key, value); err != nil {
						return nil, err
					}
				}
			}
			open, leaf = append(open, name), named == "" && len(other) == 0
			text.Reset()
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if leaf {
				key := open[len(open)-1]
				for _, outer := range open[:len(open)-1] {
					if strings.HasSuffix(outer, "]") || strings.HasPrefix(outer, "MGROUP") {
						key = outer + "." + key
					}
				}
				if err := put(key, text.String()); err != nil {
					return nil, err
				}
			}
			open, leaf = open[:len(open)-1], false
		}
	}
	if len(open) > 0 {
		return nil, fmt.Errorf("%v not closed", open)
	}
	return all, nil
}
