package sipedge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// LineSettings is what the user of a line wants to happen to calls for it. The
// zero value wants nothing.
type LineSettings struct {
	LineID       int64
	DoNotDisturb bool
	// Number is where calls go to, as it would be dialled at a phone of the
	// line; empty: nowhere, and the next three mean nothing.
	Number       string
	Always       bool          // all calls go there
	NoAnswer     bool          // those that nobody takes go there
	Simultaneous bool          // the number rings together with the phones
	After        time.Duration // how long it rings before NoAnswer; 0: 20 s
}

// SettingsStore keeps the settings of lines.
type SettingsStore interface {
	// All returns those of all lines that have some.
	All(ctx context.Context) ([]LineSettings, error)
	// Put replaces those of one line. They are on disk when it returns.
	Put(ctx context.Context, s LineSettings) error
}

// Settings holds the settings of all lines in memory. It may be used from any
// goroutine.
type Settings struct {
	store SettingsStore

	writing sync.Mutex // one change at a time
	mu      sync.RWMutex
	lines   map[int64]LineSettings
}

var _ Forwarding = (*Settings)(nil)

// NewSettings reads what is stored.
func NewSettings(ctx context.Context, store SettingsStore) (*Settings, error) {
	all, err := store.All(ctx)
	if err != nil {
		return nil, err
	}
	s := &Settings{store: store, lines: make(map[int64]LineSettings)}
	for _, l := range all {
		s.lines[l.LineID] = l
	}
	return s, nil
}

// Of returns the settings of a line.
func (s *Settings) Of(line int64) LineSettings {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := s.lines[line]
	l.LineID = line
	return l
}

// Change changes the settings of a line. They are on disk when it returns; on
// error they are as before.
func (s *Settings) Change(ctx context.Context, line int64, change func(*LineSettings)) (LineSettings, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	l := s.Of(line)
	change(&l)
	l.LineID = line
	if err := s.store.Put(ctx, l); err != nil {
		return s.Of(line), err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[line] = l
	return l, nil
}

// Forget drops the settings of a line that is gone; its row goes with it.
func (s *Settings) Forget(line int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lines, line)
}

// ForwardNumber brings a number to forward to into the form that is stored, or
// says why calls can't be forwarded there: nobody forwards to the emergency
// services, to a feature code, or to what can't be dialled.
func (d DialPlan) ForwardNumber(s string) (string, error) {
	got := d.Read(s)
	switch {
	case got.Number == "" || len(got.Raw) > 32 || strings.Trim(got.Raw, "+0123456789") != "":
		return "", fmt.Errorf("%.40q is no number that can be dialled", s)
	case got.Emergency:
		return "", fmt.Errorf("calls are not forwarded to the emergency number %s", got.Number)
	}
	return got.Raw, nil
}

// longestNumber is how many digits somebody may press for a number.
const longestNumber = 20

// changeSettings serves the codes for do not disturb and forwarding. Each that
// forwards takes the number with it, or uses the one that is set, or asks for
// it; again says that it asked.
func (c *call) changeSettings(ctx context.Context, feature, argument string, again bool) Outcome {
	s := c.s.cfg.Settings
	switch {
	case s == nil:
		return Outcome{Say: []string{"code-unknown"}}
	case c.line.ID == 0:
		return Outcome{Say: []string{"not-signed-in"}}
	}
	change, say := settingsChange(feature)
	if forwards(feature) {
		set := s.Of(c.line.ID).Number
		switch {
		case argument == "" && !again && (set == "" || feature == FeatureForwardTo):
			return Outcome{Say: []string{"enter-number"}, Ask: longestNumber}
		case argument == "" && set == "":
			return Outcome{Say: []string{"forward-needs-number"}}
		case argument == "":
			argument = set
		}
		number, err := c.s.router.plan.ForwardNumber(argument)
		if err != nil {
			return Outcome{Say: []string{"number-unknown"}, Display: err.Error()}
		}
		argument = number
	}
	l, err := s.Change(ctx, c.line.ID, func(l *LineSettings) { change(l, argument) })
	if err != nil {
		c.log.Error("settings of a line", "err", err)
		return Outcome{Say: []string{"error"}}
	}
	out := Outcome{Say: []string{say}, OK: true, Display: settingsWords(c.s.languageOf(c.a.account), say)}
	if forwards(feature) {
		out.Say = append(out.Say, "digits:"+l.Number)
		out.Display += " " + l.Number
	}
	return out
}

func forwards(feature string) bool {
	return feature == FeatureForwardTo || feature == FeatureForwardNoAns || feature == FeatureSimultaneous
}

// settingsChange is what a code changes, and the prompt that says so.
func settingsChange(feature string) (change func(l *LineSettings, number string), say string) {
	switch feature {
	case FeatureDNDOn:
		return func(l *LineSettings, _ string) { l.DoNotDisturb = true }, "dnd-on"
	case FeatureDNDOff:
		return func(l *LineSettings, _ string) { l.DoNotDisturb = false }, "dnd-off"
	case FeatureForwardTo:
		return func(l *LineSettings, n string) { l.Number, l.Always = n, true }, "forward-on"
	case FeatureForwardNoAns:
		return func(l *LineSettings, n string) { l.Number, l.Always, l.NoAnswer = n, false, true }, "forward-no-answer"
	case FeatureSimultaneous:
		return func(l *LineSettings, n string) { l.Number, l.Always, l.Simultaneous = n, false, true }, "simultaneous-on"
	}
	return func(l *LineSettings, _ string) {
		l.Number, l.Always, l.NoAnswer, l.Simultaneous = "", false, false, false
	}, "forward-off"
}

// settingsWords is what the phone shows while the prompt is spoken. Phones
// have room for little more than a dozen letters.
func settingsWords(language, say string) string {
	words := map[string][6]string{ // en, es, de, fr, pt, ja
		"dnd-on":            {"Do not disturb on", "No molestar: sí", "Nicht stören ein", "Ne pas déranger activé", "Não incomodar ativo", "着信拒否 オン"},
		"dnd-off":           {"Do not disturb off", "No molestar: no", "Nicht stören aus", "Ne pas déranger désactivé", "Não incomodar inativo", "着信拒否 オフ"},
		"forward-on":        {"Forward all to", "Desvío total a", "Alle Anrufe an", "Tout renvoyer vers", "Reencaminhar para", "転送先"},
		"forward-no-answer": {"If no answer to", "Sin respuesta a", "Nach Zeit an", "Sans réponse vers", "Sem resposta para", "無応答転送"},
		"simultaneous-on":   {"Also ring", "Suena también", "Klingelt auch", "Sonne aussi", "Toca também", "同時呼出"},
		"forward-off":       {"Forwarding off", "Sin desvío", "Weiterleitung aus", "Renvoi désactivé", "Sem reencaminhamento", "転送 オフ"},
	}
	at := strings.Index("en es de fr pt ja", language) / 3
	if len(language) != 2 || at < 0 {
		at = 0
	}
	return words[say][at]
}

// Forward implements [Forwarding]. Who forwards calls that nobody takes means
// those that find the line busy too.
func (s *Settings) Forward(line int64) Forward {
	l := s.Of(line)
	out := Forward{DoNotDisturb: l.DoNotDisturb, After: l.After}
	if l.Number == "" {
		return out
	}
	if l.Always {
		out.Always = l.Number
	}
	if l.NoAnswer {
		out.NoAnswer, out.Busy = l.Number, l.Number
	}
	if l.Simultaneous {
		out.Also = []string{l.Number}
	}
	return out
}
