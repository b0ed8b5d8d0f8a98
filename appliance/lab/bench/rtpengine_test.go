//go:build bench

package bench

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"patchbay/media"
)

// ngAt is where rtpengine takes its orders.
const ngAt = boxIP + ":2223"

// rtpengine relays in user space: -1 is no table of its kernel module.
var rtpengineCommand = []string{
	"prlimit", "--nofile=16384:", "rtpengine", "--foreground", "--table=-1", "--interface=" + boxIP, "--listen-ng=" + ngAt,
	"--port-min=20000", "--port-max=59999", "--log-level=3", "--log-stderr", "--delete-delay=0",
}

// ngClient speaks rtpengine's control protocol: a cookie and a bencoded
// dictionary in a datagram, answered likewise.
type ngClient struct {
	conn net.Conn
	n    int
}

// dialNG opens a socket in the namespace of the box.
func (n *network) dialNG() *ngClient {
	n.t.Helper()
	c := &ngClient{}
	err := inside(n.ns("box"), func() (err error) {
		c.conn, err = net.Dial("udp4", ngAt)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// ask repeats a command until it is answered, for at most 30 s. It returns
// the SDP of the answer, empty if it has none.
func (c *ngClient) ask(command map[string]any) (string, error) {
	c.n++
	cookie := strconv.Itoa(c.n) + "_bench"
	message := append([]byte(cookie+" "), bencode(nil, command)...)
	buf := make([]byte, 1<<16)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		_, _ = c.conn.Write(message) // refused until it listens
		_ = c.conn.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		n, err := c.conn.Read(buf)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				time.Sleep(10 * time.Millisecond)
			}
			continue
		}
		text, ours := strings.CutPrefix(string(buf[:n]), cookie+" ")
		if !ours {
			continue
		}
		answer, _, err := bdecode(text)
		if err != nil {
			return "", err
		}
		fields, _ := answer.(map[string]any)
		if result := fields["result"]; result != "ok" && result != "pong" {
			return "", fmt.Errorf("rtpengine to %v: %v", command["command"], fields)
		}
		sdp, _ := fields["sdp"].(string)
		return sdp, nil
	}
	return "", fmt.Errorf("rtpengine does not answer %v", command["command"])
}

// call sets one up from the phones to the gateways.
func (c *ngClient) call(i int, secure bool) (rtpCall, error) {
	id := "bench-" + strconv.Itoa(i)
	offer := map[string]any{
		"command": "offer", "call-id": id, "from-tag": "phone", "ICE": "remove", "DTLS": "off",
		"replace": []string{"origin"}, "flags": []string{"trust-address"}, "sdp": plainSDP(phonesAt),
	}
	answer := map[string]any{
		"command": "answer", "call-id": id, "from-tag": "phone", "to-tag": "gateway", "ICE": "remove",
		"flags": []string{"trust-address"}, "sdp": plainSDP(gatewaysAt),
	}
	var out rtpCall
	if secure {
		offer["transport-protocol"], offer["SDES"] = "RTP/SAVP", []string{"only-" + media.SuiteSHA1_80}
	}
	toGateway, err := c.ask(offer)
	if err != nil {
		return out, err
	}
	if secure {
		tag, key, err := sdpKey(toGateway)
		if err != nil {
			return out, err
		}
		out.ToGateway = key
		out.ToBox = []byte(fmt.Sprintf("%030d", i))
		answer["sdp"] = strings.Replace(plainSDP(gatewaysAt), "RTP/AVP", "RTP/SAVP", 1) +
			"a=crypto:" + tag + " " + media.SuiteSHA1_80 + " inline:" + base64.StdEncoding.EncodeToString(out.ToBox) + "\r\n"
	}
	toPhone, err := c.ask(answer)
	if err != nil {
		return out, err
	}
	if out.Phone, err = sdpAddress(toPhone); err == nil {
		out.Gateway, err = sdpAddress(toGateway)
	}
	return out, err
}

func plainSDP(at netip.AddrPort) string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[1]s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio %[2]d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n", at.Addr(), at.Port())
}

// sdpLine returns what follows the first line that begins like this.
func sdpLine(sdp, prefix string) (string, bool) {
	for line := range strings.Lines(sdp) {
		if value, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// sdpKey finds the key for the suite that is compared.
func sdpKey(sdp string) (tag string, key []byte, err error) {
	for line := range strings.Lines(sdp) {
		value, _ := strings.CutPrefix(strings.TrimSpace(line), "a=crypto:")
		words := strings.Fields(value)
		if len(words) < 3 || words[1] != media.SuiteSHA1_80 {
			continue
		}
		inline, _, _ := strings.Cut(strings.TrimPrefix(words[2], "inline:"), "|")
		key, err = base64.StdEncoding.DecodeString(inline)
		return words[0], key, err
	}
	return "", nil, fmt.Errorf("rtpengine offers no key for %s", media.SuiteSHA1_80)
}

func sdpAddress(sdp string) (netip.AddrPort, error) {
	host, _ := sdpLine(sdp, "c=IN IP4 ")
	audio, _ := sdpLine(sdp, "m=audio ")
	port, _, _ := strings.Cut(audio, " ")
	return netip.ParseAddrPort(host + ":" + port)
}

// bencode appends a value: strings, numbers, lists of strings, dictionaries.
func bencode(b []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return append(strconv.AppendInt(b, int64(len(v)), 10), ":"+v...)
	case []string:
		b = append(b, 'l')
		for _, s := range v {
			b = bencode(b, s)
		}
		return append(b, 'e')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = append(b, 'd')
		for _, k := range keys {
			b = bencode(bencode(b, k), v[k])
		}
		return append(b, 'e')
	}
	panic(fmt.Sprintf("bencode %T", value))
}

var errBencode = errors.New("not bencoded")

// bdecode reads one value and returns what follows it.
func bdecode(s string) (value any, rest string, err error) {
	if s == "" {
		return nil, "", errBencode
	}
	switch s[0] {
	case 'i':
		number, rest, ok := strings.Cut(s[1:], "e")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, "", errBencode
		}
		return n, rest, nil
	case 'l', 'd':
		return bdecodeMany(s)
	}
	length, rest, ok := strings.Cut(s, ":")
	n, err := strconv.Atoi(length)
	if !ok || err != nil || n < 0 || n > len(rest) {
		return nil, "", errBencode
	}
	return rest[:n], rest[n:], nil
}

func bdecodeMany(s string) (value any, rest string, err error) {
	var list []any
	for rest = s[1:]; !strings.HasPrefix(rest, "e"); {
		var v any
		if v, rest, err = bdecode(rest); err != nil {
			return nil, "", err
		}
		list = append(list, v)
	}
	if s[0] == 'l' {
		return list, rest[1:], nil
	}
	fields := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		if key, ok := list[i].(string); ok {
			fields[key] = list[i+1]
		}
	}
	return fields, rest[1:], nil
}
