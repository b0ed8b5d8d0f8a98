package sipedge

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"
)

// settingsTable keeps settings for a test.
type settingsTable struct {
	mu   sync.Mutex
	rows map[int64]LineSettings
	err  error
}

func (s *settingsTable) All(context.Context) ([]LineSettings, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []LineSettings
	for _, l := range s.rows {
		out = append(out, l)
	}
	return out, nil
}

func (s *settingsTable) Put(_ context.Context, l LineSettings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.rows[l.LineID] = l
	}
	return s.err
}

func (s *settingsTable) row(line int64) LineSettings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[line]
}

func TestSettingsCodes(t *testing.T) {
	t.Parallel()
	table := &settingsTable{rows: map[int64]LineSettings{}}
	settings, err := NewSettings(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	rig := newCallRig(t, false, func(c *ServerConfig) { c.Prompts, c.Settings = noises{}, settings })
	one, nobody := newPhoneAgent(t, rig, "udp", 1), newPhoneAgent(t, rig, "udp", 3)
	calls := 0
	dial := func(a *agent, code string) *dialog {
		d := a.dial(code, a.sdp(""))
		d.connected()
		return d
	}
	end := func(a *agent) {
		t.Helper()
		a.send(a.reply(a.request(sip.BYE), 200, "OK", "", ""))
		calls++
		rig.ended(calls)
	}
	for _, tc := range []struct {
		code string
		want LineSettings
	}{
		{"*30*", LineSettings{LineID: 1, DoNotDisturb: true}},
		{"*33*030123456#", LineSettings{LineID: 1, DoNotDisturb: true, Number: "030123456", Always: true}},
		{"*31", LineSettings{LineID: 1, Number: "030123456", Always: true}},
		{"*34*", LineSettings{LineID: 1, Number: "030123456", NoAnswer: true}},
		{"*35*102", LineSettings{LineID: 1, Number: "102", NoAnswer: true, Simultaneous: true}},
		{"*33*112", LineSettings{LineID: 1, Number: "102", NoAnswer: true, Simultaneous: true}},
		{"*32*", LineSettings{LineID: 1}},
	} {
		dial(one, tc.code)
		end(one)
		if diff := cmp.Diff(tc.want, settings.Of(1)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tc.code, diff)
		}
		if diff := cmp.Diff(tc.want, table.row(1)); diff != "" {
			t.Errorf("%s is not stored (-want +got)\n%s", tc.code, diff)
		}
	}
	// It asks for the number where none is dialled and none is set.
	d := dial(one, "*34")
	for _, digit := range "102#" {
		d.cseq++
		info := d.build(sip.INFO, d.cseq, "")
		info.AppendHeader(sip.NewHeader("Content-Type", "application/dtmf-relay"))
		info.SetBody([]byte("Signal=" + string(digit)))
		one.send(info)
		one.response(200, sip.INFO)
	}
	end(one)
	if got := settings.Of(1); got.Number != "102" || !got.NoAnswer {
		t.Errorf("pressed number: %+v", got)
	}
	// Nobody is signed in: nothing to set.
	dial(nobody, "*30")
	end(nobody)
	if got := settings.Of(0); got.DoNotDisturb {
		t.Error("a phone without a line has settings")
	}
	// What is not on disk is not said to be done.
	table.mu.Lock()
	table.err = errors.New("disk full")
	table.mu.Unlock()
	dial(one, "*30")
	end(one)
	if settings.Of(1).DoNotDisturb {
		t.Error("a setting holds that is not on disk")
	}
	again, err := NewSettings(t.Context(), table)
	if err != nil || again.Of(1).Number != "102" {
		t.Errorf("after a restart: %+v, error %v", again.Of(1), err)
	}
}

func TestForwardNumber(t *testing.T) {
	plan := mustPlan(t, "DE")
	for s, want := range map[string]string{
		"030 123-456": "030123456", "+4930123456": "+4930123456", "102": "102",
		"": "", "112": "", "0112": "", "*43": "", "anna": "", "+": "", "123456789012345678901234567890123": "",
	} {
		got, err := plan.ForwardNumber(s)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q becomes %q, error %v", s, got, err)
		}
	}
}
