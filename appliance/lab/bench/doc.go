// Package bench measures the DHCP service and the provisioning of the built
// binary, and the media relay, beside servers that others wrote, and puts loads
// on them that a site can put on them on its worst day. It has tests only, behind the build tag `bench`; they need root
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
//
// `make bench-provision` also switches 250 and 1,000 phones of the lab on at the
// same moment as the box, and besieges the doors for files, each side in a
// process of its own, while phones fetch theirs.
//
// `make bench-media` is the comparison with rtpengine in user space. Our side
// is package media in a process of its own, gen the phones and flood the
// gateway. What comes from the wire to a socket is charged by the kernel to who
// sends it, so no figure here is that of a network card; the ratio is.
//
// `make bench-box` puts all of it on the box at once: the built binary with 2,000
// phones in its inventory, their registrations over TLS, their calls, and the SRTP
// of these calls through its relay. gen is all phones: one process for their SIP,
// one for their audio, which gets packets past the box to flood at the same time.
package bench
