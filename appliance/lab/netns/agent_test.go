//go:build lab

package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// agent is one baresip: a telephone of somebody else.
type agent struct {
	n    *network
	ns   string
	name string
	dir  string
	said []int16 // what it says in every call
}

// agentOptions say how an agent registers.
type agentOptions struct {
	name      string
	ns        string
	addr      string // its own address
	port      int
	server    string // host:port it registers with; empty: it does not
	user      string
	auth      string
	password  string
	transport string
	expires   int
	seed      uint64
	srtp      bool
}

// newAgent writes the configuration of a baresip and does not start it.
func newAgent(n *network, o agentOptions) *agent {
	n.t.Helper()
	a := &agent{n: n, ns: o.ns, name: o.name, dir: filepath.Join(n.dir, o.name), said: makeVoice(o.seed, 12)}
	n.write(o.name+"/contacts", "")
	writeWAV(n.t, a.dir+"/voice.wav", a.said)
	n.write(o.name+"/config", fmt.Sprintf(`sip_listen %[1]s:%[2]d
audio_player aubridge,sink
audio_source aufile,%[3]s/voice.wav
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
audio_buffer 20-160
rtp_ports 42000-43998
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module_app account.so
module_app menu.so
snd_path %[3]s
`, o.addr, o.port, a.dir))
	host := o.server
	regint := o.expires
	if host == "" {
		host, regint = fmt.Sprintf("%s:%d", o.addr, o.port), 0
	}
	transport := o.transport
	if transport == "" {
		transport = "udp"
	}
	media := ""
	if o.srtp {
		media = ";mediaenc=srtp-mand"
	}
	n.write(o.name+"/accounts", fmt.Sprintf("<sip:%s@%s;transport=%s>;auth_user=%s;auth_pass=%s;regint=%d;answermode=auto;audio_codecs=pcmu,pcma%s\n",
		o.user, host, transport, o.auth, o.password, regint, media))
	return a
}

// answerer starts the agent; it answers every call until the test ends.
func (a *agent) answerer() *process {
	a.n.t.Helper()
	return a.n.start("baresip "+a.name, a.ns, "baresip", "-f", a.dir)
}

// dial calls a URI from a second instance of the agent, hangs up after the
// time and returns what baresip printed.
func (a *agent) dial(uri string, talk time.Duration) string {
	out, _ := a.n.try(talk+8*time.Second, a.ns, "baresip", "-f", a.dir, "-e", "/dial "+uri, "-t", fmt.Sprint(int(talk.Seconds())))
	return out
}

// heard returns the last thing that the agent recorded since a call of mark.
func (a *agent) heard(t *testing.T, mark int) []int16 {
	t.Helper()
	files := recordings(a.dir)
	if len(files) <= mark {
		t.Errorf("%s heard nothing: no call reached it", a.name)
		return nil
	}
	return readWAV(t, files[len(files)-1])
}

// mark counts the recordings so far.
func (a *agent) mark() int { return len(recordings(a.dir)) }

// registered reports whether a running baresip says that it is registered.
func registered(p *process) bool {
	return strings.Contains(p.out.String(), "200 OK")
}

// scenario writes a sipp scenario and its one line of data.
func (n *network) scenario(name, xml, data string) (file, csv string) {
	return n.write(name+".xml", xml), n.write(name+".csv", "SEQUENTIAL\n"+data+"\n")
}

// sippRegisterAndCall registers with a digest and then calls a number,
// echoing what it hears, for some seconds.
func sippRegisterAndCall(seconds int) string {
	return `<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="register and call">
<send retrans="500"><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]R[call_number]
To: <sip:[field0]@[remote_ip]>
Call-ID: reg///[call_id]
CSeq: 1 REGISTER
Contact: <sip:[field0]@[local_ip]:[local_port];transport=[transport]>
Expires: 300
Content-Length: 0

]]></send>
<recv response="401" auth="true"/>
<send retrans="500"><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]R[call_number]
To: <sip:[field0]@[remote_ip]>
Call-ID: reg///[call_id]
CSeq: 2 REGISTER
Contact: <sip:[field0]@[local_ip]:[local_port];transport=[transport]>
[field1]
Expires: 300
Content-Length: 0

]]></send>
<recv response="200"/>
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 3 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port];transport=[transport]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv response="100" optional="true"/>
<recv response="407" auth="true"/>
<send><![CDATA[
ACK sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 3 ACK
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
INVITE sip:[field2]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>
Call-ID: [call_id]
CSeq: 4 INVITE
Contact: <sip:[field0]@[local_ip]:[local_port];transport=[transport]>
[field1]
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="183" optional="true"/>
<recv response="200" rrs="true"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 4 ACK
Content-Length: 0

]]></send>
<pause milliseconds="` + fmt.Sprint(seconds*1000) + `"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]I[call_number]
To: <sip:[field2]@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 5 BYE
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
`
}

// sippRegister is the first half of sippRegisterAndCall.
func sippRegister() string {
	call := sippRegisterAndCall(0)
	return call[:strings.Index(call, "<send retrans=\"500\"><![CDATA[\nINVITE")] + "</scenario>\n"
}

// sippAnswer answers one call with an echo.
func sippAnswer() string {
	return `<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="answer">
<recv request="INVITE" rrs="true" timeout="20000"/>
<send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]U[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]U[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv request="ACK"/>
<recv request="BYE" timeout="20000"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
`
}

// cat returns a file's text for messages of a failed test.
func cat(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
