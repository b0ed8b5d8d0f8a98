package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
	"patchbay/provision"
	"patchbay/provision/enrol"
)

// keptSource is the kind of sources of configurations in the store, by scope:
// the site, or the MAC address of a phone.
const (
	keptSource = "source"
	siteScope  = "site"
)

// fileSource is what the configuration file says for the site.
func (p *Provision) fileSource() provision.Source {
	s := provision.Source{Kind: provision.SourceKind(p.Source)}
	if s.Kind != provision.SourceLocal {
		s.Upstream = p.Upstream
	}
	return s
}

// restoreSources reads where configurations come from. What was said at the
// page outweighs the file.
func (a *Appliance) restoreSources(ctx context.Context) error {
	texts, err := a.db.Provisioning().All(ctx, keptSource)
	if err != nil {
		return err
	}
	site, phones := a.cfg.Provision.fileSource(), make(map[mac.Addr]provision.Source)
	for scope, text := range texts {
		var s provision.Source
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return fmt.Errorf("source of %s: %w", scope, err)
		}
		if scope == siteScope {
			site, a.doors.siteSaid = s, true
			continue
		}
		m, err := mac.Parse(scope)
		if err != nil {
			return fmt.Errorf("source of %s: %w", scope, err)
		}
		phones[m] = s
	}
	a.doors.sources = provision.NewSources(site, phones)
	a.catalog.Lead(a.doors.sources)
	return nil
}

func sourceView(scope string, s provision.Source) api.Source {
	return api.Source{Scope: scope, Source: string(s.Kind), Upstream: s.Upstream, Outbound: s.Outbound}
}

// Sources implements api.Sources.
func (b backend) Sources(context.Context) ([]api.Source, error) {
	d := &b.a.doors
	d.changing.Lock()
	defer d.changing.Unlock()
	site := sourceView(siteScope, d.sources.Of(mac.Addr{}))
	site.File = !d.siteSaid
	out := []api.Source{site}
	own := d.sources.Phones()
	for _, m := range slices.SortedFunc(maps.Keys(own), mac.Addr.Compare) {
		out = append(out, sourceView(m.String(), own[m]))
	}
	return out, nil
}

// PutSource implements api.Sources.
func (b backend) PutSource(ctx context.Context, e api.SourceEdit) (api.Source, error) {
	s, err := b.putSource(ctx, e)
	return s, b.audited(ctx, "source", e.Scope, strings.TrimSpace(e.Source+" "+e.Upstream+" "+e.Outbound), err)
}

func (b backend) putSource(ctx context.Context, e api.SourceEdit) (api.Source, error) {
	m, err := b.sourceScope(e.Scope)
	if err != nil {
		return api.Source{}, err
	}
	s := provision.Source{Kind: provision.SourceKind(e.Source), Upstream: e.Upstream, Outbound: e.Outbound}
	ends, text := e.Source == "", ""
	if !ends {
		if err := s.Validate(); err != nil {
			return api.Source{}, &api.Invalid{Field: "source", Text: strings.TrimSuffix(err.Error(), ": "+provision.ErrSource.Error())}
		}
		kept, err := json.Marshal(s)
		if err != nil {
			return api.Source{}, err
		}
		text = string(kept)
	} else {
		s = provision.Source{}
	}
	d := &b.a.doors
	d.changing.Lock()
	defer d.changing.Unlock()
	before := b.sourcesNow()
	if err := b.a.db.Provisioning().Put(ctx, keptSource, map[string]string{e.Scope: text}); err != nil {
		return api.Source{}, err
	}
	if m.IsZero() {
		if d.siteSaid = !ends; ends {
			s = b.a.cfg.Provision.fileSource()
		}
		d.sources.SetSite(s)
	} else {
		d.sources.SetPhone(m, s)
	}
	out := sourceView(e.Scope, d.sources.Of(m))
	out.File = m.IsZero() && ends
	out.Asked, err = b.moveSources(before)
	return out, err
}

// sourceScope reads a scope; the zero address is the site.
func (b backend) sourceScope(scope string) (mac.Addr, error) {
	if scope == siteScope {
		return mac.Addr{}, nil
	}
	m, err := mac.Parse(scope)
	if err != nil || m.String() != scope {
		return m, &api.Invalid{Field: "scope", Text: "write site, or the MAC address of a phone such as 00:15:65:4a:a9:37"}
	}
	if _, ok := b.a.directory.Phone(m); !ok {
		return m, api.ErrNotFound
	}
	return m, nil
}

func (b backend) sourcesNow() map[mac.Addr]provision.Source {
	out := make(map[mac.Addr]provision.Source)
	for _, p := range b.a.directory.Phones() {
		out[p.MAC] = b.a.doors.sources.Of(p.MAC)
	}
	return out
}

// moveSources has each phone that can be reached fetch from where its source
// is now. One that is led elsewhere, or was, has to ask for its address by DHCP
// first, and so to start anew.
func (b backend) moveSources(before map[mac.Addr]provision.Source) (asked int, err error) {
	for m, now := range b.sourcesNow() {
		was := before[m]
		if now == was {
			continue
		}
		kind := enrol.Resync
		if now.Kind == provision.SourceRedirect || was.Kind == provision.SourceRedirect {
			kind = enrol.Restart
		}
		done, fault := b.refetch(m, kind)
		if err = errors.Join(err, fault); done {
			asked++
		}
	}
	return asked, err
}
