// Package chroot makes Debian systems for tests: above all two that are equal
// but for dkms, of which one has the original and one has ours, to compare them.
//
// It guarantees that both are whole and that nobody else uses them while the
// test runs. They are kept from one run to the next, below /var/tmp or where
// DIFFERENTIAL_CACHE says; only our dkms is installed anew.
package chroot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/testscripts/testkit"
)

// layout is part of the name of the cache: another set of packages is another
// cache.
const layout = "3"

// packages are in both systems: what Debian's dkms depends on, what the tests
// look at modules with, and what the programs of real kernel headers link.
const packages = "kmod,patch,gcc,libc6-dev,make,dpkg-dev,lsb-release,xz-utils,zstd,gzip,bzip2,openssl,binutils,procps,file,libelf1"

// Pair are the root directories of the two systems.
type Pair struct{ Theirs, Ours string }

// Prepare makes the systems, or takes them from the cache, and puts our dkms as
// it is now into one of them, and the original into the other. They are the
// test's own until it ends. The test has to lie two directories below the top.
func Prepare(t testing.TB, original Original) Pair {
	t.Helper()
	Require(t, "debootstrap", "unshare", "chroot", "make", "go")
	cache := os.Getenv("DIFFERENTIAL_CACHE")
	if cache == "" {
		cache = "/var/tmp/dkms-differential"
	}
	cache = filepath.Join(cache, "v"+layout)
	Check(t, os.MkdirAll(cache, 0o755))
	Hold(t, cache)

	base, p := filepath.Join(cache, "base"), Pair{filepath.Join(cache, "theirs-"+original.Version), filepath.Join(cache, "ours")}
	Check(t, Once(base, func(dir string) error { return Debootstrap(dir, packages) }))
	Check(t, original.make(base, p.Theirs))
	Check(t, Once(p.Ours, func(dir string) error { return copyTree(base, dir) }))
	installOurs(t, p.Ours)
	return p
}

// Need skips the test where something it runs is missing; in CI it fails.
func Need(t testing.TB, ok bool, why string) {
	t.Helper()
	if !ok {
		testkit.Lack(t, why)
	}
}

// Check ends the test if there is an error.
func Check(t testing.TB, err error) {
	t.Helper()
	testkit.Must(t, err)
}

// Require needs root and programs.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	Need(t, os.Getuid() == 0, "this needs root")
	testkit.Need(t, programs...)
}

// Hold keeps other runs away from a directory that is kept from one to the
// next, until the test ends.
func Hold(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "lock"))
	Check(t, err)
	Check(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	t.Cleanup(func() { f.Close() })
}

// Once makes a file or a directory, which appears only when it is complete.
func Once(to string, fill func(string) error) error {
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := to + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := fill(partial); err != nil {
		return err
	}
	return os.Rename(partial, to)
}

// Debootstrap makes the smallest Debian that has some packages.
func Debootstrap(dir, packages string) error { return DebootstrapSuite(dir, "bookworm", packages) }

// DebootstrapSuite is [Debootstrap] for a release of Debian.
func DebootstrapSuite(dir, suite, packages string) error {
	return Run("debootstrap", "--variant=minbase", "--include="+packages, suite, dir, Mirror())
}

func copyTree(from, to string) error { return Run("cp", "-a", "--reflink=auto", from, to) }

// installOurs builds our dkms and installs it as a Debian package would.
func installOurs(t testing.TB, dir string) {
	t.Helper()
	bin := t.TempDir()
	Check(t, Run("make", "-C", "../..", "BIN="+bin, "all"))
	Check(t, Run("make", "-C", "../..", "BIN="+bin, "DESTDIR="+dir, "DISTRO=debian", "install"))
}

// Mirror is where this machine has Debian from.
func Mirror() string {
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, file := range append(files, "/etc/apt/sources.list") {
		data, _ := os.ReadFile(file)
		for word := range strings.FieldsSeq(string(data)) {
			if strings.HasPrefix(word, "http") && strings.HasSuffix(strings.TrimRight(word, "/"), "/debian") {
				return word
			}
		}
	}
	return "http://deb.debian.org/debian"
}

// proxy is the one that apt uses here, for what is run in its place.
func proxy() []string {
	out, err := exec.Command("apt-config", "shell", "proxy", "Acquire::http::Proxy").Output()
	value, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "proxy=")
	if err != nil || !ok {
		return nil
	}
	return []string{"http_proxy=" + strings.Trim(value, "'")}
}

// Run runs a program as apt would run here; the error has the end of its output.
func Run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), proxy()...)
	cmd.Env = append(cmd.Env, "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		out = out[max(0, len(out)-2000):]
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
