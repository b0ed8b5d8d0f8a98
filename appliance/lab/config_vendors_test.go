package lab

import (
	"testing"
	"time"

	"patchbay/dhcp/mac"
)

// The files here are written as the vendors' documents and the templates of
// others show them.
func TestVendorConfigs(t *testing.T) {
	own := mac.Addr{0xc0, 0x74, 0xad, 0x26, 0x14, 0x01}
	one := func(change func(*Account)) []Account {
		a := Account{Slot: 1, Server: "192.0.2.1", Port: 5070, Transport: "tcp", User: "101", AuthUser: "a101", Password: "pw", Label: "Anna", Display: "Anna Albers", Expires: 10 * time.Minute}
		if change != nil {
			change(&a)
		}
		return []Account{a}
	}
	for _, tc := range []struct {
		name    string
		dialect dialect
		file    string
		want    []Account
		err     bool
	}{
		{"AudioCodes", audiocodes, `# comment
voip/line/0/enabled=1
voip/line/0/id=101
voip/line/0/auth_name=a101
voip/line/0/auth_password=pw
voip/line/0/description=Anna Albers
voip/line/0/extension_display=Anna
voip/line/1/enabled=0
voip/signalling/sip/use_proxy=1
voip/signalling/sip/proxy_address=192.0.2.1
voip/signalling/sip/proxy_port=5070
voip/signalling/sip/transport_protocol=TCP
voip/signalling/sip/registration_expires=600
`, one(nil), false},
		{"AudioCodes, no line with a key", audiocodes, "<html>\n", nil, true},
		{"snom", snom, `<?xml version="1.0" encoding="UTF-8" ?><settings><phone-settings>
<user_active idx="1" perm="R">on</user_active><user_name idx="1" perm="R">101</user_name><user_pname idx="1">a101</user_pname>
<user_pass idx="1">pw</user_pass><user_realname idx="1">Anna Albers</user_realname><user_idle_text idx="1">Anna</user_idle_text>
<user_host idx="1">192.0.2.1:5070</user_host><user_outbound idx="1">192.0.2.1:5070;transport=tcp</user_outbound><user_expiry idx="1">600</user_expiry>
<user_active idx="2">on</user_active><user_name idx="2">101</user_name><user_host idx="2">192.0.2.2</user_host><hide_identity idx="2">true</hide_identity>
</phone-settings></settings>`, one(nil), false},
		{"snom behind a proxy", snom, `<settings><phone-settings><user_active idx="1">on</user_active><user_name idx="1">101</user_name>
<user_host idx="1">192.0.2.1</user_host><user_outbound idx="1">192.0.2.3:5062</user_outbound></phone-settings></settings>`, []Account{{
			Slot: 1, Server: "192.0.2.1", Port: 5060, Transport: "udp", Proxy: "192.0.2.3:5062", User: "101", AuthUser: "101", Label: "101", Expires: time.Hour,
		}}, false},
		{"snom, cut off", snom, `<settings><phone-settings><user_active idx="1">on`, nil, true},
		{"DECT base of snom", snomBase, `<settings><phone-settings><user_host idx="1">192.0.2.9</user_host><user_host idx="2">192.0.2.1:5070</user_host>
<srv_sip_transport idx="2">TCP</srv_sip_transport><user_expiry idx="2">600</user_expiry><user_active idx="1">on</user_active><user_name idx="1">101</user_name>
<user_pname idx="1">a101</user_pname><user_pass idx="1">pw</user_pass><user_realname idx="1">Anna Albers</user_realname><subscr_sip_line_name idx="1">Anna</subscr_sip_line_name>
<subscr_sip_ua_data_server_id idx="1">2</subscr_sip_ua_data_server_id></phone-settings></settings>`, one(nil), false},
		{"Grandstream", grandstream, `<?xml version="1.0"?><gs_provision version="1"><mac>c074ad261401</mac><config version="1"><P271>1</P271><P270>Anna</P270>
<P47>192.0.2.1:5070</P47><P35>101</P35><P36>a101</P36><P34>pw</P34><P3>Anna Albers</P3><P32>10</P32><P130>1</P130><P401>0</P401></config></gs_provision>`, one(nil), false},
		{"Grandstream, second account", grandstream, `<gs_provision><config><P401>1</P401><P417>Anna</P417><P402>192.0.2.1:5070</P402><P404>101</P404><P405>a101</P405>
<P406>pw</P406><P407>Anna Albers</P407><P412>10</P412><P448>1</P448></config></gs_provision>`, one(func(a *Account) { a.Slot = 2 }), false},
		{"Grandstream, another phone's", grandstream, `<gs_provision><mac>c074ad261402</mac><config><P271>1</P271></config></gs_provision>`, nil, true},
		{"Grandstream, binary", grandstream, "\x00\x01\x02", nil, true},
		{"port of an HT802", grandPort, `<gs_provision><config><P401>1</P401><P747>192.0.2.1:5070</P747><P735>101</P735><P736>a101</P736><P734>pw</P734><P703>Anna</P703>
<P732>10</P732><P830>1</P830></config></gs_provision>`, one(func(a *Account) { a.Slot, a.Display = 2, "Anna" }), false},
		{"port of an HT814", grandPorts, `<gs_provision><config><P47>192.0.2.1:5070</P47><P32>10</P32><P130>1</P130><P4597>1</P4597><P4062>101</P4062><P4092>a101</P4092>
<P4122>pw</P4122><P4182>Anna</P4182></config></gs_provision>`, one(func(a *Account) { a.Slot, a.Display = 3, "Anna" }), false},
		{"Fanvil", fanvil, `<?xml version="1.0"?><sysConf><Version>2.0000000000</Version><sip><SIPPort>5060</SIPPort><line index="1"><PhoneNumber>101</PhoneNumber>
<DisplayName>Anna Albers</DisplayName><SipName>Anna</SipName><RegisterAddr>192.0.2.1</RegisterAddr><RegisterPort>5070</RegisterPort><RegisterUser>a101</RegisterUser>
<RegisterPswd>pw</RegisterPswd><RegisterTTL>600</RegisterTTL><EnableReg>1</EnableReg><Transport>1</Transport></line><line index="2"><EnableReg>0</EnableReg></line></sip></sysConf>`, one(nil), false},
		{"Fanvil, transport that it has not", fanvil, `<sysConf><sip><line index="1"><EnableReg>1</EnableReg><Transport>2</Transport></line></sip></sysConf>`, nil, true},
		{"Gigaset", gigaset, `<?xml version="1.0"?><provisioning version="1.1" productID="e2"><nvm><oper value="00001" name="add_hs"><param name="hs.RegStatus" value="ToReg"/></oper>
<param name="SipAccount.00001.UserName" value="101"/><param name="SipAccount.00001.AuthName" value="a101"/><param name="SipAccount.00001.AuthPassword" value="pw"/>
<param name="SipAccount.00001.ProviderId" value="1"/><param name="SipAccount.00001.DisplayName" value="Anna"/><param name="SipAccount.00002.UserName" value="102"/>
<param name="SipProvider.1.RegServerAddress" value="192.0.2.1"/><param name="SipProvider.1.RegServerPort" value="5070"/><param name="SipProvider.1.RegServerRefreshTimer" value="600"/>
<param name="SipProvider.1.TransportProtocol" value="2"/></nvm></provisioning>`, one(func(a *Account) { a.Display = "Anna" }), false},
		{"N510", n510, `<ProviderFrame><Provider><MAC_ADDRESS value="C074AD261401"/><SYMB_ITEM ID="BS_IP_Data1.aucS_SIP_USER_ID" class="symb_item" value='"101"'/>
<SYMB_ITEM ID="BS_IP_Data3.aucS_SIP_LOGIN_ID" value='"a101"'/><SYMB_ITEM ID="BS_IP_Data1.aucS_SIP_PASSWORD" value='"pw"'/><SYMB_ITEM ID="BS_IP_Data1.aucS_SIP_REGISTRAR" value='"192.0.2.1"'/>
<SYMB_ITEM ID="BS_IP_Data1.aucS_SIP_DISPLAYNAME" value='"Anna Albers"'/><SYMB_ITEM ID="BS_IP_Data1.aucS_SIP_ACCOUNT_NAME_1" value='"Anna"'/>
<SYMB_ITEM ID="BS_IP_Data1.uiI_SIP_REGISTRAR_PORT" value="0x13ce"/><SYMB_ITEM ID="BS_IP_Data1.uiI_RE_REGISTRATION_TIMER" value="0x258"/>
<SYMB_ITEM ID="BS_IP_Data1.ucB_SIP_ACCOUNT_IS_ACTIVE_1" value="0x1"/></Provider></ProviderFrame>`, one(func(a *Account) { a.Transport = "udp" }), false},
		{"N720", n720, `<ProviderFrame><Provider><MAC_ADDRESS value="C074AD261401"/><SYMB_ITEM ID="BS_VOIP_Data.astVoipAccounts[%].ucB_SIP_ACCOUNT_IS_ACTIVE_1" value="0"/>
<SYMB_ITEM ID="BS_VOIP_Data.astVoipProviders[0].aucSIP_REGISTRAR[%]" value='"192.0.2.1"'/><SYMB_ITEM ID="BS_VOIP_Data.astVoipProviders[0].uiSIP_REGISTRAR_PORT" value="0x13ce"/>
<SYMB_ITEM ID="BS_VOIP_Data.astVoipProviders[0].uiRE_REGISTRATION_TIMER" value="0x258"/><SYMB_ITEM ID="BS_VOIP_Data.astVoipAccounts[0].aucS_SIP_USER_ID[0]" value='"101"'/>
<SYMB_ITEM ID="BS_VOIP_Data.astVoipAccounts[0].aucS_SIP_LOGIN_ID[0]" value='"a101"'/><SYMB_ITEM ID="BS_VOIP_Data.astVoipAccounts[0].aucS_SIP_PASSWORD[0]" value='"pw"'/>
<SYMB_ITEM ID="BS_VOIP_Data.astVoipAccounts[0].aucS_SIP_DISPLAYNAME[0]" value='"Anna"'/><SYMB_ITEM ID="BS_VOIP_Data.astVoipAccounts[0].ucB_SIP_ACCOUNT_IS_ACTIVE_1" value="1"/>
<SYMB_ITEM ID="BS_VOIP_Data.astVoipAccounts[1].aucS_SIP_USER_ID[0]" value='"102"'/></Provider></ProviderFrame>`, one(func(a *Account) { a.Transport, a.Display = "udp", "Anna" }), false},
		{"N510, another base's", n510, `<ProviderFrame><Provider><MAC_ADDRESS value="C074AD261402"/></Provider></ProviderFrame>`, nil, true},
		{"Algo", algo, "# comment\nadmin.devname = Anna\nsip.proxy = 192.0.2.1:5070\nsip.transp = tcp\nsip.regexp = 600\nsip.u1.user = 101\nsip.u1.auth = a101\nsip.u1.pwd = pw\n", one(func(a *Account) { a.Display = "Anna" }), false},
		{"nobody's", other, "#!version:1.0.0.1\naccount.1.enable = 0\n", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			form, ok := formats(tc.dialect)
			if !ok {
				t.Fatal("no such dialect")
			}
			values := make(map[string]string)
			err := form.parse(&fetcher{p: Personality{MAC: own}}, []byte(tc.file), values)
			var got []Account
			if err == nil {
				got, err = form.accounts(values)
			}
			check(t, tc.want, got, err, tc.err)
		})
	}
}

func TestAlgoDigest(t *testing.T) {
	if err := algoDigest([]byte("a = 1\n"), []byte("c8dcc55c4d9bc7a12e77b10d5ce0cf64\n")); err == nil {
		t.Error("a digest of something else is accepted")
	}
	if err := algoDigest([]byte(""), []byte("d41d8cd98f00b204e9800998ecf8427e\n")); err != nil {
		t.Error(err)
	}
}

func TestSnomFiles(t *testing.T) {
	got := snomFiles([]byte(`<?xml version="1.0"?><settings><setting-files><file url="http://192.0.2.1/snomM900-{mac}.htm"/></setting-files></settings>`))
	if len(got) != 1 || got[0] != "http://192.0.2.1/snomM900-{mac}.htm" {
		t.Errorf("%q", got)
	}
}

// FuzzVendorConfigs: whatever a server sends, a phone neither panics nor takes
// an account that it could not register.
func FuzzVendorConfigs(f *testing.F) {
	f.Add([]byte(`<settings><phone-settings><user_active idx="1">on</user_active></phone-settings></settings>`))
	f.Add([]byte("sip.u1.user = 1\nsip.proxy = 192.0.2.1\n"))
	f.Add([]byte(`<gs_provision><config><P271>1</P271><P35>1</P35><P47>192.0.2.1</P47></config></gs_provision>`))
	f.Add([]byte(`<sysConf><sip><line index="1"><EnableReg>1</EnableReg></line></sip></sysConf>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for d := audiocodes; d <= other; d++ {
			form, ok := formats(d)
			if !ok {
				t.Fatalf("dialect %d has no format", d)
			}
			values := make(map[string]string)
			if err := form.parse(&fetcher{}, body, values); err != nil {
				continue
			}
			accounts, err := form.accounts(values)
			for _, a := range accounts {
				if err == nil && a.validate() != nil {
					t.Errorf("dialect %d: account %+v", d, a)
				}
			}
		}
	})
}
