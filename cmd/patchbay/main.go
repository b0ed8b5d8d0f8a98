// Command patchbay is the box: it gives phones their addresses and their
// configuration, is the SIP server that they register to, and carries their
// calls to the gateway.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build.
var version = "devel"

// command is one subcommand. run returns an error that is printed as it is.
type command struct {
	name, args, help string
	run              func(ctx context.Context, args []string, out io.Writer) error
}

var commands = []command{
	{"serve", "[--config FILE]", "run the box", serve},
	{"demo", "[--once]", "show the whole job on this machine, without root", demo},
	{"check", "[--config FILE]", "check a configuration file", check},
	{"status", "", "show tunnel, problems, phones and calls", status},
	{"phones", "[MAC] [--follow]", "list the phones, or tell the story of one", phones},
	{"enrol", "[MAC...] [--location TEXT]", "list the phones that wait on activation, or enrol some", enrolCommand},
	{"codes", "MAC...", "make a verification code for each phone", codes},
	{"sheet", "enrol|signin|lines FILE [--apply] | export", "judge a CSV file of phones, and apply it", sheet},
	{"pair", "MAC[/SLOT]", "let a user sign in at a phone, and say where", pair},
	{"signout", "MAC[/SLOT]...", "sign phones out of their lines", signOut},
	{"restart", "MAC...", "ask phones to restart when nobody talks on them", restart},
	{"replace", "MAC NEW-MAC", "move everything of a phone to another one", replace},
	{"actions", "", "show what phones are asked to do, and what became of it", actions},
	{"audit", "[ABOUT]", "show who changed what", audit},
	{"lines", "", "list the lines", lines},
	{"line", "EXTENSION [KEY=VALUE...]", "show or change do not disturb and forwarding of a line", line},
	{"policy", "site|LINE [KEY=VALUE...]", "show what the site or a line may do, or change it", policy},
	{"pin", "LINE [--remove]", "give a line the PIN that comes on the standard input", pin},
	{"calls", "[MAC]", "list the calls that have ended, and how they sounded", calls},
	{"leases", "[TEXT]", "list who has which address", leases},
	{"release", "IP", "end a lease", release},
	{"reserve", "MAC [IP]", "keep an address for a device", reserve},
	{"unreserve", "MAC", "take a reservation back", unreserve},
	{"source", "[site|MAC local | redirect SERVICE | proxy SERVICE [OUTBOUND] | clear]", "where configurations come from", sourceCommand},
	{"override", "[scopes | set SCOPE KEY=VALUE... | preview MAC SCOPE KEY=VALUE... | rollback SCOPE]", "add settings in a vendor's own keys", overrideCommand},
	{"firmware", "[add | remove | pin | unpin | rollout | stop | resume | rollback ...]", "keep images of phones, and bring them to the phones", firmwareCommand},
	{"uploads", "MAC [ID]", "list what a phone has written to the box, or print one file", uploads},
	{"path", "MAC [renew]", "print the personal address of a phone", personalPath},
	{"tls", "", "show what phones speak by HTTPS, and which will stop working when", phonesTLS},
	{"certificate", "[[--any-name] FILE | own | order]", "what phones are shown by https; show them a public certificate (chain and key in PEM), or order one", certificate},
	{"drill", "[now]", "show what rehearsals of the loss of the gateway found, or begin one", drill},
	{"doctor", "[--config FILE]", "examine the box and what it hangs on", doctor},
	{"dhcp", "resume --interface NAME", "make DHCP offers although another server was seen", dhcpCommand},
	{"snippet", "--server KIND [...]", "print settings for a DHCP server of others", writeSnippet},
	{"verify", "--interface NAME [...]", "play phones to see what DHCP servers answer", verify},
	{"version", "", "print the version", showVersion},
}

// errUsage makes the exit status 2: the command line was wrong, not the world.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	if len(args) > 0 {
		for _, c := range commands {
			if c.name != args[0] {
				continue
			}
			err := c.run(ctx, args[1:], out)
			switch {
			case err == nil || errors.Is(err, flag.ErrHelp):
				return 0
			case errors.Is(err, errUsage):
				fmt.Fprintf(errOut, "usage: patchbay %s %s\n", c.name, c.args)
				return 2
			}
			fmt.Fprintf(errOut, "patchbay %s: %v\n", c.name, err)
			return 1
		}
		if args[0] != "help" && args[0] != "-h" && args[0] != "--help" {
			fmt.Fprintf(errOut, "patchbay: no command %q; `patchbay help` lists them\n", args[0])
			return 2
		}
	}
	usage(out)
	return 0
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Patchbay makes office desk phones work with a cloud calling service.")
	fmt.Fprintln(w)
	for _, c := range commands {
		fmt.Fprintf(w, "  patchbay %-30s %s\n", c.name+" "+c.args, c.help)
	}
}

// flags returns a flag set that leaves printing to run.
func flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// parse wraps a wrong flag as errUsage and refuses more than max arguments.
// Flags may stand behind arguments, where the flag package stops.
func parse(fs *flag.FlagSet, args []string, maxArgs int) error {
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			return errors.Join(err, errUsage)
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	if err := fs.Parse(append([]string{"--"}, rest...)); err != nil {
		return errors.Join(err, errUsage)
	}
	if fs.NArg() > maxArgs {
		return errUsage
	}
	return nil
}

func showVersion(_ context.Context, _ []string, out io.Writer) error {
	_, err := fmt.Fprintln(out, "patchbay", version)
	return err
}
