package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkms/pkg/cli"
	"dkms/pkg/system"
)

// release is the kernel of all machines, but where a test says otherwise.
const release = "6.9.1-fake"

// need ends a test that lacks a program: as a failure in CI, which has to
// install it, and as a skip elsewhere.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", p)
		}
		t.Skipf("%s is not installed", p)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output runs a program that must end well.
func output(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// machine is a root with trees of its own.
type machine struct {
	t    testing.TB
	root string
	// out and err are what the last command printed.
	out, err string
}

// newMachine lays down a machine of the distribution Debian with one kernel.
func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	for _, dir := range []string{"etc/dkms", "usr/src", "var/lib", "lib/modules", "boot", "tmp"} {
		must(t, os.MkdirAll(m.path(dir), 0o755))
	}
	m.write("etc/os-release", "ID=debian\n")
	return m
}

// fakeKernel gives the machine a kernel that builds in no time.
func (m *machine) fakeKernel(release string) *machine {
	m.t.Helper()
	output(m.t, "../fakekernel/install.sh", m.root, release)
	return m
}

// withoutHeaders makes sure that nothing can be built.
func (m *machine) withoutHeaders() *machine {
	m.t.Helper()
	must(m.t, os.Remove(m.path("lib/modules", release, "build")))
	must(m.t, os.RemoveAll(m.path("usr/src/linux-headers-"+release)))
	return m
}

func (m *machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.root}, parts...)...)
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	must(m.t, os.MkdirAll(filepath.Dir(m.path(path)), 0o755))
	must(m.t, os.WriteFile(m.path(path), []byte(text), 0o644))
}

// sources registers a module of one file.
func (m *machine) sources(name, version string) *machine {
	m.t.Helper()
	dir := "usr/src/" + name + "-" + version
	m.write(dir+"/dkms.conf", fmt.Sprintf("PACKAGE_NAME=%s\nPACKAGE_VERSION=%s\nBUILT_MODULE_NAME[0]=%[1]s\n"+
		"DEST_MODULE_LOCATION[0]=/kernel/extra\nAUTOINSTALL=yes\n", name, version))
	m.write(dir+"/Makefile", "obj-m := "+name+".o\n")
	m.write(dir+"/"+name+".c", "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nMODULE_VERSION(\""+version+"\");\n"+
		"static int start(void) { return 0; }\nmodule_init(start);\n")
	m.dkms(0, "add", name+"/"+version)
	return m
}

// dkms runs the program on the machine and wants it to end with a status.
func (m *machine) dkms(status int, words ...string) {
	m.t.Helper()
	m.runFor(release, status, words...)
}

func (m *machine) runFor(release string, status int, words ...string) {
	m.t.Helper()
	h := system.ThisHost(nil)
	h.Root.Dir, h.Dir, h.Release, h.Machine, h.Chroot = m.root, m.root, release, "x86_64", func() bool { return false }
	var out, err bytes.Buffer
	code := cli.Main(system.Process{Host: h, Args: words, In: strings.NewReader(""), Out: &out, Err: &err})
	m.out, m.err = out.String(), err.String()
	if code != status {
		m.t.Fatalf("dkms %s = status %d; want %d\n%s%s", strings.Join(words, " "), code, status, m.out, m.err)
	}
}

// says wants the last command to have said each of the texts.
func (m *machine) says(texts ...string) {
	m.t.Helper()
	for _, text := range texts {
		if !strings.Contains(m.err, text) {
			m.t.Errorf("it does not say %q but\n%s", text, m.err)
		}
	}
}

// silentAbout wants the last command not to have said any of the texts.
func (m *machine) silentAbout(texts ...string) {
	m.t.Helper()
	for _, text := range texts {
		if strings.Contains(m.err, text) {
			m.t.Errorf("it says %q:\n%s", text, m.err)
		}
	}
}

// status wants dkms status to print these lines.
func (m *machine) status(lines ...string) {
	m.t.Helper()
	m.dkms(0, "status")
	if want := strings.Join(lines, "\n") + "\n"; m.out != want {
		m.t.Errorf("dkms status = %q; want %q", m.out, want)
	}
}

// snapshot describes every file of the machine, for comparison.
func (m *machine) snapshot() map[string]string {
	files := map[string]string{}
	must(m.t, filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			must(m.t, err)
			text += string(data)
		}
		if d.Name() != ".lock" {
			files[path] = text
		}
		return nil
	}))
	return files
}

// unchanged wants a command to fail, to say why, and to leave everything as it
// was.
func (m *machine) unchanged(status int, why string, words ...string) {
	m.t.Helper()
	before := m.snapshot()
	m.dkms(status, words...)
	m.says(why)
	after := m.snapshot()
	for path, text := range after {
		if before[path] != text {
			m.t.Errorf("dkms %s changed %s", strings.Join(words, " "), path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			m.t.Errorf("dkms %s deleted %s", strings.Join(words, " "), path)
		}
	}
}

// registry is a running docker-registry.
type registry struct{ addr, store string }

// startRegistry runs a registry on a free port of the loopback interface until
// the test ends.
func startRegistry(t testing.TB) *registry {
	t.Helper()
	need(t, "docker-registry", "skopeo")
	dir := t.TempDir()
	r := &registry{addr: freeAddr(t), store: filepath.Join(dir, "store")}
	config := filepath.Join(dir, "config.yml")
	must(t, os.WriteFile(config, []byte(fmt.Sprintf("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n", r.store, r.addr)), 0o644))
	var said bytes.Buffer
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	for tick := time.Tick(20 * time.Millisecond); ; {
		if c, err := net.Dial("tcp", r.addr); err == nil {
			c.Close()
			return r
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("docker-registry: %v\n%s", err, said.String())
		case <-tick:
		case <-t.Context().Done():
			t.Fatal("docker-registry does not answer")
		}
	}
}

// freeAddr is an address of the loopback interface where nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// ref is an image of the registry.
func (r *registry) ref(tag string) string { return "docker://" + r.addr + "/fleet/modules:" + tag }

// push copies an image in a directory of the machine into the registry.
func (r *registry) push(m *machine, dir, tag string) {
	m.t.Helper()
	output(m.t, "skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:"+m.path(dir), r.ref(tag))
}

// tamper changes a byte in the middle of the largest blob that the registry
// holds.
func (r *registry) tamper(t testing.TB) {
	t.Helper()
	blobs, _ := filepath.Glob(filepath.Join(r.store, "docker/registry/v2/blobs/sha256/*/*/data"))
	largest, size := "", int64(0)
	for _, b := range blobs {
		st, err := os.Stat(b)
		must(t, err)
		if st.Size() > size {
			largest, size = b, st.Size()
		}
	}
	if largest == "" {
		t.Fatal("the registry holds nothing")
	}
	flip(t, largest, size/2)
}

func flip(t testing.TB, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 0x55
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Close()))
}

// stopwatch adds up how long things take.
type stopwatch struct{ total time.Duration }

func (s *stopwatch) time(do func()) {
	start := time.Now()
	do()
	s.total += time.Since(start)
}

func (s *stopwatch) seconds() float64 { return s.total.Seconds() }
