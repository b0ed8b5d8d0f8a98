package appliance

import "github.com/BurntSushi/toml"

// suggestion names the known key that a wrong one may have meant.
func suggestion(key toml.Key, md toml.MetaData) string {
	best, dist := "", 4
	for _, known := range knownKeys {
		if d := distance(key.String(), known); d < dist {
			best, dist = known, d
		}
	}
	if best == "" {
		return "remove it, or see the example patchbay.toml for the keys there are"
	}
	return "did you mean " + best + "?"
}

// knownKeys is every key of the file in the form that toml.Key prints.
var knownKeys = []string{
	"box.name", "box.state", "box.country", "box.time_zone", "box.language",
	"lan.interface", "lan.address", "lan.subnet", "lan.dhcp", "lan.pools", "lan.router", "lan.dns", "lan.ntp",
	"lan.relay_to", "lan.relay_trust", "lan.network.subnet", "lan.network.pools", "lan.network.router", "lan.network.dns",
	"lan.network.ntp", "lan.network.domain", "lan.network.lease",
	"lan.domain", "lan.lease", "lan.pnp", "lan.reservation.mac", "lan.reservation.ip",
	"lan.language", "lan.time_offset", "lan.sip_servers", "lan.voice_vlan", "lan.vlan_priority", "lan.failover",
	"dhcp_rule.name", "dhcp_rule.interface", "dhcp_rule.vendor_class", "dhcp_rule.vendor_class_prefix", "dhcp_rule.vendor_class_regexp",
	"dhcp_rule.network", "dhcp_rule.user_class", "dhcp_rule.circuit_id", "dhcp_rule.oui", "dhcp_rule.mac", "dhcp_rule.suppress",
	"dhcp_rule.options.code", "dhcp_rule.options.type", "dhcp_rule.options.value", "dhcp_rule.options.sub", "dhcp_rule.options.always",
	"provision.http_port", "provision.https_port", "provision.tftp_port", "provision.window", "provision.source", "provision.upstream", "provision.lldp",
	"provision.tls_min", "provision.tls_old", "provision.tls_suites", "provision.vendor_roots", "provision.resync", "provision.phone_pages",
	"provision.firmware_mib", "provision.dscp_voice", "provision.dscp_signal", "provision.voicemail", "provision.paging.name", "provision.paging.group",
	"sip.port", "sip.tls_port", "sip.tls_min", "sip.tls_old", "sip.transport", "sip.expires", "sip.srtp", "sip.sha256", "acme.directory", "acme.names", "acme.email", "acme.ca", "acme.zone", "acme.server", "acme.key_name", "acme.key_algorithm", "acme.key_file",
	"hep.address", "hep.agent", "hep.key", "media.first_port", "media.last_port", "media.hold", "media.direct",
	"emergency.on_site", "emergency.webhook", "emergency.test", "location.name", "location.civic", "location.latitude", "location.longitude", "location.elin",
	"location.phones", "location.circuit_ids", "location.switch_ports", "switch.name", "switch.address", "switch.community_file", "switch.user", "switch.auth_password_file", "switch.privacy_password_file", "switch.hash", "location.access_info", "location.subnets",
	"drill.at", "trunk.address", "trunk.transport", "trunk.server_name", "trunk.ca", "trunk.number", "trunk.auth_user", "trunk.password_file",
	"gateway.address", "gateway.backups", "gateway.failback", "gateway.pins", "gateway.certificate", "gateway.key", "gateway.token_file", "gateway.user_tokens", "gateway.domain", "gateway.server_name", "gateway.ca", "gateway.local", "gateway.register",
	"site_line.aor", "site_line.number", "site_line.auth_user", "site_line.password_file", "page.listen", "page.mdns",
}

// distance is the edit distance of two keys (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(diag+cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
