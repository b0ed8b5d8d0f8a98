package appliance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
	"patchbay/provision/firmware"
)

// buildFirmware opens the images, and restores pins and roll-outs.
func (a *Appliance) buildFirmware(ctx context.Context) error {
	dir := filepath.Join(a.cfg.Box.State, "firmware")
	limits := firmware.Default
	limits.Total = int64(a.cfg.Provision.FirmwareMiB) << 20
	var err error
	if a.images, err = firmware.Open(dir, limits, a.now); err != nil {
		return err
	}
	if a.imagesDir, err = os.OpenRoot(dir); err != nil {
		return fmt.Errorf("firmware: %w", err)
	}
	a.closers = append(a.closers, a.imagesDir.Close)
	tell := func(m mac.Addr, code story.Code, args story.Args) {
		a.record(m, story.Event{Time: a.now(), Proto: story.Admin, Code: code, Args: args})
	}
	a.rollouts, err = firmware.New(ctx, a.images, a.db.Provisioning(), fleet{a}, tell, a.now, a.watchdog.Loop("firmware"), a.log)
	return err
}

// imageOf is the image that a phone is told of in its configuration now.
func (a *Appliance) imageOf(p provision.Phone) provision.Image {
	image, ok := a.rollouts.Told(firmware.Phone{MAC: p.MAC, Vendor: p.Vendor, Model: p.Model, Hardware: p.Hardware, Firmware: p.Firmware})
	if !ok {
		return provision.Image{}
	}
	file, err := a.catalog.ToldFile(p.Vendor, p.Model, image.Names())
	if err != nil { // a file was removed from it since
		return provision.Image{}
	}
	return provision.ImageOf(image.ID, file, image.Version)
}

// loadsImage takes note of what a phone fetches from the directory of images.
func (a *Appliance) loadsImage(m mac.Addr, file string, whole bool) {
	if image, _, ok := strings.Cut(file, "/"); ok {
		a.rollouts.Loads(m, image, whole)
	}
}

// fleet lets roll-outs see and ask the phones.
type fleet struct{ a *Appliance }

// Phones implements firmware.Fleet.
func (f fleet) Phones() []firmware.Phone {
	list := f.a.directory.Phones()
	out := make([]firmware.Phone, 0, len(list))
	for _, p := range list {
		x := firmware.Phone{MAC: p.MAC, Vendor: p.Vendor, Model: p.Model, Hardware: p.Hardware, Firmware: p.Firmware}
		for _, acc := range p.Accounts {
			x.Online = x.Online || presence(f).Online(acc.Account)
		}
		out = append(out, x)
	}
	return out
}

// Ask implements firmware.Fleet.
func (f fleet) Ask(m mac.Addr, restart bool) (int64, error) {
	kind := enrol.Resync
	if restart {
		kind = enrol.Restart
	}
	p, ok := f.a.directory.Summary(m)
	if !ok || len(p.Accounts) == 0 {
		return 0, enrol.ErrUnknownPhone
	}
	return f.a.desk.Ask(p.Accounts[0].Account, kind)
}

// askStates are the states of an action as roll-outs see them.
var askStates = map[enrol.ActionState]firmware.AskState{
	enrol.Queued: firmware.AskWaits, enrol.Asked: firmware.AskGoes, enrol.Fetched: firmware.AskGoes, enrol.Done: firmware.AskEnded, enrol.Failed: firmware.AskFailed,
}

// Asked implements firmware.Fleet.
func (f fleet) Asked(id int64) (firmware.AskState, story.Reason) {
	for _, x := range f.a.desk.Actions() {
		if x.ID == id {
			return askStates[x.State], x.Why
		}
	}
	return firmware.AskLost, ""
}

// InCall implements firmware.Fleet.
func (f fleet) InCall(m mac.Addr) bool { return phoneWay(f).InCall(m) }

// Fits implements firmware.Fleet.
func (f fleet) Fits(t firmware.Target, i firmware.Image) error {
	_, err := f.a.catalog.ToldFile(t.Vendor, t.Model, i.Names())
	return err
}

// Family implements firmware.Fleet.
func (f fleet) Family(vendor, version string) string {
	return f.a.catalog.FirmwareFamily(vendor, version)
}

// agents remembers what each phone said of itself by SIP, since it says so at
// every registration.
type agents struct {
	mu sync.Mutex
	by map[mac.Addr]string
}

// news reports whether a phone says something else than before.
func (a *agents) news(m mac.Addr, agent string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[mac.Addr]string{}
	}
	if a.by[m] == agent || len(a.by) >= enrol.MaxPhones && a.by[m] == "" {
		return false
	}
	a.by[m] = agent
	return true
}

// sawAgent notes the firmware that a phone registers with. It does not block.
func (a *Appliance) sawAgent(acc mac.Account) {
	b, ok := a.endpoint.Location().Binding(acc)
	if !ok || b.UserAgent == "" || !a.agents.news(acc.MAC, b.UserAgent) {
		return
	}
	s := a.catalog.ReadAgent(b.UserAgent)
	p, ok := a.directory.Phone(acc.MAC)
	switch {
	case !ok || s.Firmware == "" || s.Vendor != p.Vendor || !s.MAC.IsZero() && s.MAC != acc.MAC:
		return
	case strings.HasPrefix(p.Firmware, s.Firmware) || p.Firmware != "" && strings.HasPrefix(s.Firmware, p.Firmware):
		return // the same, written shorter in one of the two protocols
	}
	a.arrivals.saw(provision.Sighting{MAC: acc.MAC, Firmware: s.Firmware, Hardware: s.Hardware})
	a.record(acc.MAC, story.Event{Time: a.now(), Proto: story.SIP, Dir: story.In, Code: story.Identified, Args: story.Args{Vendor: p.Vendor, Model: p.Model, Firmware: s.Firmware}})
}

// tooOld counts the phones that the cloud gateway would not take with their
// firmware.
func (a *Appliance) tooOld() (n int) {
	for _, p := range a.directory.Phones() {
		if _, below := a.catalog.Below(p.Vendor, p.Model, p.Firmware); below {
			n++
		}
	}
	return n
}

// gapWords says why the cloud gateway would not take a phone with its firmware;
// empty if nothing is known against it.
func (a *Appliance) gapWords(vendor, model, version string) string {
	gap, below := a.catalog.Below(vendor, model, version)
	switch {
	case !below:
		return ""
	case gap.Other:
		return fmt.Sprintf("firmware %s is of an image that the Teams SIP gateway does not know for this model; it takes %s and newer", gap.Firmware, gap.Minimum)
	case gap.Approved != "":
		return fmt.Sprintf("firmware %s is older than %s, the oldest that the Teams SIP gateway takes; it has approved %s", gap.Firmware, gap.Minimum, gap.Approved)
	}
	return fmt.Sprintf("firmware %s is older than %s, the oldest that the Teams SIP gateway takes", gap.Firmware, gap.Minimum)
}
