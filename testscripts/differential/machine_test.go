//go:build differential

package differential

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// machine is a chroot with a shell waiting in it. Everything that commands may
// change lies in memory, in a mount namespace of the machine's own, so several
// machines can share one chroot and nothing is left behind.
type machine struct {
	name  string
	root  string // the machine's root directory, as seen from here
	stdin io.WriteCloser
	reply *bufio.Reader
}

// volatile are the directories that are in memory.
const volatile = "tmp var/tmp var/lib/dkms usr/lib/modules usr/src etc/dkms root"

const enter = `set -e
mkdir -p "$0/usr/lib/modules"
mount -t proc proc "$0/proc"
for dir in ` + volatile + `; do mount -t tmpfs tmpfs "$0/$dir"; done
cd "$0"
cp usr/lib/os-release tmp/os-release
mount --bind tmp/os-release usr/lib/os-release
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 chroot . bash`

// boot starts a machine and lays down the kernels and packages. It ends with
// the test.
func boot(t *testing.T, name, chroot string) *machine {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "sh", "-c", enter, chroot)
	stdin, err := cmd.StdinPipe()
	check(t, err)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	m := &machine{name: name, stdin: stdin, reply: bufio.NewReader(stdout), root: fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)}
	m.must(t, "true")
	check(t, run("cp", "-a", "../fakekernel", m.root+"/tmp/fakekernel"))
	check(t, layPackages(m.root))
	m.must(t, furnish)
	return m
}

// furnish makes the kernels and puts a copy of everything aside. The original
// wants the kernel's .config as well. One kernel has a module that is in the
// way of the package "manual". The scripts of "hooks" write to the host, which
// ours allows builds only without isolation.
var furnish = `set -e
printf 'try_sign_modules="false"\nsign_file="/nonexistent"\n' >/etc/dkms/framework.conf
echo 'BUILD_SANDBOX="no"' >/etc/dkms/hooks.conf
sh /tmp/fakekernel/install.sh / ` + plainKernel + `
sh /tmp/fakekernel/install.sh / ` + xzKernel + ` .xz
for headers in /usr/src/linux-headers-*; do cp "$headers/include/config/auto.conf" "$headers/.config"; done
install -D -m 644 /lib/modules/` + plainKernel + `/kernel/fs/fakefs.ko /lib/modules/` + plainKernel + `/extra/manual.ko
depmod ` + plainKernel + `
mkdir /tmp/pristine
cp -a /usr/src /usr/lib/modules /etc/dkms /tmp/pristine`

// reset makes the machine as it was after furnish, with the distribution $1.
const reset = `set -e
echo "ID=$1" >/usr/lib/os-release
find /var/lib/dkms /usr/lib/modules /usr/src /root /var/tmp /etc/dkms -mindepth 1 -maxdepth 1 -exec rm -rf {} +
cp -a /tmp/pristine/src/. /usr/src
cp -a /tmp/pristine/modules/. /usr/lib/modules
cp -a /tmp/pristine/dkms/. /etc/dkms
cp -a /usr/src/plain-1.0 /root/plain-1.0`

// limit is the number of seconds that no command needs.
const limit = 60

// exec runs a line of shell and returns its exit status and what it wrote.
func (m *machine) exec(line string, args ...string) (result, error) {
	words := ""
	for _, arg := range append([]string{line, "sh"}, args...) {
		words += " " + quote(arg)
	}
	script := fmt.Sprintf("timeout %d bash -c%s </dev/null >/tmp/stdout 2>/tmp/stderr; echo $?\n", limit, words)
	if _, err := io.WriteString(m.stdin, script); err != nil {
		return result{}, fmt.Errorf("%s: %w", m.name, err)
	}
	reply, err := m.reply.ReadString('\n')
	if err != nil {
		return result{}, fmt.Errorf("%s: %s: %w", m.name, line, err)
	}
	status, err := strconv.Atoi(strings.TrimSpace(reply))
	if err != nil {
		return result{}, fmt.Errorf("%s: %w", m.name, err)
	}
	stdout, err := os.ReadFile(filepath.Join(m.root, "tmp/stdout"))
	if err != nil {
		return result{}, err
	}
	stderr, err := os.ReadFile(filepath.Join(m.root, "tmp/stderr"))
	return result{status, string(stdout), string(stderr)}, err
}

// result is how a command ended.
type result struct {
	exit           int
	stdout, stderr string
}

func (m *machine) must(t *testing.T, line string) {
	t.Helper()
	r, err := m.exec(line)
	check(t, err)
	if r.exit != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", m.name, r.exit, r.stdout, r.stderr)
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
