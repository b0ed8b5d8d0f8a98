package lab

import (
	"fmt"
	"strconv"
	"strings"
)

// parseGigaset reads the provisioning file of N610, N670 and N870: parameters
// are elements with name and value. Handsets are added by an operation.
func parseGigaset(body []byte, values map[string]string) error {
	return readElements(body, "provisioning", func(way []element, _ string) {
		last := way[len(way)-1]
		for _, outer := range way[:len(way)-1] {
			if outer.name == "oper" && outer.attr["name"] == "add_hs" {
				values["add_hs."+outer.attr["value"]] = last.attr["value"]
				return
			}
		}
		if last.name == "param" {
			values[last.attr["name"]] = last.attr["value"]
		}
	})
}

func gigasetAccounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for n := 1; n <= 20; n++ {
		handset := fmt.Sprintf("%05d", n)
		if values["add_hs."+handset] != "ToReg" {
			continue
		}
		account := func(name string) string { return values["SipAccount."+handset+"."+name] }
		provider := func(name string) string { return values["SipProvider."+firstOf(account("ProviderId"), "0")+"."+name] }
		transport, err := number(provider("TransportProtocol"), 0, 0, 3)
		if err != nil {
			return nil, fmt.Errorf("TransportProtocol: %w", err)
		}
		a := Account{
			Slot: n, User: account("UserName"), AuthUser: account("AuthName"), Password: account("AuthPassword"),
			Display: account("DisplayName"), Label: account("DisplayName"), Transport: [...]string{"udp", "udp", "tcp", "tls"}[transport],
		}
		err = a.at(provider("RegServerAddress")+":"+firstOf(provider("RegServerPort"), "5060"), "", provider("RegServerRefreshTimer"))
		if err != nil {
			return nil, fmt.Errorf("handset %d: %w", n, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// parseN510 reads the file of N510 and N720: items with an ID, whose values
// are numbers or texts in quotes. One that carries another base's MAC address
// changes nothing.
func parseN510(body []byte, own string, values map[string]string) error {
	err := readElements(body, "ProviderFrame", func(way []element, _ string) {
		last := way[len(way)-1]
		key := firstOf(last.attr["ID"], last.name)
		values[key] = strings.Trim(last.attr["value"], `"`)
	})
	if err == nil && values["MAC_ADDRESS"] != own {
		return fmt.Errorf("%w: the file is for %q", errConfig, values["MAC_ADDRESS"])
	}
	return err
}

func n510Accounts(values map[string]string) ([]Account, error) {
	var accounts []Account
	for n := 1; n <= 6; n++ {
		suffix := ""
		if n > 1 {
			suffix = "_" + strconv.Itoa(n)
		}
		key := func(name string) string { return values["BS_IP_Data1."+name+suffix] }
		if values["BS_IP_Data1.ucB_SIP_ACCOUNT_IS_ACTIVE_"+strconv.Itoa(n)] != "0x1" {
			continue
		}
		port, err := strconv.ParseUint(key("uiI_SIP_REGISTRAR_PORT"), 0, 16)
		if err != nil {
			return nil, fmt.Errorf("account %d: port: %w: %w", n, errConfig, err)
		}
		timer, err := strconv.ParseUint(key("uiI_RE_REGISTRATION_TIMER"), 0, 31)
		if err != nil {
			return nil, fmt.Errorf("account %d: timer: %w: %w", n, errConfig, err)
		}
		a := Account{
			Slot: n, User: key("aucS_SIP_USER_ID"), AuthUser: values["BS_IP_Data3.aucS_SIP_LOGIN_ID"+suffix], Password: key("aucS_SIP_PASSWORD"),
			Display: key("aucS_SIP_DISPLAYNAME"), Label: values["BS_IP_Data1.aucS_SIP_ACCOUNT_NAME_"+strconv.Itoa(n)], Transport: "udp",
		}
		if err := a.at(fmt.Sprintf("%s:%d", key("aucS_SIP_REGISTRAR"), port), "", strconv.FormatUint(timer, 10)); err != nil {
			return nil, fmt.Errorf("account %d: %w", n, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// n720Accounts reads the accounts of a DECT manager, which have one provider;
// [%] in an ID means every index that is not written out (provisioning file of
// Wazo for N720).
func n720Accounts(values map[string]string) ([]Account, error) {
	provider := func(name string) string { return values["BS_VOIP_Data.astVoipProviders[0]."+name] }
	var accounts []Account
	for n := range 100 {
		key := func(name string) string {
			return firstOf(values[fmt.Sprintf("BS_VOIP_Data.astVoipAccounts[%d].%s", n, name)], values["BS_VOIP_Data.astVoipAccounts[%]."+name])
		}
		if key("ucB_SIP_ACCOUNT_IS_ACTIVE_1") != "1" {
			continue
		}
		port, err := strconv.ParseUint(provider("uiSIP_REGISTRAR_PORT"), 0, 16)
		if err != nil {
			return nil, fmt.Errorf("account %d: port: %w: %w", n+1, errConfig, err)
		}
		timer, err := strconv.ParseUint(provider("uiRE_REGISTRATION_TIMER"), 0, 31)
		if err != nil {
			return nil, fmt.Errorf("account %d: timer: %w: %w", n+1, errConfig, err)
		}
		a := Account{
			Slot: n + 1, User: key("aucS_SIP_USER_ID[0]"), AuthUser: key("aucS_SIP_LOGIN_ID[0]"), Password: key("aucS_SIP_PASSWORD[0]"),
			Display: key("aucS_SIP_DISPLAYNAME[0]"), Label: key("aucS_SIP_DISPLAYNAME[0]"), Transport: "udp",
		}
		if err := a.at(fmt.Sprintf("%s:%d", provider("aucSIP_REGISTRAR[%]"), port), "", strconv.FormatUint(timer, 10)); err != nil {
			return nil, fmt.Errorf("account %d: %w", n+1, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}
