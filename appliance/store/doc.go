// Package store is where the state of the box outlives the process: one
// SQLite file in WAL mode with synchronous=FULL, and all the SQL there is.
//
// What is acknowledged to somebody is on disk first: leases, the inventory
// and settings are written by one goroutine that puts all changes which wait
// into one transaction ([DB] starts it in [Open] and waits for it in
// [DB.Close]). What may be lost by a power cut, but not by the end of the
// process a second later, is written behind: bindings, calls, the story of
// phones. Those calls return at once; their buffers are bounded, and what did
// not fit is counted. [DB.Run] empties them and removes old rows.
//
// Passwords are sealed with AES-256-GCM under a key that lies in a file of its
// own, bound to the row that they stand in.
//
// The package decides nothing: hot state is in memory in the package that it
// belongs to, and is read from here once, at start.
package store
