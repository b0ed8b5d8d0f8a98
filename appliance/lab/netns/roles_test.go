//go:build lab

package netns

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay/appliance/lab"
	"patchbay/dhcp/mac"
)

// roleEnv tells the test binary to be a peer in a namespace. Its arguments are
// the words of the value.
const roleEnv = "PATCHBAY_LAB_ROLE"

// The ports of the gateway double, its line API and the identity provider.
const (
	doublePort = 5061
	linesPort  = 8440
	idpPort    = 8441
	boxToken   = "token-of-the-box"
)

// play is a peer until its standard input ends.
func play(role string) int {
	words := strings.Fields(role)
	run := map[string]func([]string) error{"cloud": playCloud, "phone": playPhone}[words[0]]
	if err := run(words[1:]); err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	return 0
}

// says prints a step as the test looks for it.
func says(s lab.Step) { fmt.Println(s.Who + " " + s.Text) }

// playCloud is gateway, line API and identity provider. It writes the
// certificates of both into the folder given, and obeys its standard input.
func playCloud(args []string) error {
	at := netip.MustParseAddr(cloud)
	idp, err := lab.NewIDP(netip.AddrPortFrom(at, idpPort))
	if err != nil {
		return err
	}
	defer idp.Close()
	g, err := lab.NewGateway(lab.GatewayConfig{
		Listen: netip.AddrPortFrom(at, doublePort), Domain: domain, Name: domain, OnStep: says, Tokens: idp.Check, AuthzServer: idp.Issuer(),
	})
	if err != nil {
		return err
	}
	defer g.Close()
	lines, err := g.ServeLineAPI(netip.AddrPortFrom(at, linesPort), boxToken)
	if err != nil {
		return err
	}
	defer lines.Close()
	for name, pem := range map[string][]byte{"gateway.pem": g.CAPEM(), "idp.pem": idp.CAPEM()} {
		if err := os.WriteFile(filepath.Join(args[0], name), pem, 0o600); err != nil {
			return err
		}
	}
	yes := true
	g.AddLine(lab.GatewayLine{User: "site", Number: "+4930555000", AuthUser: "site", Password: cloudUsers[0].password})
	for n, user := range []string{"anna", "bert", "carl"} {
		g.AddLine(lab.GatewayLine{
			User: user, Name: strings.ToUpper(user[:1]) + user[1:], Number: fmt.Sprintf("+493055510%d", n), AuthUser: user, Password: user + "-secret",
			Token: user == "bert", Account: user + "@example.com", Policy: lab.LinePolicy{SIPDevices: &yes},
		})
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words := strings.Fields(in.Text())
		switch words[0] {
		case "approve":
			err = idp.Approve(words[1], words[2])
		case "lock":
			idp.Lock(words[1])
		case "spend": // all access tokens, and the connection, so that lines register again
			idp.Spend()
			g.Drop()
		case "speak":
			g.ChangeLine(words[1], func(l *lab.GatewayLine) bool { l.Policy.Language = words[2]; return true })
		case "deny":
			g.ChangeLine(words[1], func(l *lab.GatewayLine) bool { no := false; l.Policy.SIPDevices = &no; return true })
		case "registered":
			fmt.Println("line", words[1], "registered", g.Registered(words[1]))
		}
		if err != nil {
			return err
		}
		fmt.Println("did", in.Text())
	}
	return nil
}

// playPhone is a Yealink with the address that its namespace leased.
func playPhone(args []string) error {
	m, err := mac.Parse(args[0])
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(args[1])
	if err != nil {
		return err
	}
	p := lab.NewPhone(lab.YealinkT46U().WithMAC(m), lab.PhoneConfig{Name: "phone", Static: ip, URL: "http://" + boxLAN + "/", OnStep: says, Retry: 100 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.Boot(ctx); err != nil {
		return err
	}
	defer p.PowerOff()
	show := func() {
		for _, a := range p.Accounts() {
			fmt.Printf("shows %q in %s\n", a.Label, p.Setting("lang.gui"))
		}
	}
	show()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		show()
	}
	return nil
}

// peer is a role that a test talks to.
type peer struct {
	*process
	n  *network
	in *os.File
}

func (n *network) play(t *testing.T, ns string, words ...string) *peer {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	p := &peer{n: n, in: w}
	p.process = n.startWith(words[0], ns, r, "env", roleEnv+"="+strings.Join(words, " "), os.Args[0])
	_ = r.Close()
	return p
}

// tell has the peer do something; what it says is looked for with heard.
func (p *peer) tell(format string, args ...any) {
	p.n.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.n.t.Fatal(err)
	}
}

// until asks again and again until the last answer has a text.
func (p *peer) until(limit time.Duration, ask, want string) time.Duration {
	p.n.t.Helper()
	return p.n.eventually(limit, p.name+" to say "+want, func() bool {
		mark := len(p.out.String())
		p.tell("%s", ask)
		time.Sleep(50 * time.Millisecond)
		return strings.Contains(p.out.String()[mark:], want)
	})
}
