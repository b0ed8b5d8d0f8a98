//go:build lab

package netns

import (
	"strings"
	"testing"
	"time"
)

// features dials what the box answers itself.
func (w *world) features(t *testing.T) {
	caller := newAgent(w.network, agentOptions{
		name: "anna-echo", ns: w.annaNS, addr: w.annaIP, port: 5068, server: boxLAN, user: w.annaID.user,
		auth: w.annaID.auth, password: w.annaID.password, expires: 0, seed: 108,
	})
	said := caller.dial("sip:*43@"+boxLAN, 9*time.Second)
	heard := caller.heard(t, 0)
	passed, windows, snr := hears(caller.said, heard)
	t.Logf("measured: %d of %d windows are an echo, median %.1f dB", passed, windows, snr)
	if passed < 2 { // the others are the announcement
		t.Errorf("no echo:\n%s", said)
	}
	mark := caller.mark()
	said = caller.dial("sip:*30@"+boxLAN, 5*time.Second)
	if heard := caller.heard(t, mark); silent(heard) {
		t.Errorf("nothing is said:\n%s", said)
	}
	said = caller.dial("sip:*31@"+boxLAN, 5*time.Second)
	if !strings.Contains(said, "established") {
		t.Errorf("*31 was not answered:\n%s", said)
	}
}

// withoutAWay calls for help while nothing leads out.
func (w *world) withoutAWay(t *testing.T) {
	carl := newAgent(w.network, agentOptions{
		name: "carl-cut", ns: w.carlNS, addr: w.carlIP, port: 5064, server: boxLAN, user: w.carlID.user,
		auth: w.carlID.auth, password: w.carlID.password, expires: 0, seed: 109,
	})
	said := carl.dial("sip:112@"+boxLAN, 11*time.Second)
	if heard := carl.heard(t, 0); len(heard) == 0 || silent(heard) {
		t.Errorf("112 without a way: nothing is said:\n%s", said)
	}
	if text := w.box.problem("emergency-not-reached"); !strings.Contains(text, "112") {
		t.Errorf("the page does not say so: %q", text)
	}
}
