package lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// element is one element on the way to another.
type element struct {
	name string
	attr map[string]string
}

// readElements walks an XML file and calls leaf for each element that has no
// other inside, with the way to it and its text. A phone takes a file that is
// not well-formed, or has no root of that name, for no configuration at all.
func readElements(body []byte, root string, leaf func(way []element, text string)) error {
	if !isText(body) {
		return fmt.Errorf("%w: binary", errConfig)
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	var way []element
	var text strings.Builder
	inner, found := false, false
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
			e := element{name: token.Name.Local, attr: make(map[string]string, len(token.Attr))}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			found = found || len(way) == 0 && e.name == root
			way, inner = append(way, e), false
			text.Reset()
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if !inner {
				leaf(way, strings.TrimSpace(text.String()))
			}
			way, inner = way[:len(way)-1], true
		}
	}
	if !found {
		return fmt.Errorf("%w: no %s", errConfig, root)
	}
	return nil
}

// indexed keeps the text of each element under its name, with its idx in
// brackets where it has one.
func indexed(body []byte, root string, values map[string]string) error {
	return readElements(body, root, func(way []element, text string) {
		last := way[len(way)-1]
		key := last.name
		if idx, ok := last.attr["idx"]; ok {
			key += "[" + idx + "]"
		}
		values[key] = text
	})
}
