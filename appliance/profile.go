package appliance

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// Profile writes a CPU profile of the process into the directory that the
// environment variable PATCHBAY_PROFILE names, until stop is called. The
// compiler optimises for what `make profile` collects this way. Without the
// variable it does nothing.
func Profile() (stop func(), err error) {
	dir := os.Getenv("PATCHBAY_PROFILE")
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("cpu-%d.pprof", os.Getpid())))
	if err != nil {
		return nil, fmt.Errorf("PATCHBAY_PROFILE: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, fmt.Errorf("PATCHBAY_PROFILE: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}
