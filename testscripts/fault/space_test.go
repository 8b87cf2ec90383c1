package fault

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
)

// TestSmallFileSystems runs the tests of this file that mount something, in a
// mount namespace of their own.
func TestSmallFileSystems(t *testing.T) {
	if os.Getenv("FAULT_NAMESPACE") != "" {
		t.Skip("this is the namespace")
	}
	if !isMountPoint(t, "/") {
		t.Skip("this is a chroot: mounts of our own would be seen outside")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^TestMounted", "-test.v", "-test.timeout", "50m")
	cmd.Env = append(os.Environ(), "FAULT_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "" {
		t.Skip("no mount namespaces here")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "tried") || strings.Contains(line, "SKIP") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// mounting skips tests outside of the namespace, and keeps what they mount in
// it.
func mounting(t *testing.T) {
	t.Helper()
	if os.Getenv("FAULT_NAMESPACE") == "" {
		t.Skip("run by TestSmallFileSystems")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

// small is a file system of a few MiB.
type small struct {
	name string
	// mount mounts a new one on a directory.
	mount func(m *machine, dir string) error
	// steps are the amounts of free space, in KiB, that are tried.
	steps []int
}

const smallSize = 4 << 20

func smallOnes() []small {
	var every, some []int
	for kib := 0; kib <= 160; kib += 4 {
		every = append(every, kib)
	}
	for kib := 0; kib <= 160; kib += 4 * stride {
		some = append(some, kib)
	}
	return []small{
		{"tmpfs", func(m *machine, dir string) error {
			return unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size="+strconv.Itoa(smallSize))
		}, some},
		{"ext4", func(m *machine, dir string) error {
			image := filepath.Join(m.dir, "image")
			m.must(os.RemoveAll(image))
			m.must(truncated(image, smallSize))
			if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", "-b", "1024", image).CombinedOutput(); err != nil {
				return errors.New(string(out))
			}
			out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput()
			if err != nil {
				return errors.New(string(out))
			}
			return os.RemoveAll(filepath.Join(dir, "lost+found"))
		}, every[:max(1, len(every)/stride)]},
	}
}

// isMountPoint tells whether something is mounted at a directory.
func isMountPoint(t *testing.T, dir string) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == dir {
			return true
		}
	}
	return false
}

// TestMountedFull fills the file system of the dkms tree, or of the install
// tree, but for some KiB, and wants commands to succeed or to fail cleanly.
func TestMountedFull(t *testing.T) {
	mounting(t)
	for _, fs := range smallOnes() {
		for _, dir := range []string{"var/lib/dkms", "lib/modules"} {
			for _, s := range scenarios {
				if !s.full {
					continue
				}
				t.Run(fs.name+" on "+dir+" "+s.name, func(t *testing.T) {
					g := s.lay(t)
					for _, kib := range fs.steps {
						g.fill(t, fs, dir, kib)
					}
					t.Logf("%d levels tried", len(fs.steps))
				})
			}
		}
	}
}

// fill runs the command of a scenario with so many KiB free for a directory.
func (g *ground) fill(t *testing.T, fs small, dir string, kib int) {
	t.Helper()
	g.back("before")
	kept := filepath.Join(g.dir, "kept")
	g.must(os.RemoveAll(kept))
	g.must(os.Rename(g.path(dir), kept))
	g.must(os.Mkdir(g.path(dir), 0o755))
	if err := fs.mount(g.machine, g.path(dir)); err != nil {
		t.Skipf("no %s here: %v", fs.name, err)
	}
	defer func() { g.must(unix.Unmount(g.path(dir), unix.MNT_DETACH)) }()
	g.sh("cp -a " + kept + "/. " + dir)
	filler := g.path(dir + "/filler")
	g.leave(filler, int64(kib)<<10)
	r := g.dkms(g.command...)
	if torn := g.torn(g.machine); len(torn) > 0 {
		t.Errorf("%d KiB: %v", kib, torn)
	}
	set := g.modules()
	if !slices.Contains(g.sets, set) || r.code == 0 && set != g.goal {
		t.Errorf("%d KiB: dkms = %d, and the kernel has\n%s\n%s", kib, r.code, set, r.stderr)
	}
	if r.code != 0 && !strings.Contains(strings.ToLower(r.stderr), "no space left on device") {
		t.Errorf("%d KiB: dkms = %d\n%s", kib, r.code, r.stderr)
	}
	g.must(os.Remove(filler))
	g.onwards("again")
	if set := g.modules(); set != g.goal {
		t.Errorf("%d KiB: with space again the kernel has\n%s\nwant\n%s", kib, set, g.goal)
	}
	if left := append(g.leftovers(), g.wrongIndex()...); len(left) > 0 {
		t.Errorf("%d KiB: left behind: %v", kib, left)
	}
}

// leave fills the file system but for some bytes.
func (m *machine) leave(filler string, bytes int64) {
	m.Helper()
	f, err := os.Create(filler)
	m.must(err)
	defer f.Close()
	for {
		var st unix.Statfs_t
		m.must(unix.Statfs(filler, &st))
		over := int64(st.Bavail)*int64(st.Bsize) - bytes
		if over < int64(st.Bsize) {
			return
		}
		_, err := f.Write(make([]byte, min(over, 64<<10)))
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		m.must(err)
		m.must(f.Sync()) // or the free space is only a guess
	}
}

// TestMountedReadOnly wants a clear refusal where nothing can be written, and
// nothing less than everything once it can.
func TestMountedReadOnly(t *testing.T) {
	mounting(t)
	for _, dir := range []string{"var/lib/dkms", "lib/modules", ""} {
		for _, s := range scenarios {
			if !s.full {
				continue
			}
			t.Run("on "+dir+" "+s.name, func(t *testing.T) {
				g := s.lay(t)
				g.back("before")
				before := g.modules()
				g.must(unix.Mount(g.path(dir), g.path(dir), "", unix.MS_BIND, ""))
				g.must(unix.Mount("", g.path(dir), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
				r := g.dkms(g.command...)
				if r.code == 0 || strings.Count(r.stderr, "read-only") != 1 || g.modules() != before {
					t.Errorf("dkms = %d\n%s", r.code, r.stderr)
				}
				if r := g.dkms("status"); r.code != 0 {
					t.Errorf("status = %d\n%s", r.code, r.stderr)
				}
				g.must(unix.Unmount(g.path(dir), unix.MNT_DETACH))
				g.onwards("again")
				if got := g.picture(); !slices.Contains(g.finals["again"], got) {
					t.Errorf("once it can be written:\n%s", difference(got, g.finals["again"]))
				}
			})
		}
	}
}

// TestOrdinaryUser wants readers to work for everybody, and writers to say what
// is missing.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is needed to become somebody else")
	}
	t.Parallel()
	m := newMachine(t)
	m.sources("foo", "1.0", pair)
	m.want("install", "foo/1.0")
	before := m.picture()
	self, err := os.Executable()
	m.must(err)
	m.copyTree(self, filepath.Join(m.dir, "program"))
	m.must(os.Chmod(filepath.Join(m.dir, "program"), 0o755))
	for _, test := range []struct {
		args string
		code exit.Code
		said string
	}{
		{"status", exit.OK, ""},
		{"status --json", exit.OK, ""},
		{"check -k " + release, exit.OK, ""},
		{"install --force foo/1.0", exit.Usage, "only root may do that"},
		{"uninstall foo/1.0", exit.Usage, "only root may do that"},
		{"autoinstall", exit.Usage, "only root may do that"},
		{"remove foo/1.0 --all", exit.Usage, "is not writable"},
		{"build --force foo/1.0", exit.Usage, "is not writable"},
		{"add bar/1.0", exit.Usage, "is not writable"},
	} {
		cmd := exec.Command(filepath.Join(m.dir, "program"), strings.Fields(test.args)...)
		cmd.Env = append(slices.Clone(m.env), "FAULT_PROGRAM=dkms", "HOME=/")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != int(test.code) || !strings.Contains(string(out), test.said) {
			t.Errorf("dkms %s = %d, %v; want %d and %q\n%s", test.args, got, err, test.code, test.said, out)
		}
	}
	if after := m.picture(); after != before {
		t.Errorf("something has changed:\n%s", difference(after, []string{before}))
	}
}

// TestMountedTemporary fills the directory of temporary files. What needs none
// works, isolated builds among it; what does fails with one clear error, and
// works once there is room.
func TestMountedTemporary(t *testing.T) {
	mounting(t)
	m := newMachine(t)
	m.sources("foo", "1.0", pair)
	full := m.path("full")
	m.must(os.Mkdir(full, 0o1777))
	m.must(unix.Mount("tmpfs", full, "tmpfs", 0, "mode=1777,size=65536"))
	m.leave(full+"/filler", 0)
	m.env = append(m.env, "TMPDIR="+full)
	framework := func(lines string) { m.write("etc/dkms/framework.conf", "tmp_location="+full+"\n"+lines) }
	framework("build_sandbox=require\n")
	for _, line := range []string{"install foo/1.0", "status", "autoinstall", "check", "uninstall foo/1.0", "unbuild foo/1.0", "mktarball foo/1.0 --source-only"} {
		m.want(strings.Fields(line)...)
	}
	framework("build_sandbox=no\n")
	r := m.dkms("autoinstall")
	if r.code != int(exit.SomeFailed) || !strings.Contains(r.stderr, "make failed: exit status 2: there was no room on the disk") {
		t.Errorf("autoinstall = %d\n%s", r.code, r.stderr)
	}
	r = m.dkms("rehearse", "-k", release)
	if r.code == 0 || strings.Count(r.stderr, "no space left on device") != 1 && !strings.Contains(r.stdout, "no room on the disk") {
		t.Errorf("rehearse = %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	m.must(os.Remove(full + "/filler"))
	m.must(unix.Unmount(full, unix.MNT_DETACH))
	m.want("rehearse", "-k", release)
	m.want("autoinstall") // what may pass is tried again
	if status := m.want("status").stdout; status != "foo/1.0, "+release+", "+arch+": installed\n" {
		t.Errorf("status = %q", status)
	}
	if left := append(m.leftovers(), m.wrongIndex()...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
