// Package firmware keeps the images of phones, says which image a phone is to
// run, and brings it to the phones one step after the other.
//
// An image is a folder of files with a vendor and a version. It never changes:
// what is to be different is another image. A pin says which image the phones
// of a model, or of one hardware revision of it, run. A roll-out leads from one
// pin to the next: the phones that go first, then the others, a few at a time,
// none while somebody talks on it, and it stops by itself when a phone that was
// to load the image is not seen with it. A phone is told of an image from when
// its turn has come. Versions are compared as they are written, never as
// numbers.
//
// What phones are asked to do, and how they are seen, is the business of the
// [Fleet]. [Rollouts] is the one task: it looks at the roll-outs every second
// while one goes on, and otherwise when something happens. Every step is on disk
// before it is taken, so a roll-out goes on after a restart.
package firmware
