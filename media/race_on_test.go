//go:build race

package media

// raceDetector allocates where the plain build does not.
const raceDetector = true
