//go:build lab

package main

// everyLanguage: each personality starts in every language.
const everyLanguage = true
