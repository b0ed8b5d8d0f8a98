package provision

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Screens is asked for what a phone shows on its own screen while somebody
// signs in or out with its keys.
type Screens interface {
	// Screen takes the step that a key stands for, and returns what is shown
	// then. ok is false if there is no such step. It may block for seconds.
	Screen(ctx context.Context, a mac.Account, step string) (s Screen, ok bool)
}

// Screen is one page in the XML browser of a phone. Texts are short: the
// smallest of these displays have some 20 characters in 4 lines.
type Screen struct {
	Title string
	Lines []string
	Keys  []ScreenKey   // four at most; the phone's own way out is added
	Exit  string        // label of that
	Again time.Duration // when the phone asks again by itself, where it can; 0: never
}

// ScreenKey is a key beside the screen. Step is a name of [Screens].
type ScreenKey struct{ Label, Step string }

// screenPrefix is the first segment of the address of a screen:
// screen/<slot>/<step>.xml. There is no phone in it: whose it is tells the
// address that asks.
const screenPrefix = "screen"

// screenPath is what the key for a step opens, below our address.
func screenPath(slot int, step string) string {
	return screenPrefix + "/" + strconv.Itoa(slot) + "/" + step + ".xml"
}

// cutScreen reads such a path.
func cutScreen(name string) (slot uint8, step string, ok bool) {
	rest, ok := strings.CutPrefix(name, screenPrefix+"/")
	if !ok {
		return 0, "", false
	}
	number, file, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 8)
	step, ok = strings.CutSuffix(file, ".xml")
	return uint8(n), step, ok && err == nil && n > 0
}

// screenView is what a template of a screen is made from.
type screenView struct {
	Title, Exit string
	Lines       []string
	Keys        []screenLink
	Again       int    // milliseconds; 0: never
	Self        string // address that shows it again
}

type screenLink struct {
	N          int // from 1
	Label, URL string
}

// screen answers for the XML browser of the phone that asks, by the rules for
// its own configuration. ok is false if the path is of something else.
func (s *Server) screen(ctx context.Context, q query, name, lang string) (r reply, ok bool) {
	slot, step, ok := cutScreen(name)
	// By TFTP a datagram with a forged address would be enough to take a step.
	if !ok || s.cfg.Screens == nil || q.door == story.TFTP {
		return reply{}, false
	}
	t := s.look("", lang, q)
	v := s.catalog.byName[t.stored.Vendor]
	if !t.known || v == nil || v.Screen == "" {
		return notFound, true
	}
	t.asked = t.who
	if reason := s.permit(t); reason != "" {
		s.refuse(q, t, reason)
		return notFound, true
	}
	if q.head {
		return reply{status: http.StatusOK, kind: cmp.Or(v.ScreenType, screenType)}, true // takes no step
	}
	shown, found := s.cfg.Screens.Screen(ctx, mac.Account{MAC: t.who, Slot: slot}, step)
	if !found {
		return notFound, true
	}
	body, err := s.catalog.renderScreen(v, shown, s.screenBase(q.local, lang), int(slot))
	if err != nil {
		s.log.Error("screen not rendered", "component", "provision", "mac", t.who, "err", err)
		return tryLater, true
	}
	if step != showStep { // a phone asks for that every few seconds
		s.tell(t.who, q, story.Served, story.Args{File: printable(q.path), Via: string(q.door), Evidence: t.evidence, Bytes: int64(len(body)), Vendor: v.Title})
	}
	r = reply{status: http.StatusOK, body: body, kind: cmp.Or(v.ScreenType, screenType)}
	if shown.Again > 0 {
		r.refresh = fmt.Sprintf("%d; url=%s", max(1, int(shown.Again/time.Second)), s.screenBase(q.local, lang)+screenPath(int(slot), showStep))
	}
	return r, true
}

// screenType is what the XML browsers take.
const screenType = "text/xml; charset=utf-8"

// showStep shows how it stands, and changes nothing.
const showStep = "show"

func (s *Server) screenBase(local netip.Addr, lang string) string {
	site := *s.cfg.Site(local)
	return baseURL(site.Server, site.HTTPPort, lang)
}

// renderScreen writes a screen in the vendor's dialect.
func (c *Catalog) renderScreen(v *Vendor, s Screen, base string, slot int) ([]byte, error) {
	pg, ok := c.pages[v.Name+"/"+v.Screen]
	if !ok {
		return nil, fmt.Errorf("no template %s of %s", v.Screen, v.Name)
	}
	d := screenView{Title: label(s.Title), Exit: label(s.Exit), Again: int(s.Again / time.Millisecond), Self: base + screenPath(slot, showStep)}
	for _, line := range s.Lines {
		d.Lines = append(d.Lines, screenLine(line))
	}
	for i, k := range s.Keys {
		d.Keys = append(d.Keys, screenLink{i + 1, label(k.Label), base + screenPath(slot, k.Step)})
	}
	var b bytes.Buffer
	if err := pg.tmpl.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("render the screen of %s: %w", v.Name, err)
	}
	return b.Bytes(), nil
}

// screenLine makes one line fit for a screen; it may be longer than a label,
// since an address must stay whole.
func screenLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if safe(string(r)) != nil {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), maxPath)]
}
