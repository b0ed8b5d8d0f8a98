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
	if vendor == "yealink" {
		return parseKV(body)
	}
	return parseXML(body)
}

var kvLine = regexp.MustCompile(`^([a-z0-9_.]+) = (\S|\S.*\S)$`)

// parseKV reads Yealink's dialect: a version line, comments, key = value.
func parseKV(body []byte) (map[string]string, error) {
	text, ok := strings.CutSuffix(string(body), "\n")
	if !ok {
		return nil, errors.New("last line has no end")
	}
	lines := strings.Split(text, "\n")
	if lines[0] != "#!version:1.0.0.1" {
		return nil, fmt.Errorf("first line %q", lines[0])
	}
	all := make(map[string]string)
	for i, line := range lines[1:] {
		if strings.HasPrefix(line, "## ") {
			continue
		}
		at := kvLine.FindStringSubmatch(line)
		if at == nil {
			return nil, fmt.Errorf("line %d: %q", i+2, line)
		}
		if _, twice := all[at[1]]; twice {
			return nil, fmt.Errorf("line %d: %s again", i+2, at[1])
		}
		all[at[1]] = at[2]
	}
	return all, nil
}

// parseXML reads both XML dialects: attributes by their name, and the text of
// elements that have no attributes by the element's.
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
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			open, leaf = append(open, token.Name.Local), len(token.Attr) == 0
			text.Reset()
			for _, a := range token.Attr {
				if err := put(a.Name.Local, a.Value); err != nil {
					return nil, err
				}
			}
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if leaf {
				if err := put(open[len(open)-1], text.String()); err != nil {
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
