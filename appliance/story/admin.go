package story

// The codes of what people did.
const (
	Approved     Code = "admin.approved"      // IP: this address may fetch the configuration of this phone
	LineAssigned Code = "admin.line-assigned" // Account, Name, Number
	LineRemoved  Code = "admin.line-removed"  // Account
	Enlisted     Code = "admin.enlisted"      // Vendor, Model: the phone is in the inventory from now on
	PasswordNew  Code = "admin.password-new"  // Account: its device identity was replaced
)

var adminWords = map[Code]func(Args) string{
	Approved:     with("an administrator approved the address %v (%v)", ip, evidence),
	LineAssigned: with("account %d was given to %s (%s)", slot, name, number),
	LineRemoved:  with("account %d was taken from its line", slot),
	Enlisted:     with("was seen for the first time: %v", model),
	PasswordNew:  with("account %d got a new device password", slot),
}

var adminReasons = map[Reason]string{}
