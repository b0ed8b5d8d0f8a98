// Package enrol is the inventory of the site: which phones there are, the
// device identity of each of their accounts, the lines, who is on which line,
// and which addresses an administrator vouched for.
//
// [Directory] holds it in memory, because it is asked in receive paths, and
// writes through to a [Store]: disk first, then memory, so that nothing is
// said that a power cut takes back. [Desk] is what an administrator does.
//
// The package knows no SQL and no SIP. Its only goroutines ask phones to fetch
// their configuration again, a few at a time, until [Desk.Close]. Two changes of one
// phone wait for each other; changes of different phones do not, so that their
// commits can be shared.
package enrol
