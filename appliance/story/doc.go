// Package story is the time line of a phone: one event for each step that it
// took, in every protocol, from its first DHCP packet to its last call.
//
// An event holds constants and typed arguments, never a sentence: the words
// are made by [Event.Words] when somebody reads it. Whoever sees a step
// calls the record function that it was given, which never blocks.
//
// The package is a leaf: it imports nothing of ours but dhcp/mac, another
// leaf, and starts no goroutine.
package story
