package provision

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
)

// step is one element on the way to a setting, and which of those of its name:
// the attribute index. Empty: it has none.
type step struct{ name, index string }

// stepsOf reads a key of nested elements, below the outermost one: names with
// dots between them, and numbers behind those that are there several times,
// such as sip.line.1.AutoAnswer.
func stepsOf(key string) []step {
	var steps []step
	for part := range strings.SplitSeq(key, ".") {
		if part[0] >= '0' && part[0] <= '9' {
			steps[len(steps)-1].index = part
			continue
		}
		steps = append(steps, step{name: part})
	}
	return steps
}

func (s step) is(e xml.StartElement) bool {
	index := ""
	for _, a := range e.Attr {
		if a.Name.Local == "index" {
			index = a.Value
		}
	}
	return e.Name.Local == s.name && index == s.index
}

func (s step) open() string {
	if s.index == "" {
		return "<" + s.name + ">"
	}
	return "<" + s.name + ` index="` + s.index + `">`
}

// place is where something can be written inside an element, in bytes of the
// file: what lies between the two is what was there. closed: the element is one
// of <this/> form, with the two behind it.
type place struct {
	from, to int64
	closed   bool
}

// write puts text there.
func (p place) write(file, name, text string) string {
	before, after := file[:p.from], file[p.to:]
	if p.closed {
		return strings.TrimRight(strings.TrimSuffix(before, "/>"), " ") + ">" + text + "</" + name + ">" + after
	}
	return before + text + after
}

// overrideNested writes a value, which is escaped, where the key leads in nested
// elements. What of the way is not there yet is made.
func overrideNested(file, key, value string) (string, error) {
	steps := stepsOf(key)
	at, found, err := seek(file, steps)
	if err != nil {
		return "", fmt.Errorf("override %s: %w", key, err)
	}
	if found == len(steps) {
		return at.write(file, steps[found-1].name, value), nil
	}
	text := value
	for i := len(steps) - 1; i >= found; i-- {
		text = steps[i].open() + text + "</" + steps[i].name + ">"
	}
	// A line of its own, so that a preview shows this and no more.
	if line := strings.LastIndexByte(file[:at.from], '\n') + 1; !at.closed && strings.TrimSpace(file[line:at.from]) == "" {
		at.from, at.to = int64(line), int64(line)
		text += "\n"
	}
	name := ""
	if found > 0 {
		name = steps[found-1].name
	}
	return at.write(file, name, text), nil
}

// seek follows the steps as far as there are elements for them: found is how
// many. The place is the whole inside of the last one if all were found, else
// the end of what was.
func seek(file string, steps []step) (at place, found int, err error) {
	found = -1
	d := xml.NewDecoder(strings.NewReader(file))
	depth, on := 0, 0 // how deep, and how many of the steps lead here
	var inside int64  // where the last step begins
	for {
		before := d.InputOffset()
		token, err := d.Token()
		if err != nil {
			if found < 0 || depth > 0 {
				return place{}, 0, fmt.Errorf("the file is no XML that can be written into: %w", ErrOverride)
			}
			return at, found, nil
		}
		switch token := token.(type) {
		case xml.StartElement:
			if on == len(steps) {
				return place{}, 0, fmt.Errorf("it is no setting, but holds some: %w", ErrOverride)
			}
			if depth++; depth == on+2 && steps[on].is(token) {
				on++
				inside = d.InputOffset()
			}
		case xml.EndElement:
			if depth == on+1 {
				closed := d.InputOffset() == before
				if on == len(steps) {
					return place{inside, before, closed}, on, nil
				}
				if on > found {
					at, found = place{before, before, closed}, on
				}
				on = max(0, on-1)
			}
			depth--
		}
	}
}

// overrideItem writes a value, which is escaped, into the element that is named
// by the key: in the dialect of Gigaset each setting is one.
func overrideItem(file, key, value string) (string, error) {
	named, format, end := "param name", `<param name="%s" value="%s"/>`, "</nvm>"
	if strings.Contains(file, "<ProviderFrame>") { // N510, N720
		named, format, end = "SYMB_ITEM ID", `<SYMB_ITEM ID="%s" class="symb_item" value="%s"/>`, "</Provider>"
	}
	re := regexp.MustCompile(`(<` + named + `="` + regexp.QuoteMeta(key) + `"[^>]*? value=)(?:"[^"]*"|'[^']*')`)
	if re.MatchString(file) {
		return re.ReplaceAllString(file, `${1}"`+strings.ReplaceAll(value, "$", "$$")+`"`), nil
	}
	at := strings.LastIndex(file, end)
	if at < 0 {
		return "", fmt.Errorf("override %s: the file has no end to write before: %w", key, ErrOverride)
	}
	if line := strings.LastIndexByte(file[:at], '\n') + 1; strings.TrimSpace(file[line:at]) == "" {
		at = line
	}
	return file[:at] + fmt.Sprintf(format, key, value) + "\n" + file[at:], nil
}
