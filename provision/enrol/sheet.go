package enrol

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"patchbay/dhcp/mac"
)

// MaxRows bounds a sheet: as many as the inventory may hold.
const MaxRows = MaxPhones

// sheet is a CSV file as it was uploaded: RFC 4180, and what spreadsheets make
// of it.
type sheet struct {
	rows []sheetRow
}

// phones are those that a column names; what can't be read is left out.
func (s *sheet) phones(column string) []mac.Addr {
	var out []mac.Addr
	for _, row := range s.rows {
		if a, err := parseHardware(row.fields[column]); err == nil {
			out = append(out, a.MAC)
		}
	}
	return out
}

// sheetRow is one line of data. Number is the line in the file, the header
// being 1; fields are by the name of their column, without case and signs.
type sheetRow struct {
	number int
	fields map[string]string
	reason Reason // why it can't be read; empty: it can
}

// ErrSheet is wrapped by everything that is wrong with a sheet as a whole.
var ErrSheet = fmt.Errorf("the file can't be read: %w", ErrInvalid)

// readSheet parses a CSV file with a header. wanted are the columns, each by
// all of its names; the first must be there, the others may be missing. An
// unknown column is an error, so that a misspelt one is not ignored.
func readSheet(text []byte, wanted [][]string) (*sheet, error) {
	text, err := decodeText(text)
	if err != nil {
		return nil, err
	}
	if first, rest, ok := bytes.Cut(text, []byte("\n")); ok && len(first) == 5 && bytes.EqualFold(first[:4], []byte("sep=")) {
		text = rest // spreadsheets name the separator so
	}
	header, _, _ := bytes.Cut(text, []byte("\n"))
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.FieldsPerRecord = separator(header), -1
	names, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it is empty: %w", ErrSheet)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSheet, err)
	}
	columns, err := columnsOf(names, wanted)
	if err != nil {
		return nil, err
	}
	s := &sheet{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSheet, err)
		}
		if len(s.rows) >= MaxRows {
			return nil, fmt.Errorf("more than %d rows: %w", MaxRows, ErrSheet)
		}
		number, _ := r.FieldPos(0)
		if row, ok := readRow(record, columns, number); ok {
			s.rows = append(s.rows, row)
		}
	}
}

// readRow reads a row; ok is false for one in which nothing stands.
func readRow(record, columns []string, number int) (row sheetRow, ok bool) {
	row = sheetRow{number: number, fields: make(map[string]string, len(columns))}
	for i, v := range record {
		v = strings.TrimSpace(unguard(v))
		ok = ok || v != ""
		switch {
		case i < len(columns):
			row.fields[columns[i]] = v
		case v != "":
			row.reason = TooManyFields
		}
	}
	return row, ok
}

// separator guesses from the header, in which no field has a comma.
func separator(header []byte) rune {
	best, most := ',', 0
	for _, r := range []rune{',', ';', '\t'} {
		if n := bytes.Count(header, []byte(string(r))); n > most {
			best, most = r, n
		}
	}
	return best
}

// columnsOf maps the header to names of ours.
func columnsOf(names []string, wanted [][]string) ([]string, error) {
	out := make([]string, len(names))
	for i, name := range names {
		plain := strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, name)
		at := slices.IndexFunc(wanted, func(w []string) bool { return slices.Contains(w, plain) })
		switch {
		case plain == "" && i == len(names)-1: // a separator at the end of each line
		case at < 0:
			return nil, fmt.Errorf("column %q is not known; the columns are %s: %w", clip(name), titles(wanted), ErrSheet)
		case slices.Contains(out, wanted[at][0]):
			return nil, fmt.Errorf("column %q is there twice: %w", clip(name), ErrSheet)
		default:
			out[i] = wanted[at][0]
		}
	}
	if !slices.Contains(out, wanted[0][0]) {
		return nil, fmt.Errorf("there is no column %s; the first line names the columns: %s: %w", titles(wanted[:1]), titles(wanted), ErrSheet)
	}
	return out, nil
}

// title is how a column is written in our own files.
var title = map[string]string{
	"macid": "MAC ID", "verificationcode": "Verification Code", "assigned": "Assigned", "location": "Location", "username": "Username", "hardwareid": "HardwareId",
	"name": "Name", "number": "Number", "extension": "Extension", "aor": "AOR", "authuser": "Auth User", "password": "Password", "pin": "PIN",
}

func titles(columns [][]string) string {
	var out []string
	for _, c := range columns {
		out = append(out, title[c[0]])
	}
	return strings.Join(out, ", ")
}

// decodeText makes UTF-8 with line feeds of what spreadsheets save: with or
// without a byte order mark, UTF-16 with one, any line end.
func decodeText(b []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		b = fromUTF16(b[2:], func(p []byte) uint16 { return uint16(p[0]) | uint16(p[1])<<8 })
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		b = fromUTF16(b[2:], func(p []byte) uint16 { return uint16(p[1]) | uint16(p[0])<<8 })
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("it is not UTF-8; save it as \"CSV UTF-8\": %w", ErrSheet)
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, fmt.Errorf("it is no text; save it as \"CSV UTF-8\": %w", ErrSheet)
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\r"), []byte("\n")), nil
}

func fromUTF16(b []byte, unit func([]byte) uint16) []byte {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		units = append(units, unit(b))
	}
	return []byte(string(utf16.Decode(units)))
}

// guard keeps a spreadsheet from taking a text for a formula, which it does
// with what begins with one of these signs (CWE-1236).
func guard(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) || strings.HasPrefix(s, "'") && unguard(s) != s {
		return "'" + s
	}
	return s
}

// unguard takes the sign of [guard] off again.
func unguard(s string) string {
	if rest, ok := strings.CutPrefix(s, "'"); ok && rest != "" && strings.ContainsRune("=+-@\t\r\n'", rune(rest[0])) {
		return rest
	}
	return s
}

// WriteSheet writes rows as CSV for a spreadsheet: UTF-8 with a byte order
// mark, CRLF (RFC 4180), and no text that would be taken for a formula.
func WriteSheet(w io.Writer, header []string, rows [][]string) error {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return err
	}
	c := csv.NewWriter(w)
	c.UseCRLF = true
	if err := c.Write(header); err != nil {
		return err
	}
	for _, row := range rows {
		out := make([]string, len(row))
		for i, v := range row {
			out[i] = guard(v)
		}
		if err := c.Write(out); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// parseHardware reads the id of an account in a sheet: a MAC address in any
// usual notation, and after a colon the port of an adapter with three digits
// (00-15-65-4A-A9-37:002) or after a slash the slot (…/2).
func parseHardware(s string) (mac.Account, error) {
	if strings.Contains(s, "/") {
		return mac.ParseAccount(s)
	}
	slot := uint64(1)
	if i := strings.LastIndexByte(s, ':'); i >= 0 && len(s)-i == 4 { // a group of a MAC address has one or two digits
		n, err := strconv.ParseUint(s[i+1:], 10, 8)
		if err != nil || n == 0 {
			return mac.Account{}, fmt.Errorf("%q: %w", s, mac.ErrSyntax)
		}
		slot, s = n, s[:i]
	}
	m, err := mac.Parse(strings.ReplaceAll(s, " ", ""))
	return mac.Account{MAC: m, Slot: uint8(slot)}, err
}
