// Package mac holds the words by which every other package names a phone:
// its hardware address, one SIP account of it, and how sure we are of who
// stands behind an IP address.
//
// It is a leaf: it imports nothing of ours and starts no goroutine.
package mac
