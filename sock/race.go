//go:build race

package sock

// racing: the race detector learns from package net that what was sent comes
// before its receipt. System calls that are made here it would not see.
const racing = true
