package enrol

import (
	"errors"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"patchbay/dhcp/mac"
)

// slowPhones is a Notifier whose phones answer when they are told to.
type slowPhones struct {
	mu    sync.Mutex
	asked []mac.Account
	now   int // being asked
	most  int
	begun chan mac.Account
	gate  chan error // one answer each
}

func (s *slowPhones) Resync(a mac.Account) error {
	s.mu.Lock()
	s.asked = append(s.asked, a)
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	s.begun <- a
	err := <-s.gate
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return err
}

func newSlowPhones() *slowPhones {
	return &slowPhones{begun: make(chan mac.Account, 1000), gate: make(chan error, 1000)}
}

// TestAskDoesNotWait has phones that never answer while they are asked.
func TestAskDoesNotWait(t *testing.T) {
	s := newSlowPhones()
	a := newAsker(s)
	const phones = 3 * asksAtOnce
	for n := range byte(phones) {
		a.ask([]mac.Account{slot(n, 1)})
	}
	for range asksAtOnce {
		<-s.begun
	}
	for range phones {
		s.gate <- nil
	}
	a.wg.Wait()
	if s.most != asksAtOnce || len(s.asked) != phones {
		t.Errorf("%d phones asked, %d at once; want %d and %d", len(s.asked), s.most, phones, asksAtOnce)
	}
	if len(a.phones) != 0 {
		t.Errorf("%d phones left", len(a.phones))
	}
}

// TestAskAgain changes a phone while it is asked: it may have fetched what
// is old by now.
func TestAskAgain(t *testing.T) {
	s := newSlowPhones()
	a := newAsker(s)
	a.ask([]mac.Account{slot(1, 1)})
	<-s.begun
	for range 5 {
		a.ask([]mac.Account{slot(1, 2)})
	}
	s.gate <- nil
	<-s.begun
	s.gate <- nil
	a.wg.Wait()
	if diff := gocmp.Diff([]mac.Account{slot(1, 1), slot(1, 2)}, s.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestAskOtherAccounts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []error
		want    int
	}{
		{"the first is there", []error{nil}, 1},
		{"the second is there", []error{errors.New("not registered"), nil}, 2},
		{"none is there", []error{errors.New("1"), errors.New("2"), errors.New("3"), errors.New("4")}, asksEach},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSlowPhones()
			for _, err := range tc.answers {
				s.gate <- err
			}
			a := newAsker(s)
			a.ask([]mac.Account{slot(1, 2), slot(1, 1), slot(1, 3), slot(1, 4)})
			a.wg.Wait()
			want := []mac.Account{slot(1, 2), slot(1, 1), slot(1, 3)}[:tc.want]
			if diff := gocmp.Diff(want, s.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAskClose(t *testing.T) {
	s := newSlowPhones()
	a := newAsker(s)
	const phones = 4 * asksAtOnce
	for n := range byte(phones) {
		a.ask([]mac.Account{slot(n, 1)})
	}
	for range asksAtOnce {
		<-s.begun
	}
	closed := make(chan struct{})
	go func() { defer close(closed); a.close() }()
	<-a.stop
	// Those that wait may take either way out; those that have begun end.
	for range phones {
		s.gate <- nil
	}
	<-closed
	a.close()
	n := len(s.asked)
	a.ask([]mac.Account{slot(1, 1)})
	a.wg.Wait()
	if len(s.asked) != n || len(a.phones) != 0 {
		t.Errorf("asked after close, or %d phones left", len(a.phones))
	}
}

// TestDeskAsksThePhoneThatIsThere has slot 1 away while slot 2 is registered.
func TestDeskAsksThePhoneThatIsThere(t *testing.T) {
	o := newOffice(t)
	if _, err := o.Enlist(t.Context(), sighting); err != nil {
		t.Fatal(err)
	}
	o.away = map[mac.Account]bool{slot(1, 1): true}
	if err := o.SetLanguage(t.Context(), phoneMAC(1), "de"); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]mac.Account{slot(1, 1), slot(1, 2)}, o.asked()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}
