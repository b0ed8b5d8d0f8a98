//go:build lab

package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type cloudUser struct{ user, password string }

// The users of the gateway in the cloud. "telephone" is the phone behind it.
var cloudUsers = []cloudUser{
	{"site", "site-secret-1"},
	{"anna", "anna-secret-2"},
	{"bert", "bert-secret-3"},
}

const domain = "gw.example.com"

// kamailioConfig is a cloud gateway: TLS towards the sites with digest
// registration, plain UDP towards the telephone behind it, and rtpengine
// between SRTP and RTP. A site behind NAT is reached over the connection that
// it opened (RFC 5626 in spirit, by the alias of nathelper).
const kamailioConfig = `#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=2
tcp_children=2
auto_aliases=no
enable_tls=yes
listen=tls:%[1]s:5061
listen=udp:%[1]s:5060
alias="gw.example.com"
tcp_connection_lifetime=3605
tcp_accept_no_cl=yes
loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "sanity.so"
loadmodule "nathelper.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
loadmodule "rtpengine.so"
loadmodule "htable.so"
loadmodule "kex.so"
loadmodule "corex.so"
modparam("tls", "private_key", "%[2]s/key.pem")
modparam("tls", "certificate", "%[2]s/cert.pem")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "verify_certificate", 0)
modparam("htable", "htable", "pass=>size=6;")
modparam("nathelper", "received_avp", "$avp(received)")
modparam("registrar", "received_avp", "$avp(received)")
modparam("registrar", "max_expires", 120)
modparam("registrar", "min_expires", 10)
modparam("usrloc", "db_mode", 0)
modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:2223")
modparam("rr", "enable_full_lr", 1)

event_route[htable:mod-init] {
%[3]s}

request_route {
	if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
	if (!sanity_check()) exit;
	xlog("L_NOTICE", "REQ $rm from $proto:$si:$sp ruri $ru cl $cl\n");
	force_rport();
	if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
	if (is_method("OPTIONS") && !has_totag()) { sl_send_reply("200", "OK"); exit; }
	if (has_totag()) {
		if (is_method("INVITE|UPDATE|ACK|BYE|REFER|INFO|PRACK") && loose_route()) {
			if (is_method("BYE")) rtpengine_delete();
			handle_ruri_alias();
			route(RELAY);
		}
		if (is_method("ACK") && t_check_trans()) t_relay();
		exit;
	}
	if (is_method("REGISTER")) {
		if ($proto != "tls") { sl_send_reply("403", "TLS only"); exit; }
		route(AUTH);
		fix_nated_register();
		if (!save("location")) sl_reply_error();
		exit;
	}
	if (!is_method("INVITE")) { sl_send_reply("405", "Method Not Allowed"); exit; }
	record_route();
	if ($proto == "tls") {
		route(AUTH);
		# a site calls out: everything that is not a user here goes to the telephone
		if (!search_body("RTP/SAVP")) { xlog("L_ERR", "PLAIN MEDIA OFFERED by $si\n"); sl_send_reply("488", "SRTP required"); exit; }
		add_contact_alias();
		xlog("L_NOTICE", "OUTGOING from $fu to $rU pai $hdr(P-Asserted-Identity)\n");
		$ru = "sip:pstn@%[4]s:5070"; # baresip answers for its own name only
		route(RELAY);
		exit;
	}
	# the telephone calls a site
	if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
	route(RELAY);
}

route[AUTH] {
	$var(p) = $sht(pass=>$au);
	if ($var(p) == $null || !pv_auth_check("gw.example.com", "$var(p)", "0", "0")) {
		if (is_method("REGISTER")) www_challenge("gw.example.com", "0"); else proxy_challenge("gw.example.com", "0");
		exit;
	}
	consume_credentials();
}

route[RELAY] {
	if (is_method("INVITE|UPDATE") && has_body("application/sdp")) route(MEDIA);
	t_on_reply("REPLY");
	if (!t_relay()) sl_reply_error();
	exit;
}

# Who gets SRTP is decided by where the message goes.
route[MEDIA] {
	if ($proto == "tls") rtpengine_manage("replace-origin ICE=remove RTP/AVP SDES-off");
	else rtpengine_manage("replace-origin ICE=remove RTP/SAVP DTLS=off");
}

onreply_route[REPLY] {
	if (status =~ "(18[03])|(2[0-9][0-9])") {
		if ($proto == "tls") add_contact_alias();
		if (has_body("application/sdp")) {
			if ($proto == "tls") rtpengine_manage("replace-origin ICE=remove RTP/AVP SDES-off");
			else rtpengine_manage("replace-origin ICE=remove RTP/SAVP DTLS=off");
		}
	}
}
`

// startCloud runs Kamailio, rtpengine and makes the gateway's certificate.
// It returns the path of the CA that the box must trust. more are users beside
// [cloudUsers].
func startCloud(t *testing.T, n *network, more ...cloudUser) (ca string, kamailio *process) {
	t.Helper()
	dir := filepath.Join(n.dir, "cloud")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
		"-subj", "/CN="+domain, "-addext", "subjectAltName=DNS:"+domain, "-keyout", dir+"/key.pem", "-out", dir+"/cert.pem")
	var users strings.Builder
	for _, u := range slices.Concat(cloudUsers, more) {
		fmt.Fprintf(&users, "\t$sht(pass=>%s) = \"%s\";\n", u.user, u.password)
	}
	cfg := n.write("cloud/kamailio.cfg", fmt.Sprintf(kamailioConfig, cloud, dir, users.String(), pstn))
	rtp := n.start("rtpengine", "wan", "rtpengine", "--foreground", "--log-stderr", "--table=-1", "--interface="+cloud,
		"--listen-ng=127.0.0.1:2223", "--port-min=49152", "--port-max=53247", "--log-level=6", "--no-fallback", "--pidfile="+dir+"/rtpengine.pid")
	n.eventually(5*time.Second, "rtpengine to listen", func() bool {
		return rtp.alive() && strings.Contains(n.in("wan", "ss", "-Hlun", "sport = :2223"), "2223")
	})
	kamailio = n.start("kamailio", "wan", "kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-f", cfg, "-Y", dir, "-P", dir+"/kamailio.pid")
	n.eventually(10*time.Second, "Kamailio to listen", func() bool {
		return strings.Contains(n.in("wan", "ss", "-Hltn", "sport = :5061"), "5061")
	})
	return dir + "/cert.pem", kamailio
}
