// Package netns is the end-to-end lab: the built binary, in network
// namespaces, against peers that others wrote. It has tests only, behind the
// build tag `lab`; they need root and the packages in .ci/packages.
//
//	phones ── bridge (lan) ── box ── nat ── wan (the cloud)
//
// Each phone is a namespace of its own with a MAC address of its vendor. The
// box reaches the cloud only through a router that masquerades and lets
// nothing in. In the cloud stand Kamailio with TLS and rtpengine, and behind
// them a telephone (baresip).
package netns
