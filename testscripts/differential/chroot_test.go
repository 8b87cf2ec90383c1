//go:build differential

package differential

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
)

// layout is part of the name of the cache: another set of packages is another
// cache.
const layout = "1"

// basePackages are in both chroots: what Debian's dkms depends on, and what
// the tests look at modules with.
const basePackages = "kmod,patch,gcc,libc6-dev,make,dpkg-dev,lsb-release,xz-utils,zstd,gzip,bzip2,openssl,binutils,procps,file"

// chroots are the directories of the two systems.
type chroots struct{ theirs, ours string }

// prepare makes the chroots, or takes them from the cache, and puts our dkms
// as it is now into one of them. The cache is held until the test ends.
func prepare(t *testing.T) chroots {
	t.Helper()
	need(t, os.Getuid() == 0, "chroot needs root")
	for _, program := range []string{"debootstrap", "unshare", "chroot", "make", "go"} {
		_, err := exec.LookPath(program)
		need(t, err == nil, program+" is not installed")
	}
	cache := os.Getenv("DIFFERENTIAL_CACHE")
	if cache == "" {
		cache = "/var/tmp/dkms-differential"
	}
	cache = filepath.Join(cache, "v"+layout)
	check(t, os.MkdirAll(cache, 0o755))
	hold(t, cache)

	base, c := filepath.Join(cache, "base"), chroots{filepath.Join(cache, "theirs"), filepath.Join(cache, "ours")}
	check(t, once(base, debootstrap))
	check(t, once(c.theirs, func(dir string) error { return errors.Join(copyTree(base, dir), installDebians(dir)) }))
	check(t, once(c.ours, func(dir string) error { return copyTree(base, dir) }))
	installOurs(t, c.ours)
	return c
}

// need skips the test where something it runs is missing; in CI it fails.
func need(t *testing.T, ok bool, why string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hold keeps other runs away from the cache.
func hold(t *testing.T, cache string) {
	t.Helper()
	f, err := os.Create(filepath.Join(cache, "lock"))
	check(t, err)
	check(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	t.Cleanup(func() { f.Close() })
}

// once makes the directory dir, which appears only when it is complete.
func once(dir string, fill func(string) error) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := fill(partial); err != nil {
		return err
	}
	return os.Rename(partial, dir)
}

func debootstrap(dir string) error {
	return run("debootstrap", "--variant=minbase", "--include="+basePackages, "bookworm", dir, mirror())
}

func copyTree(from, to string) error { return run("cp", "-a", "--reflink=auto", from, to) }

func installDebians(dir string) error {
	const script = `mount -t proc proc "$0/proc" && cd "$0" && exec chroot . apt-get install -qy --no-install-recommends dkms`
	return run("unshare", "--mount", "sh", "-c", script, dir)
}

// installOurs builds our dkms and installs it as a Debian package would.
func installOurs(t *testing.T, dir string) {
	t.Helper()
	bin := t.TempDir()
	check(t, run("make", "-C", "../..", "BIN="+bin, "all"))
	check(t, run("make", "-C", "../..", "BIN="+bin, "DESTDIR="+dir, "DISTRO=debian", "install"))
}

// mirror is where this machine has Debian from.
func mirror() string {
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, file := range append(files, "/etc/apt/sources.list") {
		data, _ := os.ReadFile(file)
		for word := range strings.FieldsSeq(string(data)) {
			if strings.HasPrefix(word, "http") && strings.HasSuffix(strings.TrimRight(word, "/"), "/debian") {
				return word
			}
		}
	}
	return "" // debootstrap knows one
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

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), proxy()...)
	cmd.Env = append(cmd.Env, "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		out = out[max(0, len(out)-2000):]
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
