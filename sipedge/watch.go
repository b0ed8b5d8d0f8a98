package sipedge

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// busyLamps is the event package dialog (RFC 4235): the lamps beside the names
// of colleagues. It knows what each account of the site does by what the calls
// tell the stories of the phones, so it works whether there is a gateway or not.
type busyLamps struct {
	e *Endpoint

	mu     sync.Mutex
	lit    map[mac.Account][]litLamp // mostly one
	inCall map[string][]mac.Account  // who has a lamp in a call
}

// litLamp is the lamp of one account in one call.
type litLamp struct {
	call string // its id
	lamp
}

// lamp is what one account does in one call.
type lamp struct {
	state    string // trying, early, confirmed
	incoming bool
	number   string // of the other party
	name     string
	dialog   dialogName
}

// dialogName names a dialog as the watched phone sees it (RFC 4235 §4.1.1), so
// that who watches can answer it by an INVITE with Replaces (RFC 3891). A tag is
// empty as long as the phone has not told it. It is said of calls to the phone
// only, whose Call-ID is of our making: that of a call by the phone often has its
// address in it.
type dialogName struct{ callID, local, remote string }

// seenBy names the dialog of a leg, of whose phone the tag is given.
func (l *leg) seenBy(tag string) dialogName { return dialogName{l.callID, tag, l.localTag} }

func newBusyLamps(e *Endpoint) *busyLamps {
	return &busyLamps{e: e, lit: make(map[mac.Account][]litLamp), inCall: make(map[string][]mac.Account)}
}

// resource implements [eventPackage]: a line of this site by its number,
// extension or address, or an account by its user name.
func (w *busyLamps) resource(_ Identity, user string) (topic, *StatusError) {
	if l, ok := w.e.accounts.Dialled(user); ok {
		return topic{line: l.ID}, nil
	}
	if id, ok := w.e.accounts.Identity(strings.ToLower(user)); ok {
		return topic{account: id.Account}, nil
	}
	return topic{}, &StatusError{Status: 404, Phrase: "Nobody Has This Number"}
}

// accountsOf are the accounts that a resource stands for, at present.
func (w *busyLamps) accountsOf(t topic) []mac.Account {
	if t.line != 0 {
		return w.e.accounts.OnLine(t.line)
	}
	return []mac.Account{t.account}
}

// named tells the name of the dialog of a phone that rings. Its tag comes with
// its first answer only.
func (w *busyLamps) named(call string, a mac.Account, d dialogName) {
	w.mu.Lock()
	l, lit := w.of(call, a)
	news := lit && l.state == "early" && d.local != "" && l.dialog != d
	if news {
		l.dialog = d
		w.set(call, a, l)
	}
	w.mu.Unlock()
	if news {
		w.tell([]mac.Account{a})
	}
}

// note takes a step of a call at an account, whose dialog it is.
func (w *busyLamps) note(call string, a mac.Account, code story.Code, args story.Args, d dialogName) {
	var l lamp
	switch code {
	case story.CallOut, story.Emergency:
		l = lamp{state: "trying"}
	case story.CallIn:
		l = lamp{state: "early", incoming: true}
	case story.CallAnswered:
		l = lamp{state: "confirmed"}
	case story.CallEnded, story.CallFailed:
	default:
		return
	}
	l.number, l.name, l.dialog = args.Number, args.Name, d
	w.mu.Lock()
	changed := []mac.Account{a}
	if old, ok := w.of(call, a); ok && l.state == "confirmed" {
		l.incoming = old.incoming
		if l.incoming {
			changed = append(changed, w.stopOthers(call, a)...)
		}
	}
	w.set(call, a, l)
	w.mu.Unlock()
	w.tell(changed)
}

// stopOthers ends the ringing of the other phones of a call that was answered.
// It needs mu.
func (w *busyLamps) stopOthers(call string, winner mac.Account) []mac.Account {
	var out []mac.Account
	for _, a := range slices.Clone(w.inCall[call]) {
		if l, _ := w.of(call, a); a != winner && l.incoming && l.state == "early" {
			w.set(call, a, lamp{})
			out = append(out, a)
		}
	}
	return out
}

// of needs mu.
func (w *busyLamps) of(call string, a mac.Account) (l lamp, lit bool) {
	for i := range w.lit[a] {
		if w.lit[a][i].call == call {
			return w.lit[a][i].lamp, true
		}
	}
	return lamp{}, false
}

// set needs mu. A lamp without a state goes out.
func (w *busyLamps) set(call string, a mac.Account, l lamp) {
	all := w.lit[a]
	i := slices.IndexFunc(all, func(x litLamp) bool { return x.call == call })
	switch {
	case l.state != "" && i >= 0:
		all[i].lamp = l
	case l.state != "":
		w.lit[a] = append(all, litLamp{call, l})
		w.inCall[call] = append(w.inCall[call], a)
	case i >= 0:
		if w.lit[a] = slices.Delete(all, i, i+1); len(w.lit[a]) == 0 {
			delete(w.lit, a)
		}
		w.inCall[call] = slices.DeleteFunc(w.inCall[call], func(x mac.Account) bool { return x == a })
		if len(w.inCall[call]) == 0 {
			delete(w.inCall, call)
		}
	}
}

// over ends whatever a call that is over has left behind.
func (w *busyLamps) over(call string) {
	w.mu.Lock()
	changed := slices.Clone(w.inCall[call])
	for _, a := range changed {
		w.set(call, a, lamp{})
	}
	w.mu.Unlock()
	w.tell(changed)
}

// tell notifies who watches the accounts, by themselves or by their line.
func (w *busyLamps) tell(accounts []mac.Account) {
	for _, a := range accounts {
		w.e.events.changed("dialog", topic{account: a})
		if id, ok := w.e.accounts.Account(a); ok && id.LineID != 0 {
			w.e.events.changed("dialog", topic{line: id.LineID})
		}
	}
}

// state implements [eventPackage]: always the full state (RFC 4235 §4.3). Where
// nothing goes on there is one ended dialog: some phones keep their lamp on
// if there is none.
func (w *busyLamps) state(t topic, version uint32, entity string) (string, []byte) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"%d\" state=\"full\" entity=\"%s\">\n",
		version, escapeXML(entity))
	_, host, _ := strings.Cut(entity, "@")
	n := 0
	for _, a := range w.accountsOf(t) {
		for _, call := range w.calls(a) {
			call.write(&b, call.call+"-"+a.String(), entity, host)
			n++
		}
	}
	if n == 0 {
		b.WriteString("<dialog id=\"idle\"><state>terminated</state></dialog>\n")
	}
	b.WriteString("</dialog-info>\n")
	return "application/dialog-info+xml", b.Bytes()
}

// calls are the lamps of an account, in a lasting order.
func (w *busyLamps) calls(a mac.Account) []litLamp {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := slices.Clone(w.lit[a])
	slices.SortFunc(out, func(a, b litLamp) int { return strings.Compare(a.call, b.call) })
	return out
}

func (l lamp) write(b *bytes.Buffer, id, entity, host string) {
	direction := "initiator"
	if l.incoming {
		direction = "recipient"
	}
	uri := sip.Uri{Scheme: "sip", User: l.number, Host: host}
	remote := escapeXML(uri.String())
	fmt.Fprintf(b, "<dialog id=\"%s\"", escapeXML(id))
	if d := l.dialog; l.incoming && d.callID != "" && d.local != "" {
		fmt.Fprintf(b, " call-id=\"%s\" local-tag=\"%s\" remote-tag=\"%s\"", escapeXML(d.callID), escapeXML(d.local), escapeXML(d.remote))
	}
	fmt.Fprintf(b, " direction=\"%s\"><state>%s</state>\n", direction, l.state)
	fmt.Fprintf(b, "<local><identity>%[1]s</identity><target uri=\"%[1]s\"/></local>\n", escapeXML(entity))
	fmt.Fprintf(b, "<remote><identity display=\"%[1]s\">%[2]s</identity><target uri=\"%[2]s\"/></remote>\n</dialog>\n", escapeXML(l.name), remote)
}

func escapeXML(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}
