package enrol

import (
	"crypto/rand"
	"slices"
	"strconv"

	"patchbay/dhcp/mac"
)

// passwordLength is 24 characters of an alphabet of 62: 142 bits. Letters and
// digits only, because some phones break on anything else.
const passwordLength = 24

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// newIdentity makes a fresh device identity. The user name is not a secret;
// it says whose it is in every log of a phone.
func newIdentity(a mac.Account) AccountRecord {
	return AccountRecord{
		Account:  a,
		Username: a.MAC.Hex() + "-" + strconv.Itoa(int(a.Slot)),
		Password: newPassword(),
	}
}

// newPhonePassword makes a password that a person may have to type on a phone:
// 12 characters without those that look alike, 56 bits, with a capital, a
// small letter and a digit, which some firmware insists on.
func newPhonePassword() string {
	return draw(1, "ABCDEFGHJKLMNPQRSTUVWXYZ") + draw(1, "abcdefghijkmnopqrstuvwxyz") + draw(1, "23456789") + draw(9, "abcdefghijkmnopqrstuvwxyz23456789")
}

// newPassword makes the password of a device identity.
func newPassword() string { return draw(passwordLength, alphabet) }

// draw takes n letters of an alphabet from crypto/rand, which never fails, and
// throws away bytes that would favour the first of them.
func draw(n int, alphabet string) string {
	fair := 256 - 256%len(alphabet)
	out := make([]byte, 0, n)
	var buf [2 * passwordLength]byte
	for {
		rand.Read(buf[:])
		for _, b := range buf {
			if int(b) >= fair {
				continue
			}
			out = append(out, alphabet[int(b)%len(alphabet)])
			if len(out) == n {
				return string(out)
			}
		}
	}
}

// accepted returns the accounts of a phone that is accepted now, with new device
// passwords: what was learnt of it while it waited opens nothing any more. A
// phone that never told its vendor has fetched none yet, and keeps what it has.
func (d *Directory) accepted(rec PhoneRecord) []AccountRecord {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, ok := d.phones[rec.MAC]
	if !ok || rec.Vendor == "" {
		return nil
	}
	out := slices.Clone(p.accounts)
	for i := range out {
		out[i].rotate()
	}
	return out
}

// fetchAnew has a phone fetch its new device passwords.
func (d *Desk) fetchAnew(fresh []AccountRecord) {
	if len(fresh) > 0 {
		d.resync(fresh[0].Account)
	}
}

// rotate gives an account a new device password. The old one stays good until
// the phone was seen with the new one, so that a phone which is offline now is
// not locked out. While that is awaited nothing changes: the phone may hold
// either.
func (a *AccountRecord) rotate() {
	if a.OldPassword != "" {
		return
	}
	a.OldPassword, a.Password = a.Password, newPassword()
}
