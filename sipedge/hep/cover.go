package hep

import (
	"bytes"
	"strings"
)

// cover overwrites the secrets of a SIP message in place.
func cover(b []byte) {
	folded := false // the line goes on with credentials
	eachLine(b, func(line []byte) {
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			if folded {
				coverCredentials(line)
			}
			return
		}
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "authorization", "proxy-authorization":
			folded = true
			coverCredentials(line[len(name):])
			return
		case "a=crypto", "a=key", "k=clear", "k=base64":
			coverKey(line)
		}
		folded = false
	})
}

// eachLine visits the lines without their ends.
func eachLine(b []byte, visit func([]byte)) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		line := b
		if end >= 0 {
			line, b = b[:end], b[end+1:]
		} else {
			b = nil
		}
		visit(bytes.TrimSuffix(line, []byte("\r")))
	}
}

// coverCredentials covers what proves a password (RFC 7616 §3.4) or is one
// (RFC 6750 §2.1, RFC 7617 §2).
func coverCredentials(line []byte) {
	lower := bytes.ToLower(line)
	for _, scheme := range []string{"bearer", "basic"} {
		if i := bytes.Index(lower, []byte(scheme)); i >= 0 && len(bytes.Trim(lower[:i], ": \t")) == 0 {
			stars(bytes.TrimLeft(line[i+len(scheme):], " \t"))
			return
		}
	}
	if i := bytes.Index(lower, []byte("response")); i >= 0 {
		value := line[i+len("response"):]
		if j := bytes.IndexByte(value, '='); j >= 0 {
			value = bytes.TrimLeft(value[j+1:], " \t\"")
			if end := bytes.IndexAny(value, "\","); end >= 0 {
				value = value[:end]
			}
			stars(value)
		}
	}
}

// coverKey covers the key of an a=crypto line (RFC 4568 §6.1), wherever it
// stands; of what is not understood, all.
func coverKey(line []byte) {
	_, value, _ := bytes.Cut(line, []byte(":"))
	i := bytes.Index(bytes.ToLower(value), []byte("inline:"))
	if i < 0 {
		stars(value)
		return
	}
	stars(value[i+len("inline:"):])
}

func stars(b []byte) {
	for i := range b {
		b[i] = '*'
	}
}

// callID finds the Call-ID of a message; empty if it has none.
func callID(b []byte) string {
	found := ""
	over := false
	eachLine(b, func(line []byte) {
		if over || found != "" {
			return
		}
		if len(line) == 0 { // the body begins
			over = true
			return
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "call-id", "i":
			found = string(bytes.TrimSpace(value))
		}
	})
	return found[:min(len(found), 256)]
}
