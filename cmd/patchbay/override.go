package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// maxOverrides is how many keys fit a command line.
const maxOverrides = 500

// overrideCommand lists, previews, changes and rolls back settings in vendors' keys.
func overrideCommand(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("override")(args, maxOverrides)
	if err != nil {
		return err
	}
	switch {
	case len(rest) == 0:
		return api.PrintOverrides(ctx, out, socket)
	case rest[0] == "scopes" && len(rest) == 1:
		return api.PrintOverrideScopes(ctx, out, socket)
	case rest[0] == "rollback" && len(rest) == 2:
		return api.RollbackOverride(ctx, out, socket, rest[1])
	case rest[0] == "set" && len(rest) >= 2:
		values, err := keyValues(rest[2:])
		if err != nil {
			return err
		}
		return api.PutOverride(ctx, out, socket, rest[1], values)
	case rest[0] == "preview" && len(rest) >= 3:
		m, err := mac.Parse(rest[1])
		if err != nil {
			return fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
		}
		values, err := keyValues(rest[3:])
		if err != nil {
			return err
		}
		return api.PreviewOverride(ctx, out, socket, m, rest[2], values)
	}
	return errUsage
}

func keyValues(words []string) (map[string]string, error) {
	values := make(map[string]string)
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("%q: write KEY=VALUE", w)
		}
		values[key] = value
	}
	return values, nil
}
