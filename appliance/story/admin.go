package story

// The codes of what people did.
const (
	Approved      Code = "admin.approved"      // IP: this address may fetch the configuration of this phone
	Disapproved   Code = "admin.disapproved"   // IP: its approval was taken back
	PhoneEnrolled Code = "admin.enrolled"      // accepted into the organisation's inventory
	LineAssigned  Code = "admin.line-assigned" // Account, Name, Number
	LineRemoved   Code = "admin.line-removed"  // Account
	Enlisted      Code = "admin.enlisted"      // Vendor, Model: the phone is in the inventory from now on
	PasswordNew   Code = "admin.password-new"  // Account: its device identity was replaced
	LeaseEnded    Code = "admin.lease-ended"   // IP
	Reserved      Code = "admin.reserved"      // IP
	Unreserved    Code = "admin.unreserved"    // IP
)

var adminWords = map[Code]func(Args) string{
	Approved:      with("an administrator approved the address %v (%v)", ip, evidence),
	Disapproved:   with("an administrator took back the approval of the address %v", ip),
	PhoneEnrolled: plain("an administrator enrolled it"),
	LineAssigned:  with("account %d was given to %s (%s)", slot, name, number),
	LineRemoved:   with("account %d was taken from its line", slot),
	Enlisted:      with("was seen for the first time: %v", model),
	PasswordNew:   with("account %d got a new device password", slot),
	LeaseEnded:    with("an administrator ended its lease of %v", ip),
	Reserved:      with("an administrator reserved %v for it", ip),
	Unreserved:    with("an administrator took back its reservation of %v", ip),
}

var adminReasons = map[Reason]string{}
