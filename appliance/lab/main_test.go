package lab

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	tame() // before the stand-ins of the tests use sipgo
	goleak.VerifyTestMain(m)
}
