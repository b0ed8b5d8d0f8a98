// Package bench measures the DHCP service of the built binary beside servers
// that others wrote, and puts loads on it that a site can put on it on its
// worst day. It has tests only, behind the build tag `bench`; they need root
// and the packages in .ci/packages-bench.
//
//	gen ── bridge (lan) ── box        each a network namespace
//	flood ──┘
//
// The server under measurement runs on one core by itself, in the scheduling
// class that nothing else on the machine preempts, the generator on another.
// What is compared is measured alternately in one run at the same offered
// rate: absolute figures of one machine say little, and of a shared one less.
//
// `make bench-dhcp` is the comparison with Kea and dnsmasq by perfdhcp. `make
// soak-dhcp` is what perfdhcp can't play, because it speaks as a relay: 5,000
// phones that get their power back at once, a flood of made-up devices from
// one port, and a box that is killed a hundred times.
package bench
