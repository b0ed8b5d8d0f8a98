package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
)

// keptOverride is the kind of overrides in the store, by scope.
const keptOverride = "override"

// restoreOverrides reads what administrators added to configurations.
func (a *Appliance) restoreOverrides(ctx context.Context) error {
	texts, err := a.db.Provisioning().All(ctx, keptOverride)
	if err != nil {
		return err
	}
	scopes := make(map[string]provision.Override, len(texts))
	for scope, text := range texts {
		var o provision.Override
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			return fmt.Errorf("override of %s: %w", scope, err)
		}
		scopes[scope] = o
	}
	a.doors.overrides = provision.NewOverrides(a.catalog, scopes)
	return nil
}

func (b backend) vendorOf(m mac.Addr) string {
	p, _ := b.a.directory.Phone(m)
	return p.Vendor
}

// Overrides implements api.Overrides.
func (b backend) Overrides(context.Context) ([]api.Override, error) {
	all := b.a.doors.overrides.All()
	out := make([]api.Override, 0, len(all))
	for _, scope := range slices.Sorted(maps.Keys(all)) {
		out = append(out, api.Override{Scope: scope, Values: all[scope].Values, Before: all[scope].Before})
	}
	return out, nil
}

// PutOverride implements api.Overrides.
func (b backend) PutOverride(ctx context.Context, e api.OverrideEdit) (api.Override, error) {
	if err := b.a.catalog.CheckOverride(e.Scope, e.Values, b.vendorOf); err != nil {
		return api.Override{}, b.audited(ctx, "override", clipText(e.Scope), "", overrideFault(err))
	}
	b.a.doors.changing.Lock()
	defer b.a.doors.changing.Unlock()
	o, err := b.storeOverride(ctx, e.Scope, b.a.doors.overrides.Next(e.Scope, e.Values))
	return o, b.audited(ctx, "override", e.Scope, strings.Join(slices.Sorted(maps.Keys(e.Values)), " "), err)
}

// storeOverride writes a scope, puts it in force, and has the phones that it
// changes fetch.
func (b backend) storeOverride(ctx context.Context, scope string, o provision.Override) (api.Override, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return api.Override{}, err
	}
	if err := b.a.db.Provisioning().Put(ctx, keptOverride, map[string]string{scope: string(text)}); err != nil {
		return api.Override{}, err
	}
	before := b.overridden()
	b.a.doors.overrides.Put(scope, o)
	out := api.Override{Scope: scope, Values: o.Values, Before: o.Before}
	for m, values := range b.overridden() {
		if maps.Equal(values, before[m]) {
			continue
		}
		asked, err := b.refetch(m, enrol.Resync)
		if err != nil {
			return out, err
		}
		if asked {
			out.Asked++
		}
	}
	return out, nil
}

// overridden is what overrides say for each phone.
func (b backend) overridden() map[mac.Addr]map[string]string {
	out := make(map[mac.Addr]map[string]string)
	for _, p := range b.a.directory.Phones() {
		out[p.MAC] = b.a.doors.overrides.Applied(provision.Phone{MAC: p.MAC, Vendor: p.Vendor, Model: p.Model})
	}
	return out
}

// refetch has a phone that can be reached fetch its configuration, in the way
// that kind says; another one fetches when it comes up.
func (b backend) refetch(m mac.Addr, kind enrol.ActionKind) (asked bool, err error) {
	p, _ := b.a.directory.Phone(m)
	for _, a := range p.Accounts {
		if presence(b).Online(a.Account) {
			_, err := b.a.desk.Ask(a.Account, kind)
			return err == nil, said(err)
		}
	}
	return false, nil
}

// OverrideScopes implements api.Overrides.
func (b backend) OverrideScopes(context.Context) ([]api.OverrideScope, error) {
	phones := b.a.directory.Phones()
	var vendors, models, site []api.OverrideScope
	for _, v := range b.a.catalog.Overridable() {
		all := api.OverrideScope{Scope: "vendor/" + v.Name, Vendor: v.Title}
		byModel := make(map[string][]mac.Addr)
		for _, p := range phones {
			if p.Vendor != v.Name {
				continue
			}
			all.Phones = append(all.Phones, p.MAC)
			if p.Model != "" {
				byModel[p.Model] = append(byModel[p.Model], p.MAC)
			}
		}
		vendors = append(vendors, all)
		for _, model := range slices.Sorted(maps.Keys(byModel)) {
			models = append(models, api.OverrideScope{Scope: "model/" + v.Name + "/" + model, Vendor: v.Title, Model: model, Phones: byModel[model]})
		}
		all.Scope = "site/" + v.Name
		site = append(site, all)
	}
	return slices.Concat(vendors, models, site), nil
}

// PreviewOverride implements api.Overrides.
func (b backend) PreviewOverride(_ context.Context, e api.OverrideEdit, m mac.Addr) (api.Diff, error) {
	if err := b.a.catalog.CheckOverride(e.Scope, e.Values, b.vendorOf); err != nil {
		return api.Diff{}, overrideFault(err)
	}
	var local netip.Addr
	if len(b.a.cfg.LANs) > 0 {
		local = b.a.cfg.LANs[0].Address
	}
	diff, err := b.a.provision.Preview(m, local, e.Scope, e.Values)
	return api.Diff{Diff: diff}, overrideFault(err)
}

// RollbackOverride implements api.Overrides.
func (b backend) RollbackOverride(ctx context.Context, scope string) (api.Override, error) {
	b.a.doors.changing.Lock()
	defer b.a.doors.changing.Unlock()
	o, ok := b.a.doors.overrides.All()[scope]
	if !ok {
		return api.Override{}, b.audited(ctx, "override-rollback", clipText(scope), "", api.ErrNotFound)
	}
	out, err := b.storeOverride(ctx, scope, provision.Override{Values: o.Before, Before: o.Values})
	return out, b.audited(ctx, "override-rollback", scope, "", err)
}

// overrideFault tells the faults of an override in their own words.
func overrideFault(err error) error {
	if errors.Is(err, provision.ErrOverride) {
		text := strings.ReplaceAll(err.Error(), ": "+provision.ErrOverride.Error(), "")
		return &api.Invalid{Field: "values", Text: strings.ReplaceAll(text, "\n", "; ")}
	}
	return err
}
