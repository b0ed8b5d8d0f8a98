// Package prompt holds what this box says to people on the phone: the prompts
// in the six languages, digits and letters to spell with, the call progress
// tones of each country, and music on hold.
//
// The audio is embedded as G.711 µ-law. It is made from the files in texts by
// `make prompts` with espeak-ng and sox; audio/versions.txt names the versions
// that made it. The Japanese texts are written in kana, because that is what
// the synthesiser reads, and no native speaker has reviewed them.
//
// The package starts no goroutine; a [Library] may be used by many.
package prompt
