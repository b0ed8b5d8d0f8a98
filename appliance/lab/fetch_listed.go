package lab

import (
	"context"
	"fmt"
	"strings"
)

// format is how the files of a dialect are read.
type format struct {
	parse    func(f *fetcher, body []byte, values map[string]string) error
	accounts func(values map[string]string) ([]Account, error)
	// firstOnly: the phone stops at the first file that exists.
	firstOnly bool
}

// formats are those of the dialects whose phones ask for a list of names.
func formats(d dialect) (format, bool) {
	plain := func(parse func([]byte, map[string]string) error) func(*fetcher, []byte, map[string]string) error {
		return func(_ *fetcher, body []byte, values map[string]string) error { return parse(body, values) }
	}
	grandstreamFile := func(f *fetcher, body []byte, values map[string]string) error {
		return parseGrandstream(body, f.p.MAC, values)
	}
	ported := func(codes []pcodes) func(map[string]string) ([]Account, error) {
		return func(values map[string]string) ([]Account, error) { return grandstreamAccounts(values, codes) }
	}
	items := func(f *fetcher, body []byte, values map[string]string) error {
		return parseN510(body, strings.ToUpper(f.p.MAC.Hex()), values)
	}
	all := map[dialect]format{
		audiocodes:  {parse: plain(parsePairs), accounts: audiocodesAccounts},
		snom:        {parse: plain(parseSnom), accounts: snomAccounts},
		snomBase:    {parse: plain(parseSnom), accounts: snomBaseAccounts},
		grandstream: {parse: grandstreamFile, accounts: ported(deskCodes), firstOnly: true},
		grandPort:   {parse: grandstreamFile, accounts: ported(portCodes), firstOnly: true},
		grandPorts:  {parse: grandstreamFile, accounts: ported(profileCodes()), firstOnly: true},
		fanvil:      {parse: plain(parseFanvil), accounts: fanvilAccounts},
		gigaset:     {parse: plain(parseGigaset), accounts: gigasetAccounts},
		n510:        {accounts: n510Accounts, parse: items},
		n720:        {accounts: n720Accounts, parse: items},
		algo:        {parse: plain(parsePairs), accounts: algoAccounts},
		cyberdata:   {accounts: cyberdataAccounts, firstOnly: true, parse: plain(func(body []byte, values map[string]string) error { return indexed(body, "specific", values) })},
		other:       {parse: plain(parseYealink), accounts: yealinkAccounts},
	}
	f, ok := all[d]
	return f, ok
}

// fetchListed asks for the names of the personality in their order. A file
// that is not there is skipped; what a later one says wins. A file may send
// the phone on to more (snom).
func (f *fetcher) fetchListed(ctx context.Context, form format, fresh *changes) (settings, error) {
	values := make(map[string]string)
	found := false
	queue := make([]string, 0, len(f.p.Names))
	for _, name := range f.p.Names {
		queue = append(queue, f.p.fill(name))
	}
	var last []byte
	for i := 0; i < len(queue) && i < 12; i++ {
		name := queue[i]
		body, err := optional(f.get(ctx, name))
		if err != nil {
			return settings{}, err
		}
		if body == nil || strings.HasPrefix(string(body), firmwareMark) { // an image under the vendor's own name is no settings
			continue
		}
		if strings.HasSuffix(name, ".md5") {
			if err := algoDigest(last, body); err != nil {
				return settings{}, fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		if err := form.parse(f, body, values); err != nil {
			return settings{}, fmt.Errorf("%s: %w", name, err)
		}
		fresh.note(name, body)
		found, last = true, body
		for _, url := range snomFiles(body) {
			queue = append(queue, strings.ReplaceAll(url, "{mac}", strings.ToUpper(f.p.MAC.Hex())))
		}
		if form.firstOnly {
			break
		}
	}
	if !found {
		return settings{}, fmt.Errorf("%s: %w", strings.Join(queue, ", "), errNoConfig)
	}
	accounts, err := form.accounts(values)
	return settings{accounts: accounts, values: values}, err
}
