package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"patchbay/appliance/health"
	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// Snapshot is the dashboard.
type Snapshot struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Now      time.Time `json:"now"`
	Started  time.Time `json:"started"`
	Tunnel   Tunnel    `json:"tunnel"`
	Problems Problems  `json:"problems"`
	Phones   Counts    `json:"phones"`
	Calls    []Call    `json:"calls"`
	Pools    []Pool    `json:"pools"`

	Interfaces []Interface `json:"interfaces"` // in the order of the configuration
	Neighbors  []Neighbor  `json:"neighbors"`  // by LLDP
}

// Tunnel is the way to the gateway.
type Tunnel struct {
	Configured    bool           `json:"configured"`
	Up            bool           `json:"up"`
	Gateway       string         `json:"gateway,omitempty"` // host and port as configured
	Since         time.Time      `json:"since,omitzero"`    // of Up or of not Up
	Detail        string         `json:"detail,omitempty"`  // why it is down, one sentence; TLS version and so on when up
	Registrations []Registration `json:"registrations"`
}

// Registration is that of one line at the gateway.
type Registration struct {
	Line   int64     `json:"line"`
	Name   string    `json:"name"` // display name of the line
	AOR    string    `json:"aor"`
	OK     bool      `json:"ok"`
	Since  time.Time `json:"since,omitzero"`
	Detail string    `json:"detail,omitempty"` // why it is not
}

// Counts are numbers of phones by [State].
type Counts struct {
	Total     int `json:"total"`
	Seen      int `json:"seen"`
	Onboarded int `json:"onboarded"`
	SignedIn  int `json:"signed_in"`
	Offline   int `json:"offline"`
}

// Add counts one phone.
func (c *Counts) Add(s State) {
	c.Total++
	switch s {
	case Seen:
		c.Seen++
	case Onboarded:
		c.Onboarded++
	case SignedIn:
		c.SignedIn++
	case Offline:
		c.Offline++
	}
}

// Call is one that exists now.
type Call struct {
	ID        string    `json:"id"`
	From      Party     `json:"from"`
	To        Party     `json:"to"`
	Via       string    `json:"via"` // local, gateway
	Start     time.Time `json:"start"`
	Answered  time.Time `json:"answered,omitzero"` // zero while it rings
	Emergency bool      `json:"emergency"`
	// How its legs sound so far: A towards the caller, B towards the called.
	A LegQuality `json:"a,omitzero"`
	B LegQuality `json:"b,omitzero"`
}

// Party is one end of a call. MAC is zero for one beyond the gateway.
type Party struct {
	MAC    mac.Addr `json:"mac,omitzero"`
	Number string   `json:"number"`
	Name   string   `json:"name,omitempty"`
}

// Pool is how full a range of addresses is.
type Pool struct {
	Interface string     `json:"interface"`
	First     netip.Addr `json:"first"`
	Last      netip.Addr `json:"last"`
	Used      int        `json:"used"`
	Size      int        `json:"size"`
}

// Problems are what is wrong with the box. Unlike a bare slice of
// [health.Problem] they can be read back from JSON.
type Problems []health.Problem

// UnmarshalJSON implements [json.Unmarshaler].
func (p *Problems) UnmarshalJSON(b []byte) error {
	var raw []struct {
		health.Problem
		Severity string `json:"severity"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*p = make(Problems, len(raw))
	for i, r := range raw {
		(*p)[i] = r.Problem
		switch r.Severity {
		case health.Notice.String():
			(*p)[i].Severity = health.Notice
		case health.Warning.String():
			(*p)[i].Severity = health.Warning
		case health.Critical.String():
			(*p)[i].Severity = health.Critical
		default:
			return fmt.Errorf("problem %s: severity %q is not known", r.Code, r.Severity)
		}
	}
	return nil
}

// State says in one word how far a phone or an account has come.
type State string

// The states.
const (
	Seen      State = "seen"      // in the inventory, never registered
	Onboarded State = "onboarded" // registered, nobody is signed in
	SignedIn  State = "signed-in" // registered, and calls as a line
	Offline   State = "offline"   // was registered, is not now
)

// States are all states, in the order of the life of a phone.
var States = []State{Seen, Onboarded, SignedIn, Offline}

// StateOf is the state of an account.
func StateOf(ever, now, line bool) State {
	switch {
	case now && line:
		return SignedIn
	case now:
		return Onboarded
	case ever:
		return Offline
	default:
		return Seen
	}
}

// StateOfPhone is the best state of its accounts: a phone with one line in use
// and one spare is in use. Offline is better than Seen, it says more.
func StateOfPhone(accounts []Account) State {
	best := Seen
	rank := map[State]int{Seen: 0, Offline: 1, Onboarded: 2, SignedIn: 3}
	for _, a := range accounts {
		if rank[a.State] > rank[best] {
			best = a.State
		}
	}
	return best
}

// Query selects phones.
type Query struct {
	Text   string // in MAC, IP, vendor, model, name or number of a line; any case; empty: all
	State  State  // empty: any
	Offset int
	Limit  int // 1 to MaxLimit
}

// Limits of one page of a list or a story.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// Phones is one page of the inventory.
type Phones struct {
	Phones []Phone `json:"phones"`
	Total  int     `json:"total"` // how many match in all
	Offset int     `json:"offset"`
}

// Phone is one phone. What it says of itself (vendor, model, firmware) is
// never trusted.
type Phone struct {
	MAC      mac.Addr `json:"mac"`
	Vendor   string   `json:"vendor,omitempty"` // name in the catalogue
	Model    string   `json:"model,omitempty"`
	Firmware string   `json:"firmware,omitempty"`
	// FirmwareGap says why the cloud gateway would not take it with that
	// firmware; empty: nothing is known against it.
	FirmwareGap string     `json:"firmware_gap,omitempty"`
	IP          netip.Addr `json:"ip,omitzero"`
	Evidence    string     `json:"evidence,omitempty"` // why IP is held to be its address, as mac.Evidence says it
	State       State      `json:"state"`
	Accounts    []Account  `json:"accounts"`
	FirstSeen   time.Time  `json:"first_seen,omitzero"`
	LastSeen    time.Time  `json:"last_seen,omitzero"`
	Enrolled    time.Time  `json:"enrolled,omitzero"` // zero: it waits on activation
	// Stale: not heard of for 14 days, or for 30 if somebody is signed in.
	Stale bool `json:"stale"`
	// NoEmergency: it never registered here, so it can't call the emergency
	// services through this box.
	NoEmergency bool `json:"no_emergency"`
}

// Passwords are what a phone's own page and menus ask for. They are set by its
// configuration, so a phone that has not fetched one has others.
type Passwords struct {
	Admin string `json:"admin"`
	User  string `json:"user"`
}

// Account is one SIP identity of a phone.
type Account struct {
	Slot      uint8          `json:"slot"`
	State     State          `json:"state"`
	Line      *LineRef       `json:"line,omitempty"` // nil: nobody is signed in
	Transport string         `json:"transport,omitempty"`
	Source    netip.AddrPort `json:"source,omitzero"`
	Expires   time.Time      `json:"expires,omitzero"`
	// FlowLost: the connection is gone; calls are refused until the phone
	// comes back by itself.
	FlowLost bool `json:"flow_lost,omitempty"`
	// Phase is how far it has come in the organisation: waiting, enrolled,
	// signed-in, signed-out.
	Phase     string    `json:"phase"`
	Location  string    `json:"location,omitempty"`
	SignedIn  time.Time `json:"signed_in,omitzero"`
	SignedOut time.Time `json:"signed_out,omitzero"`
	By        string    `json:"by,omitempty"` // who signed in
	// IdentityPending: it has a new device password that the phone was not
	// seen with yet; the one before is still good.
	IdentityPending bool `json:"identity_pending,omitempty"`
}

// LineRef names a line.
type LineRef struct {
	ID        int64  `json:"id"`
	Name      string `json:"name"`
	Number    string `json:"number,omitempty"`
	Extension string `json:"extension,omitempty"`
}

// Line is what a user is reached by.
type Line struct {
	ID          int64         `json:"id"`
	Name        string        `json:"name"`
	AOR         string        `json:"aor,omitempty"`       // sip:user@domain at the gateway
	Number      string        `json:"number,omitempty"`    // as the gateway knows it
	Extension   string        `json:"extension,omitempty"` // short number on this site
	AuthUser    string        `json:"auth_user,omitempty"`
	HasPassword bool          `json:"has_password"`
	Site        bool          `json:"site"`   // the site's own line: the way out for emergency calls
	Pinned      bool          `json:"pinned"` // set in the configuration file, so it can't be changed here
	Accounts    []mac.Account `json:"accounts"`
}

// LineEdit is a line as an administrator writes it.
type LineEdit struct {
	ID        int64   `json:"-"` // 0: a new one
	Name      string  `json:"name"`
	AOR       string  `json:"aor,omitempty"`
	Number    string  `json:"number,omitempty"`
	Extension string  `json:"extension,omitempty"`
	AuthUser  string  `json:"auth_user,omitempty"`
	Password  *string `json:"password,omitempty"` // nil: as it is
}

// Entry is one event of a story with its place there.
type Entry struct {
	Seq       int64       `json:"seq"` // grows with every entry of a phone; opaque otherwise
	Time      time.Time   `json:"time"`
	Proto     story.Proto `json:"proto"`
	Direction string      `json:"direction"` // story.Direction in words
	Code      story.Code  `json:"code"`
	Words     string      `json:"words"` // English
	Args      story.Args  `json:"args"`
}

// troubles are the steps that should not have to be taken.
var troubles = []story.Code{
	story.Nak, story.Decline, story.NoOffer, story.Conflict, story.Refused,
	story.RegisterRefused, story.Expired, story.FlowLost, story.BadMessage, story.TLSFailed, story.CallFailed,
}

// Trouble reports whether the entry is worth a look by who asks why a phone
// does not work.
func (e Entry) Trouble() bool {
	return Troubling(story.Event{Code: e.Code, Args: e.Args})
}

// Troubling is [Entry.Trouble] for an event.
func Troubling(e story.Event) bool {
	// Nobody did anything wrong when a caller gave up, or when the box still
	// looks for another DHCP server: the phone asks again by itself.
	expected := e.Args.Reason == story.Cancelled || e.Args.Reason == story.ProbingFirst
	return slices.Contains(troubles, e.Code) && !expected
}

// NewEntry says an event in words.
func NewEntry(seq int64, e story.Event) Entry {
	return Entry{
		Seq: seq, Time: e.Time, Proto: e.Proto, Direction: e.Dir.String(),
		Code: e.Code, Words: e.Words(), Args: e.Args,
	}
}
