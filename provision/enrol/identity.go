package enrol

import (
	"crypto/rand"
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

// newPassword draws from crypto/rand, which never fails, and throws away
// bytes that would favour the first letters.
func newPassword() string {
	const fair = 256 - 256%len(alphabet)
	out := make([]byte, 0, passwordLength)
	var buf [2 * passwordLength]byte
	for {
		rand.Read(buf[:])
		for _, b := range buf {
			if int(b) >= fair {
				continue
			}
			out = append(out, alphabet[int(b)%len(alphabet)])
			if len(out) == passwordLength {
				return string(out)
			}
		}
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
