package appliance

import (
	"slices"
	"strings"

	"patchbay/appliance/acme"
)

// ACME says where the public certificate for phones is ordered, and in which
// zone of DNS it is shown that the names are ours. Without a directory none is.
type ACME struct {
	Directory string   `toml:"directory"` // of the authority
	Names     []string `toml:"names"`     // by which phones reach the box
	Email     string   `toml:"email"`
	CA        string   `toml:"ca"` // PEM of who signed the authority's own certificate; empty: as the system knows it

	Zone      string `toml:"zone"`
	Server    string `toml:"server"` // primary name server, with port
	KeyName   string `toml:"key_name"`
	Algorithm string `toml:"key_algorithm"`
	KeyFile   string `toml:"key_file"` // secret in base64 on the first line
}

func (c *ACME) validate(v *faults) {
	if c.Directory == "" {
		return
	}
	v.check(strings.HasPrefix(c.Directory, "https://"), "acme.directory", c.Directory, "write the https address that the authority names")
	v.check(len(c.Names) > 0, "acme.names", "", "write the names by which phones reach the box")
	for _, name := range c.Names {
		v.check(strings.HasSuffix("."+name, "."+c.Zone), "acme.names", name, "write names in acme.zone")
	}
	if err := c.zone("").Validate(); err != nil {
		*v = append(*v, err)
	}
	if c.KeyName != "" {
		v.check(slices.Contains(acme.Algorithms, c.Algorithm), "acme.key_algorithm", c.Algorithm, "write one of "+strings.Join(acme.Algorithms, ", "))
		v.check(c.KeyFile != "", "acme.key_file", "", "name a file with the secret of the key on its first line")
		v.checkSecret("acme.key_file", c.KeyFile)
	}
	if c.CA != "" {
		_, err := readCA("acme.ca", c.CA)
		v.check(err == nil, "acme.ca", c.CA, "name a PEM file that this user can read")
	}
}

func (c *ACME) zone(secret string) acme.Zone {
	return acme.Zone{Name: c.Zone, Server: c.Server, Key: acme.TSIG{Name: c.KeyName, Algorithm: c.Algorithm, Secret: secret}}
}
