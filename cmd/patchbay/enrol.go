package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"patchbay/appliance/web/api"
	"patchbay/dhcp/mac"
)

// splitFlags takes flags without a value out of the arguments, wherever they
// stand, and puts other flags first, as the flag package wants them.
func splitFlags(args []string, known ...string) (set map[string]bool, rest []string) {
	set = map[string]bool{}
	var words []string
	for i := 0; i < len(args); i++ {
		name := strings.TrimLeft(args[i], "-")
		switch {
		case args[i] == name || name == "":
			words = append(words, args[i])
		case contains(known, name):
			set[name] = true
		default:
			rest = append(rest, args[i])
			if !strings.Contains(name, "=") && i+1 < len(args) { // its value
				i++
				rest = append(rest, args[i])
			}
		}
	}
	return set, append(rest, words...)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// parsePhones reads MAC addresses in any usual notation.
func parsePhones(words []string) ([]mac.Addr, error) {
	var out []mac.Addr
	for _, w := range words {
		m, err := mac.Parse(w)
		if err != nil {
			return nil, fmt.Errorf("%w, such as 00:15:65:4a:a9:37", err)
		}
		out = append(out, m)
	}
	return out, nil
}

// parseAccounts reads phones, each with a slot after a slash if it is not the
// first.
func parseAccounts(words []string) ([]mac.Account, error) {
	var out []mac.Account
	for _, w := range words {
		a, err := mac.ParseAccount(w)
		if err != nil {
			return nil, fmt.Errorf("%w, such as 00:15:65:4a:a9:37 or 00:15:65:4a:a9:37/2", err)
		}
		out = append(out, a)
	}
	return out, nil
}

const manyArgs = 10_000

// enrolCommand lists the phones that wait, or enrols those that are named.
func enrolCommand(ctx context.Context, args []string, out io.Writer) error {
	location := ""
	args = takeValue(args, "location", &location)
	rest, socket, err := socketFlags("enrol")(args, manyArgs)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return api.PrintWaiting(ctx, out, socket)
	}
	list, err := parsePhones(rest)
	if err != nil {
		return err
	}
	return enrolPhones(ctx, out, socket, api.EnrolEdit{Phones: list, Location: location})
}

func enrolPhones(ctx context.Context, out io.Writer, socket string, e api.EnrolEdit) error {
	c := api.NewClient(socket)
	defer c.Close()
	if err := c.Enrol(ctx, e); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d phone(s) are enrolled.\n", len(e.Phones))
	return err
}

// takeValue takes a flag with a value out of the arguments.
func takeValue(args []string, name string, to *string) (rest []string) {
	for i := 0; i < len(args); i++ {
		flag := strings.TrimLeft(args[i], "-")
		value, ok := strings.CutPrefix(flag, name+"=")
		switch {
		case flag != args[i] && ok:
			*to = value
		case flag != args[i] && flag == name && i+1 < len(args):
			i++
			*to = args[i]
		default:
			rest = append(rest, args[i])
		}
	}
	return rest
}

// codes makes verification codes for the phones that are named.
func codes(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("codes")(args, manyArgs)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errUsage
	}
	list, err := parsePhones(rest)
	if err != nil {
		return err
	}
	return api.PrintCodes(ctx, out, socket, api.CodeEdit{Phones: list})
}

// sheet judges a CSV file, and applies it with --apply.
func sheet(ctx context.Context, args []string, out io.Writer) error {
	set, rest := splitFlags(args, "apply")
	rest, socket, err := socketFlags("sheet")(rest, 2)
	if err != nil {
		return err
	}
	if len(rest) == 1 && rest[0] == "export" {
		c := api.NewClient(socket)
		defer c.Close()
		return c.PhoneSheet(ctx, out, false)
	}
	if len(rest) != 2 {
		return errUsage
	}
	text, err := readInput(rest[1])
	if err != nil {
		return err
	}
	c := api.NewClient(socket)
	defer c.Close()
	judge := map[string]func(context.Context, []byte, bool) (api.SheetReport, error){"enrol": c.EnrolSheet, "signin": c.SignInSheet, "lines": c.LineSheet}[rest[0]]
	if judge == nil {
		return errUsage
	}
	rep, err := judge(ctx, text, !set["apply"])
	if err != nil {
		return err
	}
	return api.PrintReport(out, rep)
}

// readInput reads a file, or the standard input for "-".
func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, api.MaxSheet+1))
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file", name)
	}
	return text, err
}

// signOut signs accounts out.
func signOut(ctx context.Context, args []string, out io.Writer) error {
	return withAccounts(ctx, "signout", args, func(c *api.Client, list []mac.Account) error {
		if err := c.SignOut(ctx, list); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%d account(s) are signed out. Calls in progress go on.\n", len(list))
		return err
	})
}

// restart asks phones to start anew.
func restart(ctx context.Context, args []string, out io.Writer) error {
	return withAccounts(ctx, "restart", args, func(c *api.Client, list []mac.Account) error {
		if err := c.Restart(ctx, list); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%d phone(s) are asked to restart; `patchbay actions` shows what becomes of it.\n", len(list))
		return err
	})
}

func withAccounts(_ context.Context, name string, args []string, do func(*api.Client, []mac.Account) error) error {
	rest, socket, err := socketFlags(name)(args, manyArgs)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errUsage
	}
	list, err := parseAccounts(rest)
	if err != nil {
		return err
	}
	c := api.NewClient(socket)
	defer c.Close()
	return do(c, list)
}

// replace puts a phone in the place of another one.
func replace(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("replace")(args, 2)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return errUsage
	}
	list, err := parsePhones(rest)
	if err != nil {
		return err
	}
	c := api.NewClient(socket)
	defer c.Close()
	if err := c.Replace(ctx, list[0], list[1]); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%v took the place of %v.\n", list[1], list[0])
	return err
}

// actions lists what phones are asked to do.
func actions(ctx context.Context, args []string, out io.Writer) error {
	_, socket, err := socketFlags("actions")(args, 0)
	if err != nil {
		return err
	}
	return api.PrintActions(ctx, out, socket)
}

// audit lists who changed what.
func audit(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("audit")(args, 1)
	if err != nil {
		return err
	}
	return api.PrintAudit(ctx, out, socket, strings.Join(rest, ""))
}

// pair lets a user sign in at a phone.
func pair(ctx context.Context, args []string, out io.Writer) error {
	rest, socket, err := socketFlags("pair")(args, 1)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errUsage
	}
	list, err := parseAccounts(rest)
	if err != nil {
		return err
	}
	return api.PrintPairing(ctx, out, socket, list[0])
}
