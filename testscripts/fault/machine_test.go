package fault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkms/pkg/cli"
	"dkms/pkg/hook"
	"dkms/pkg/module"
	"dkms/pkg/system"
)

// TestMain makes the test binary the programs under test too.
func TestMain(m *testing.M) {
	p := system.ThisProcess()
	switch os.Getenv("FAULT_PROGRAM") {
	case "dkms":
		p.Host = machineHost()
		os.Exit(cli.Main(p))
	case "tracer":
		os.Exit(traceMain())
	case "hook":
		p.Host, p.Name = machineHost(), os.Getenv("HOOK_PATH")
		os.Exit(hook.Main(p))
	}
	os.Exit(m.Run())
}

// machineHost is a machine whose root is $ROOT and whose running kernel is
// $RELEASE, on the day $CLOCK.
func machineHost() system.Host {
	syscall.Umask(0o022)
	h := system.ThisHost(os.Environ())
	h.Root.Dir, h.Release, h.Machine, h.Chroot = os.Getenv("ROOT"), os.Getenv("RELEASE"), "x86_64", nil
	if day, err := time.Parse(time.DateOnly, os.Getenv("CLOCK")); err == nil {
		h.Now = func() time.Time { return day }
	}
	return h
}

const (
	release = "6.9.1-fake"
	arch    = "x86_64"
)

// machine is a machine of the distribution Debian below a directory, with one
// fake kernel or more.
type machine struct {
	testing.TB
	dir, root string
	env       []string
}

// newMachine lays down a machine. It lives in memory where that is possible:
// thousands of copies are made of it.
func newMachine(t testing.TB, releases ...string) *machine {
	t.Helper()
	parent := "/dev/shm"
	if !system.IsDir(parent) {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "dkms-fault-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{TB: t, dir: dir, root: filepath.Join(dir, "root")}
	m.must(os.Chmod(dir, 0o755))
	m.env = append(os.Environ(), "ROOT="+m.root, "RELEASE="+release, "GODEBUG=asyncpreemptoff=1")
	for _, dir := range []string{"etc/dkms", "usr/src", "var/lib", "lib/modules", "boot", "tmp"} {
		m.must(os.MkdirAll(m.path(dir), 0o755))
	}
	m.write("etc/os-release", "ID=debian\n")
	if len(releases) == 0 {
		releases = []string{release}
	}
	for _, r := range releases {
		m.kernel(r)
	}
	return m
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *machine) path(rel string) string { return filepath.Join(m.root, rel) }

// module is a path in the module directory of the kernel.
func (m *machine) module(rel string) string { return m.path("lib/modules/" + release + "/" + rel) }

// tree is a path in the dkms tree.
func (m *machine) tree(rel string) string { return m.path("var/lib/dkms/" + rel) }

func (m *machine) write(rel, text string) {
	m.Helper()
	m.must(os.MkdirAll(filepath.Dir(m.path(rel)), 0o755))
	m.must(os.WriteFile(m.path(rel), []byte(text), 0o644))
}

func (m *machine) sh(script string) {
	m.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = m.root, m.env
	if out, err := cmd.CombinedOutput(); err != nil {
		m.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func (m *machine) kernel(release string) {
	m.Helper()
	out, err := exec.Command("../fakekernel/install.sh", m.root, release).CombinedOutput()
	if err != nil {
		m.Fatalf("fakekernel: %v\n%s", err, out)
	}
}

// compressed makes the modules of the kernel, and so those built from now on,
// end in .ko.xz.
func (m *machine) compressed() {
	m.sh("xz --check=crc32 lib/modules/" + release + "/kernel/fs/fakefs.ko; depmod -b . " + release)
}

// sources puts the sources of a package with some modules into the source
// tree; lines are added to its dkms.conf.
func (m *machine) sources(name, version string, modules []string, lines ...string) {
	m.Helper()
	conf := fmt.Sprintf("PACKAGE_NAME=%s\nPACKAGE_VERSION=%s\nAUTOINSTALL=yes\n", name, version)
	dir := "usr/src/" + name + "-" + version + "/"
	makefile := "obj-m :="
	for i, mod := range modules {
		conf += fmt.Sprintf("BUILT_MODULE_NAME[%d]=%s\nDEST_MODULE_LOCATION[%d]=/kernel/extra\n", i, mod, i)
		makefile += " " + mod + ".o"
		m.write(dir+mod+".c", "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nMODULE_VERSION(\""+version+"\");\n"+
			"static int start(void) { return "+fmt.Sprint(len(version)*100+int(version[0]))+"; }\nmodule_init(start);\n")
	}
	m.write(dir+"Makefile", makefile+"\n")
	m.write(dir+"dkms.conf", conf+strings.Join(lines, "\n")+"\n")
}

// ran is how a program fared.
type ran struct {
	code           int
	stdout, stderr string
}

// dkms runs dkms to its end.
func (m *machine) dkms(args ...string) ran { return m.program("dkms", args...) }

// deadline is when a program that does not end is taken to hang.
const deadline = 2 * time.Minute

func (m *machine) program(name string, args ...string) ran {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	self, err := os.Executable()
	m.must(err)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(slices.Clone(m.env), "FAULT_PROGRAM="+name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		m.Fatalf("dkms %v does not end\n%s", args, stderr.String())
	}
	var exitErr *exec.ExitError
	if err != nil && !errors.As(err, &exitErr) {
		m.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// want runs dkms and wants it to succeed.
func (m *machine) want(args ...string) ran {
	m.Helper()
	r := m.dkms(args...)
	if r.code != 0 {
		m.Fatalf("dkms %v = %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r
}

// save keeps a copy of the machine under a name; back makes the machine that
// copy. The path of the machine stays the same, for there are links to it.
func (m *machine) save(name string) {
	m.Helper()
	m.must(os.RemoveAll(filepath.Join(m.dir, name)))
	m.copyTree(m.root, filepath.Join(m.dir, name))
}

func (m *machine) back(name string) {
	m.Helper()
	m.must(os.RemoveAll(m.root))
	m.copyTree(filepath.Join(m.dir, name), m.root)
}

func (m *machine) copyTree(from, to string) {
	m.Helper()
	if out, err := exec.Command("cp", "-a", "--reflink=auto", from, to).CombinedOutput(); err != nil {
		m.Fatalf("cp: %v\n%s", err, out)
	}
}

// walk visits everything below the root that is not a directory.
func (m *machine) walk(dir string, visit func(rel string, d fs.DirEntry)) {
	m.Helper()
	m.must(filepath.WalkDir(m.path(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(m.root, path)
		if err == nil && rel != "." {
			visit(rel, d)
		}
		return err
	}))
}

func (m *machine) digest(rel string) string {
	m.Helper()
	data, err := os.ReadFile(m.path(rel))
	m.must(err)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

// modules are the module files of all kernels with their digests, a line each.
func (m *machine) modules() string {
	m.Helper()
	var list []string
	m.walk("lib/modules", func(rel string, d fs.DirEntry) {
		if _, _, ok := module.ParseSuffix(rel); !ok || d.IsDir() {
			return
		}
		if to, err := os.Readlink(m.path(rel)); err == nil {
			list = append(list, rel+" -> "+to)
			return
		}
		list = append(list, rel+" "+m.digest(rel))
	})
	return strings.Join(list, "\n")
}

// picture is everything that the next command may depend on: what the kernels
// have, what the dkms tree holds and what status says of it. Files that tell
// of times are listed by name.
func (m *machine) picture() string {
	m.Helper()
	list := []string{m.modules()}
	for _, dir := range []string{"lib/modules", "var/lib/dkms", "usr/src", "etc", "tmp"} {
		if !system.IsDir(m.path(dir)) {
			continue
		}
		m.walk(dir, func(rel string, d fs.DirEntry) {
			to, err := os.Readlink(m.path(rel))
			_, _, ko := module.ParseSuffix(rel)
			switch {
			case strings.HasPrefix(rel, "var/lib/dkms/.history"), strings.HasPrefix(rel, "var/lib/dkms/.kept"):
				// What was interrupted is on record as such, and nothing depends on it.
			case strings.HasPrefix(d.Name(), ".failure-"), d.Name() == ".log", strings.Contains(rel, "/.log/"):
				// What failed once is remembered, and nothing depends on it.
			case strings.HasPrefix(rel, "var/lib/dkms/.headers-"), strings.HasPrefix(rel, "var/lib/dkms/.index-"):
				// They only save time, and are made by the next run.
			case d.IsDir() && strings.HasPrefix(rel, "var/lib/dkms/") && d.Name() == "build":
				// What is in it counts.
			case err == nil:
				list = append(list, rel+" -> "+to)
			case ko && !d.IsDir():
				list = append(list, rel+" "+m.digest(rel))
			case d.IsDir():
				list = append(list, rel+"/")
			default:
				list = append(list, rel)
			}
		})
	}
	s := m.dkms("status")
	return strings.Join(append(list, fmt.Sprint("status ", s.code), s.stdout, s.stderr), "\n")
}
