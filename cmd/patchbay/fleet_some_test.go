//go:build !lab

package main

// everyLanguage: each personality starts in one language; with the build tag
// lab it starts in all.
const everyLanguage = false
