package lab

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
)

// algoAccounts reads the one account of an Algo device.
func algoAccounts(values map[string]string) ([]Account, error) {
	if values["sip.u1.user"] == "" || values["sip.register.use"] == "0" {
		return nil, nil
	}
	a := Account{
		Slot: 1, User: values["sip.u1.user"], AuthUser: firstOf(values["sip.u1.auth"], values["sip.u1.user"]), Password: values["sip.u1.pwd"],
		Display: values["admin.devname"], Label: values["admin.devname"], Transport: strings.ToLower(firstOf(values["sip.transp"], "udp")),
	}
	if err := a.at(firstOf(values["sip.registrar"], values["sip.proxy"]), values["sip.obproxy"], values["sip.regexp"]); err != nil {
		return nil, err
	}
	return []Account{a}, nil
}

// algoDigest refuses a file that is not the one of its companion (manual of
// the 8188, "provisioning").
func algoDigest(body, digest []byte) error {
	sum := md5.Sum(body)
	if got, want := hex.EncodeToString(sum[:]), strings.TrimSpace(string(digest)); got != want {
		return fmt.Errorf("%w: MD5 %s, and %q in the companion", errConfig, got, want)
	}
	return nil
}

// cyberdataAccounts reads the one account of a CyberData device.
func cyberdataAccounts(values map[string]string) ([]Account, error) {
	if values["SIPUserID"] == "" {
		return nil, nil
	}
	a := Account{
		Slot: 1, User: values["SIPUserID"], AuthUser: firstOf(values["SIPAuthID"], values["SIPUserID"]), Password: values["SIPAuthPassword"],
		Display: values["DeviceName"], Label: values["DeviceName"], Transport: strings.ToLower(firstOf(values["SIPTransport"], "udp")),
	}
	if err := a.at(values["SIPServer"]+":"+firstOf(values["RemoteSIPPort"], "5060"), values["OutboundProxy"], values["ReRegInterval"]); err != nil {
		return nil, err
	}
	return []Account{a}, nil
}
