package appliance

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// wrongType is how the decoder tells that a value is of another type than its
// key; unlike all else it finds, that is no toml.ParseError.
var wrongType = regexp.MustCompile(`line (\d+) \(last key "([^"]+)"\)`)

// syntaxFault says what the decoder found, with the line, the key and what to
// write there instead.
func syntaxFault(err error) error {
	if pe, ok := errors.AsType[toml.ParseError](err); ok {
		words := strings.TrimSuffix(pe.Message, ".")
		if pe.LastKey != "" {
			words = pe.LastKey + ": " + words
		}
		if fix := wanted(pe.LastKey); fix != "" {
			words += "; " + fix
		}
		return fmt.Errorf("line %d: %s", pe.Position.Line, words)
	}
	if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
		if fix := wanted(m[2]); fix != "" {
			return fmt.Errorf("line %s: %s: the value is of the wrong kind; %s", m[1], m[2], fix)
		}
	}
	return err
}

// wanted tells what the value of a key looks like, or nothing if there is no
// such key.
func wanted(key string) string {
	t := reflect.TypeFor[Config]()
	for name := range strings.SplitSeq(key, ".") {
		for t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t = tagged(t, name); t == nil {
			return ""
		}
	}
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[netip.Addr]():
		return "write [[" + key + "]], with two brackets, above its keys"
	case t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return "write [" + key + "] above its keys"
	}
	return shape(t)
}

// tagged finds the type of a field by its name in the file.
func tagged(t reflect.Type, name string) reflect.Type {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("toml") == name {
			return f.Type
		}
	}
	return nil
}

func shape(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return `write a time with its unit, such as "10m" or "12h"`
	case t == reflect.TypeFor[netip.Addr]():
		return `write an address, such as "192.168.50.1"`
	case t == reflect.TypeFor[netip.Prefix]():
		return `write a network and its length, such as "192.168.50.0/24"`
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return "write it in quotes, as the example patchbay.toml does"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "write true or false, without quotes"
	case reflect.String:
		return "write it in quotes"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Int, reflect.Int64:
		if size := t.Bits(); t.Kind() == reflect.Uint8 || t.Kind() == reflect.Uint16 {
			return fmt.Sprintf("write a number from 0 to %d, without quotes", 1<<size-1)
		}
		return "write a number, without quotes"
	case reflect.Slice:
		return `write a list, such as ["…", "…"]`
	}
	return ""
}
