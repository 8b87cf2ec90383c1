//go:build differential

package differential

import (
	"testing"

	"dkms/testscripts/chroot"
)

func check(t *testing.T, err error) {
	t.Helper()
	chroot.Check(t, err)
}

func run(name string, args ...string) error { return chroot.Run(name, args...) }
