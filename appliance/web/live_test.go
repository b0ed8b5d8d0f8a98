package web

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/story"
	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// event is one server-sent event as a browser understands it.
type event struct{ name, id, data string }

// listen opens a stream and hands over its events; the channel closes when
// the stream ends.
func listen(t *testing.T, c *http.Client, address string, change ...func(*http.Request)) (<-chan event, *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(req)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan event, 256)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		var e event
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch key {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data += value + "\n"
			case "":
				if e.data != "" {
					events <- e
				}
				e = event{}
			}
		}
	}()
	t.Cleanup(func() {
		_ = res.Body.Close()
		<-done
	})
	return events, res
}

// expect waits for the next event of a name.
func expect(t *testing.T, events <-chan event, name string) event {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended before %s", name)
			}
			if e.name == name {
				return e
			}
		case <-timeout:
			t.Fatalf("no %s came", name)
		}
	}
}

// ends waits for the end of a stream.
func ends(t *testing.T, events <-chan event) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-timeout:
			t.Fatal("the stream goes on")
		}
	}
}

// liveOffice is an office that serves, with a browser that is logged in.
func liveOffice(t *testing.T) (*Server, *fake, *http.Client) {
	t.Helper()
	f := newFake(time.Now)
	f.furnish()
	s := newServer(t, f, time.Now)
	claimed(t, s, f)
	c := browser(t)
	run(t, s)
	res, err := c.PostForm(base(s)+"/login", url.Values{"password": {testPassword}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Request.URL.Path != "/" {
		t.Fatalf("login: %s at %s", res.Status, res.Request.URL)
	}
	return s, f, c
}

var ring = story.Event{Proto: story.SIP, Dir: story.Out, Code: story.CallIn, Args: story.Args{Number: "202", Name: "Reception"}}

func TestStoryIsLive(t *testing.T) {
	s, f, c := liveOffice(t)
	phone := base(s) + "/phones/" + yealink.String()
	events, res := listen(t, c, phone+"/events?after=9")
	if got := res.Header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	for _, want := range []string{"10", "11"} { // recorded after the page was made, before the stream began
		if e := expect(t, events, "entry"); e.id != want {
			t.Errorf("entry %s, want %s", e.id, want)
		}
	}
	f.record(yealink, ring)
	e := expect(t, events, "entry")
	if e.id != "12" || !strings.Contains(e.data, "is called by Reception (202)") || !strings.HasPrefix(e.data, `<li data-seq="12"`) {
		t.Errorf("entry %+v", e)
	}
	t.Run("goes on where it broke off", func(t *testing.T) {
		again, _ := listen(t, c, phone+"/events?after=9", func(r *http.Request) { r.Header.Set("Last-Event-ID", "11") })
		if e := expect(t, again, "entry"); e.id != "12" {
			t.Errorf("entry %s, want 12", e.id)
		}
	})
	t.Run("shows the new state", func(t *testing.T) {
		if err := f.Assign(t.Context(), mac.Account{MAC: yealink, Slot: 2}, 2); err != nil {
			t.Fatal(err)
		}
		for {
			if e := expect(t, events, "swap-account-2"); strings.Contains(e.data, "Reception") {
				break
			}
		}
	})
}

func TestDashboardIsLive(t *testing.T) {
	s, f, c := liveOffice(t)
	events, _ := listen(t, c, base(s)+"/events")
	for _, name := range dashboardRegions {
		expect(t, events, "swap-"+name)
	}
	f.mu.Lock()
	f.snapshot.Tunnel.Up = false
	f.snapshot.Tunnel.Detail = "no answer"
	f.mu.Unlock()
	if e := expect(t, events, "swap-gateway"); !strings.Contains(e.data, "Not connected") {
		t.Errorf("gateway %q", e.data)
	}
}

func TestNetworkIsLive(t *testing.T) {
	s, f, c := liveOffice(t)
	events, _ := listen(t, c, base(s)+"/network/events")
	for _, name := range []string{"others-0", "addresses-0", "switch-0", "others-2", "recent"} {
		expect(t, events, "swap-"+name)
	}
	f.mu.Lock()
	one := &f.snapshot.Interfaces[1]
	one.Mode, one.Stopped = "serve", true
	f.mu.Unlock()
	if e := expect(t, events, "swap-others-1"); !strings.Contains(e.data, "makes no offers here") || !strings.Contains(e.data, `value="eth2"`) {
		t.Errorf("other servers %q", e.data)
	}
}

func TestListIsLive(t *testing.T) {
	s, f, c := liveOffice(t)
	events, _ := listen(t, c, base(s)+"/phones/events?q=vvx")
	expect(t, events, "swap-list")
	f.mu.Lock()
	f.phones[poly].State = api.Offline
	f.mu.Unlock()
	if e := expect(t, events, "swap-list"); !strings.Contains(e.data, "offline") || strings.Contains(e.data, "T46U") {
		t.Errorf("list %q", e.data)
	}
}

func TestStreamsEnd(t *testing.T) {
	t.Run("with the login", func(t *testing.T) {
		s, f, c := liveOffice(t)
		page, _ := listen(t, c, base(s)+"/events")
		phone, _ := listen(t, c, base(s)+"/phones/"+yealink.String()+"/events")
		data, _ := listen(t, c, base(s)+"/api/v1/phones/"+yealink.String()+"/story/events")
		expect(t, page, "swap-box")
		res, err := c.PostForm(base(s)+"/logout", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		ends(t, page)
		ends(t, phone)
		ends(t, data)
		for range 100 { // the subscription is given back just after
			if f.watching() == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d subscriptions are left", f.watching())
	})
	t.Run("with the box", func(t *testing.T) {
		f := newFake(time.Now)
		f.furnish()
		s := newServer(t, f, time.Now)
		claimed(t, s, f)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- s.Run(ctx) }()
		c := browser(t)
		token := s.sessions.start()
		events, _ := listen(t, c, base(s)+"/events", as(token))
		expect(t, events, "swap-box")
		begin := time.Now()
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("Run: %v", err)
		}
		ends(t, events)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	s, _, c := liveOffice(t)
	for range maxStreams {
		s.streams <- struct{}{}
	}
	_, res := listen(t, c, base(s)+"/events")
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", res.StatusCode)
	}
	<-s.streams
	events, _ := listen(t, c, base(s)+"/events")
	expect(t, events, "swap-box")
}

func TestTick(t *testing.T) {
	f := newFake(time.Now)
	s := newServer(t, f, time.Now)
	ticks := make(chan struct{}, 8)
	s.tick = func() {
		select {
		case ticks <- struct{}{}:
		default:
		}
	}
	run(t, s)
	select {
	case <-ticks:
	case <-time.After(30 * time.Second):
		t.Error("no tick came")
	}
}

// TestPageHTTP2 reads a page and a file through the real listener, with the
// protocol that lets a browser keep many streams.
func TestPageHTTP2(t *testing.T) {
	s, _, c := liveOffice(t)
	for path, want := range map[string]string{"/": "Dashboard", s.files.url("live.js"): "EventSource", "/ca.crt": string(testCert().Certificate[0])} {
		res, err := c.Get(base(s) + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.ProtoMajor != 2 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %s, %v", path, res.Proto, res.Status, err)
		}
	}
}
