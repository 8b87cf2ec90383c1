package hostile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/system"
)

// scores counts attacks.
type scores struct{ tried, held atomic.Int32 }

var (
	score scores
	// program is the dkms that is attacked. HOSTILE_DKMS names another one, to
	// see what an older commit did.
	program string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	if program = os.Getenv("HOSTILE_DKMS"); program == "" {
		dir, err := os.MkdirTemp("", "hostile")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "dkms")
		cmd := exec.Command("go", "build", "-o", program, "../../oneshot")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
			return 1
		}
	}
	code := m.Run()
	fmt.Printf("attacks: %d tried, %d held\n", score.tried.Load(), score.held.Load())
	return code
}

// attack runs one attack on a machine of its own. do returns what the attacker
// has reached; nothing is that the attack was held.
func attack(t *testing.T, name string, do func(m *machine) (reached string)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		m := newMachine(t)
		score.tried.Add(1)
		if reached := do(m); reached != "" {
			t.Fatalf("the attacker has reached: %s\n%s", reached, m.said.String())
		}
		if !t.Failed() {
			score.held.Add(1)
		}
	})
}

// kernelRelease is the kernel of every machine.
const kernelRelease = "6.9.1-fake"

// machine is a Debian system with one kernel, in a directory.
type machine struct {
	t *testing.T
	// dir is what the machine has as its root.
	dir string
	// mounted makes the root of the machine a mount point.
	mounted bool
	// said is everything that commands of the machine have printed.
	said strings.Builder
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

func newMachine(t *testing.T) *machine {
	t.Helper()
	need(t, os.Getuid() == 0, "this needs root")
	need(t, build.Probe(context.Background(), system.NewRunner(system.ThisHost(nil))) == nil, "builds cannot be isolated here")
	for _, p := range []string{"script", "setpriv", "unshare", "chroot", "gcc", "make"} {
		_, err := exec.LookPath(p)
		need(t, err == nil, p+" is not installed")
	}
	m := &machine{t: t, dir: filepath.Join(t.TempDir(), "root"), mounted: true}
	for above := m.dir; above != os.TempDir() && above != "/"; above = filepath.Dir(above) {
		m.check(os.MkdirAll(above, 0o755))
		m.check(os.Chmod(above, 0o755)) // machines are open to their users
	}
	m.lay()
	return m
}

func (m *machine) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// lay lays the machine down: programs and libraries are those of the host, all
// that dkms reads and writes is the machine's own.
func (m *machine) lay() {
	m.t.Helper()
	fake, err := filepath.Abs("../fakekernel/install.sh")
	m.check(err)
	out, err := exec.Command("sh", "-ec", `
		cd "$1"
		mkdir -p usr proc sys dev etc/dkms var/lib var/tmp var/cache run root tmp home src lib/modules kernel
		for d in bin sbin lib lib32 lib64 libx32; do [ ! -L /$d ] || { rm -rf ./$d; ln -s "$(readlink /$d)" $d; }; done
		chmod 1777 tmp var/tmp; chmod 700 root
		for f in alternatives ld.so.cache ld.so.conf ld.so.conf.d passwd group nsswitch.conf; do [ ! -e /etc/$f ] || cp -a /etc/$f etc/; done
		echo ID=debian >etc/os-release
		echo 'root:secret of the machine:1::::::' >etc/shadow; chmod 600 etc/shadow
		cp "$2" dkms
		sh "$3" "$1/kernel" `+kernelRelease+`
		ln -sfn /usr/src/linux-headers-`+kernelRelease+` kernel/lib/modules/`+kernelRelease+`/build
	`, "sh", m.dir, program, fake).CombinedOutput()
	if err != nil {
		m.t.Fatalf("laying down the machine: %v\n%s", err, out)
	}
}

// mounts makes the file systems of the machine, in a namespace of its own, and
// runs what follows in it. The sources and the kernel are its own directories.
const mounts = `
cd "$DIR"
[ -z "$MOUNTED" ] || { mount --bind . . && cd "$DIR"; }
mount --rbind /usr usr && mount --bind kernel/usr/src usr/src && mount --bind kernel/lib/modules usr/lib/modules
mount -t proc proc proc && mount --rbind /sys sys && mount --rbind /dev dev
exec chroot . bash -c "$SCRIPT"
`

// patience is how long a command may take.
const patience = time.Minute

// run runs a bash script as root of the machine, and returns what it says.
func (m *machine) run(script string) string {
	m.t.Helper()
	out, err := m.command(script).CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	fmt.Fprintf(&m.said, "$ %s\n%s", script, out)
	return string(out)
}

func (m *machine) command(script string) *exec.Cmd {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	m.t.Cleanup(stop)
	cmd := exec.CommandContext(ctx, "unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-ec", mounts)
	mounted := ""
	if m.mounted {
		mounted = "yes"
	}
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb", "DIR=" + m.dir, "MOUNTED=" + mounted, "SCRIPT=" + script}
	return cmd
}

// path is where a file of the machine lies.
func (m *machine) path(file string) string {
	if rest, ok := strings.CutPrefix(file, "/usr/src/"); ok {
		return filepath.Join(m.dir, "kernel/usr/src", rest)
	}
	if rest, ok := strings.CutPrefix(file, "/lib/modules/"); ok {
		return filepath.Join(m.dir, "kernel/lib/modules", rest)
	}
	return filepath.Join(m.dir, file)
}

// write makes a file of the machine.
func (m *machine) write(file, text string, mode os.FileMode) {
	m.t.Helper()
	m.check(os.MkdirAll(filepath.Dir(m.path(file)), 0o755))
	m.check(os.WriteFile(m.path(file), []byte(text), mode))
	m.check(os.Chmod(m.path(file), mode))
}

// read is a file of the machine; one that is not there is empty.
func (m *machine) read(file string) string {
	data, _ := os.ReadFile(m.path(file))
	return string(data)
}

// pack makes the sources of the module evil, version 1.0. Its PRE_BUILD is the
// bash script pre; lines are added to its dkms.conf.
func (m *machine) pack(pre string, lines ...string) {
	m.t.Helper()
	const dir = "/usr/src/evil-1.0/"
	conf := append([]string{
		"PACKAGE_NAME=evil", "PACKAGE_VERSION=1.0", "BUILT_MODULE_NAME=evil", "DEST_MODULE_LOCATION=/kernel/extra", "AUTOINSTALL=yes",
	}, lines...)
	if pre != "" {
		conf = append(conf, "PRE_BUILD=pre.sh")
		m.write(dir+"pre.sh", "#!/bin/bash\n"+pre+"\n", 0o755)
	}
	m.write(dir+"dkms.conf", strings.Join(conf, "\n")+"\n", 0o644)
	m.write(dir+"Makefile", "obj-m := evil.o\n", 0o644)
	m.write(dir+"evil.c", "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n", 0o644)
}

// tool puts a C program into the sources, as ./NAME, which PRE_BUILD may run.
func (m *machine) tool(name, source string) {
	m.t.Helper()
	file := m.path("/usr/src/evil-1.0/" + name)
	m.check(os.MkdirAll(filepath.Dir(file), 0o755))
	m.check(os.WriteFile(file+".c", []byte(source), 0o644))
	if out, err := exec.Command("gcc", "-static", "-o", file, file+".c").CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// buildCommand builds the package.
const buildCommand = "/dkms build evil/1.0 -k " + kernelRelease

// log is what the build has logged, wherever the log is.
func (m *machine) log() string {
	m.t.Helper()
	for _, file := range []string{"/var/lib/dkms/evil/1.0/build/make.log", "/var/lib/dkms/evil/1.0/" + kernelRelease + "/x86_64/log/make.log"} {
		if text := m.read(file); text != "" {
			return text
		}
	}
	m.t.Fatalf("there is no log of the build:\n%s", m.said.String())
	return ""
}

// begun makes sure that the attacker's program has run: without it nothing is
// held.
func (m *machine) begun() string {
	m.t.Helper()
	log := m.log()
	if !strings.Contains(log, "begun\n") {
		m.t.Fatalf("the attack has not begun:\n%s\n%s", m.said.String(), log)
	}
	return log
}
