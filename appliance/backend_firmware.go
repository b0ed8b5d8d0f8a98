package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
	"patchbay/provision/firmware"
)

// Firmware implements api.Firmware.
func (b backend) Firmware(context.Context) (api.FirmwareView, error) {
	room, err := b.a.images.Room()
	v := api.FirmwareView{Room: room, Models: b.firmwareModels()}
	for _, name := range b.a.firmwareVendors() {
		v.Vendors = append(v.Vendors, api.FirmwareVendor{Name: name, Title: b.a.vendorTitle(name)})
	}
	used := map[string]bool{}
	for _, p := range b.a.rollouts.Pins() {
		used[p.Image] = true
		v.Pins = append(v.Pins, api.FirmwarePin{Vendor: p.Vendor, Model: p.Model, Hardware: p.Hardware, Image: p.Image, Since: p.Since, By: p.By})
	}
	for _, r := range b.a.rollouts.All() {
		used[r.Image] = used[r.Image] || r.State.Active()
		v.Rollouts = append(v.Rollouts, b.firmwareRollout(r))
	}
	for _, i := range b.a.images.List() {
		out := b.firmwareImage(i)
		out.Used = used[i.ID]
		v.Images = append(v.Images, out)
	}
	return v, err
}

func targetOf(vendor, model, hardware string) firmware.Target {
	return firmware.Target{Vendor: strings.TrimSpace(vendor), Model: strings.TrimSpace(model), Hardware: strings.TrimSpace(hardware)}
}

func (b backend) firmwareImage(i firmware.Image) api.FirmwareImage {
	out := api.FirmwareImage{ID: i.ID, Vendor: i.Vendor, Title: b.a.vendorTitle(i.Vendor), Version: i.Version, Label: i.Label, Added: i.Added}
	for _, f := range i.Files {
		out.Files = append(out.Files, api.FirmwareFile{Name: f.Name, Size: f.Size, SHA256: f.SHA256, Checked: f.Checked})
	}
	return out
}

func (b backend) firmwareRollout(r firmware.Rollout) api.FirmwareRollout {
	out := api.FirmwareRollout{
		Vendor: r.Vendor, Model: r.Model, Hardware: r.Hardware, ID: r.ID, Title: b.a.vendorTitle(r.Vendor), Image: r.Image, Version: r.Version, Before: r.Before, Back: r.Back,
		AtOnce: r.AtOnce, State: string(r.State), Created: r.Created, Changed: r.Changed, By: r.By,
	}
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, api.FirmwareStep{
			MAC: s.MAC, Name: b.phoneName(s.MAC), State: string(s.State), Reason: string(s.Why), Text: s.Why.Words(), Before: s.Before, Tries: s.Tries, First: s.First, Since: s.Since,
		})
	}
	return out
}

// phoneName is what people call a phone: the line that is signed in to it, or
// where it stands.
func (b backend) phoneName(m mac.Addr) string {
	p, _ := b.a.directory.Summary(m)
	for _, acc := range p.Accounts {
		if name := cmp.Or(acc.Name, acc.Location); name != "" {
			return name
		}
	}
	return ""
}

// firmwareModels lists what phones run, by vendor and model.
func (b backend) firmwareModels() []api.FirmwareModel {
	type key struct{ vendor, model string }
	models := map[key]*api.FirmwareModel{}
	for _, p := range b.a.directory.Phones() {
		if p.Vendor == "" || p.Model == "" {
			continue
		}
		k := key{p.Vendor, p.Model}
		if models[k] == nil {
			models[k] = &api.FirmwareModel{Vendor: p.Vendor, Title: b.a.vendorTitle(p.Vendor), Model: p.Model}
		}
		models[k].Phones = append(models[k].Phones, b.firmwarePhone(p))
	}
	var out []api.FirmwareModel
	for _, m := range models {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(x, y api.FirmwareModel) int {
		return cmp.Or(strings.Compare(x.Title, y.Title), strings.Compare(x.Model, y.Model))
	})
	return out
}

func (b backend) firmwarePhone(p enrol.PhoneSummary) api.FirmwarePhone {
	online := slices.ContainsFunc(p.Accounts, func(acc enrol.AccountSummary) bool { return presence(b).Online(acc.Account) })
	return api.FirmwarePhone{
		MAC: p.MAC, Name: b.phoneName(p.MAC), Hardware: p.Hardware, Firmware: p.Firmware, Online: online, Below: b.a.gapWords(p.Vendor, p.Model, p.Firmware),
	}
}

// PutImage implements api.Firmware.
func (b backend) PutImage(ctx context.Context, e api.ImageEdit, body io.Reader) (api.FirmwareImage, error) {
	u := firmware.Upload{Vendor: e.Vendor, Version: e.Version, Label: e.Label, Name: e.File, Size: e.Size, Checksum: e.Checksum}
	target := strings.TrimSpace(e.Vendor + " " + e.Version + " " + e.Label)
	if v, ok := b.a.catalog.Vendor(e.Vendor); !ok || v.Firmware.Entry == "" {
		text := fmt.Sprintf("vendor %q: the box knows how to tell phones of an image for %s", e.Vendor, strings.Join(b.a.firmwareVendors(), ", "))
		return api.FirmwareImage{}, b.audited(ctx, "firmware-upload", target, e.File, &api.Invalid{Field: "vendor", Text: text})
	}
	i, err := b.a.images.Put(ctx, u, body)
	return b.firmwareImage(i), b.audited(ctx, "firmware-upload", target, e.File, firmwareFault(err))
}

// firmwareVendors are those whose phones can be told of an image.
func (a *Appliance) firmwareVendors() []string {
	return slices.DeleteFunc(a.catalog.Vendors(), func(name string) bool {
		v, _ := a.catalog.Vendor(name)
		return v.Firmware.Entry == ""
	})
}

// RemoveImage implements api.Firmware.
func (b backend) RemoveImage(ctx context.Context, id, file string) error {
	return b.audited(ctx, "firmware-remove", id, file, firmwareFault(b.a.rollouts.Remove(ctx, id, file)))
}

// PinFirmware implements api.Firmware.
func (b backend) PinFirmware(ctx context.Context, e api.FirmwarePinEdit) error {
	t := targetOf(e.Vendor, e.Model, e.Hardware)
	err := b.ownFiles()
	if err == nil || e.Image == "" {
		err = b.a.rollouts.SetPin(ctx, t, e.Image, api.ActorOf(ctx).Name, e.OtherFamily)
	}
	return b.audited(ctx, "firmware-pin", t.String(), e.Image, firmwareFault(err))
}

// ownFiles is an error if phones get their configurations from elsewhere, where
// the box can't name an image.
func (b backend) ownFiles() error {
	s := b.a.doors.sources.Of(mac.Addr{})
	if s.Kind == provision.SourceLocal {
		return nil
	}
	return &api.Invalid{Text: "phones get their configurations from " + s.Upstream + ", so the box can't tell them of an image; set their firmware there, or their source to local"}
}

// StartRollout implements api.Firmware.
func (b backend) StartRollout(ctx context.Context, e api.FirmwarePlan) (api.FirmwareRollout, error) {
	t := targetOf(e.Vendor, e.Model, e.Hardware)
	var r firmware.Rollout
	err := b.ownFiles()
	if err == nil {
		r, err = b.a.rollouts.Start(ctx, firmware.Plan{Target: t, Image: e.Image, First: e.First, AtOnce: e.AtOnce, OtherFamily: e.OtherFamily, By: api.ActorOf(ctx).Name})
	}
	detail := fmt.Sprintf("%s, %d at once, first %v", e.Image, e.AtOnce, e.First)
	return b.firmwareRollout(r), b.audited(ctx, "firmware-rollout", t.String(), detail, firmwareFault(err))
}

// StopRollout implements api.Firmware.
func (b backend) StopRollout(ctx context.Context, id int64) (api.FirmwareRollout, error) {
	r, err := b.a.rollouts.Stop(ctx, id)
	return b.firmwareRollout(r), b.audited(ctx, "firmware-stop", fmt.Sprint(id), r.Image, firmwareFault(err))
}

// ResumeRollout implements api.Firmware.
func (b backend) ResumeRollout(ctx context.Context, id int64) (api.FirmwareRollout, error) {
	r, err := b.a.rollouts.Resume(ctx, id)
	return b.firmwareRollout(r), b.audited(ctx, "firmware-resume", fmt.Sprint(id), r.Image, firmwareFault(err))
}

// RollbackFirmware implements api.Firmware.
func (b backend) RollbackFirmware(ctx context.Context, id int64) (api.FirmwareRollout, error) {
	r, err := b.a.rollouts.Rollback(ctx, id, api.ActorOf(ctx).Name)
	return b.firmwareRollout(r), b.audited(ctx, "firmware-rollback", fmt.Sprint(id), r.Image, firmwareFault(err))
}

// firmwareFault tells the faults of images and roll-outs in their own words.
func firmwareFault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, firmware.ErrUnknown):
		return api.ErrNotFound
	case errors.Is(err, firmware.ErrInvalid), errors.Is(err, firmware.ErrFull), errors.Is(err, firmware.ErrInUse):
		text := err.Error()
		for _, mark := range []error{firmware.ErrInvalid, firmware.ErrTooLarge} {
			text = strings.ReplaceAll(text, ": "+mark.Error(), "")
		}
		return &api.Invalid{Text: text}
	}
	return err
}
