//go:build vm

package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkms/testscripts/chroot"
)

const (
	qemu        = "qemu-system-x86_64"
	systemdInit = "/lib/systemd/systemd"
	openrcInit  = "/sbin/init"
	// patience is the limit of a boot, for a host that has much else to do.
	patience = 20 * time.Minute
)

// machine is a disk that can be booted again and again.
type machine struct {
	t     *testing.T
	image image
	dir   string
	disk  string
	boots int
}

// boot says how a machine is booted.
type boot struct {
	init    string
	release string            // default: the first kernel of the image
	first   []string          // directories of sources to register; nil except at the first boot
	pre     string            // the script below guest/jobs that runs before init; default: pre.sh at the first boot
	job     string            // the script that runs when everything is up
	files   map[string]string // more files that the job finds in /run/vm
	cmdline string            // more of the kernel's command line
	args    []string          // more of qemu's command line, -kernel among it for firmware
	limit   time.Duration
	cut     time.Duration // not 0: the power is cut that long after the job has reported "verified"
	esp     string        // the disk with the EFI system partition, for a loader that starts the kernel that it wants
	tools   string        // a directory that is laid over the disk at the first boot
	loader  bool          // the firmware starts shim from a disk, shim grub, and grub the kernel
	keys    []answer      // what somebody types at the console; the machine then restarts, and no job runs
}

// answer is what somebody types who sees a text on the console.
type answer struct{ text, keys string }

// newMachine makes a machine with a disk of its own. What its boots leave, the
// consoles and the reports, stays until the next run of the test.
func newMachine(t *testing.T, i image) *machine {
	t.Helper()
	dir := filepath.Join(i.dir, filepath.Base(t.Name()))
	chroot.Check(t, os.RemoveAll(dir))
	chroot.Check(t, os.MkdirAll(dir, 0o755))
	m := &machine{t: t, image: i, dir: dir, disk: filepath.Join(dir, "disk.ext4")}
	t.Cleanup(func() { os.Remove(m.disk) })
	chroot.Check(t, chroot.Run("cp", "--sparse=always", "--reflink=auto", i.disk, m.disk))
	return m
}

// boot runs the machine until it powers itself off and gives its report. A
// machine that is not off in time is cut off and fails the test.
func (m *machine) boot(b boot) report {
	m.t.Helper()
	m.boots++
	if b.release == "" {
		b.release = m.image.releases[0]
	}
	m.payload(b)
	console, results := m.path("console"), m.path("results")
	args := append(m.arguments(b, console, results), b.args...)
	if b.loader {
		args = append(args, "-drive", "if=virtio,format=raw,readonly=on,file=fat:"+m.image.loader(m.t, b.release, m.commandLine(b)))
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), b.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, args...)
	// The machine does not outlive the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if b.cut > 0 {
		go cutPower(ctx, cancel, results, b.cut)
	}
	typed := make(chan error, 1)
	if b.keys != nil {
		go func() { typed <- typeAnswers(ctx, console+".socket", b.keys) }()
	} else {
		typed <- nil
	}
	out, err := cmd.CombinedOutput()
	chroot.Check(m.t, errors.Join(os.RemoveAll(m.path("payload")), os.Remove(m.path("payload.tar"))))
	m.t.Logf("boot %d of %s by %s took %.0f s", m.boots, b.release, b.init, time.Since(start).Seconds())
	r := readReport(m.t, results)
	if data, err := os.ReadFile(console); err == nil {
		r.sections["console"] = section{text: strings.ReplaceAll(string(data), "\r", "")}
	}
	if b.cut > 0 && r.has("verified") {
		return r
	}
	if b.keys != nil {
		if missed := errors.Join(err, <-typed); missed != nil {
			m.t.Errorf("FAIL boot %d: %v %s\nconsole: %s", m.boots, missed, out, tail(console))
		}
		return r
	}
	if err != nil || !r.has("job") {
		m.t.Errorf("FAIL boot %d: the job did not end in %s: %v %s\nresults: %s\nconsole: %s",
			m.boots, b.limit, err, out, tail(results), tail(console))
	}
	return r
}

// cutPower waits for the job's report, and then some.
func cutPower(ctx context.Context, cut func(), results string, after time.Duration) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !readReport(nil, results).has("verified") {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(after):
		cut()
	}
}

// payload writes the disk with what this boot brings along: a tar file.
func (m *machine) payload(b boot) {
	m.t.Helper()
	dir := m.path("payload")
	chroot.Check(m.t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	from := map[string]string{"agent": "guest/lib/agent", "job": "guest/jobs/" + b.job}
	jobs, err := filepath.Glob("guest/jobs/*")
	chroot.Check(m.t, err)
	for _, job := range jobs {
		from[filepath.Base(job)] = job
	}
	if b.pre != "" {
		from["pre"] = "guest/jobs/" + b.pre
	}
	if b.first != nil {
		if b.pre == "" {
			from["pre"] = "guest/jobs/pre.sh"
		}
		chroot.Check(m.t, chroot.Run("cp", "-a", m.image.ours(b.init), filepath.Join(dir, "root")))
		if b.tools != "" {
			chroot.Check(m.t, chroot.Run("cp", "-a", b.tools+"/.", filepath.Join(dir, "root")))
		}
		for _, source := range b.first {
			chroot.Check(m.t, chroot.Run("cp", "-a", source, filepath.Join(dir, "src")))
		}
	}
	if b.init == openrcInit {
		chroot.Check(m.t, os.WriteFile(filepath.Join(dir, "openrc"), nil, 0o644))
	}
	for name, path := range from {
		data, err := os.ReadFile(path)
		chroot.Check(m.t, err)
		chroot.Check(m.t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	for name, text := range b.files {
		chroot.Check(m.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	chroot.Check(m.t, chroot.Run("tar", "-C", dir, "--owner=0", "--group=0", "-cf", m.path("payload.tar"), "."))
}

func (m *machine) arguments(b boot, console, results string) []string {
	drive := "if=virtio,format=raw,file="
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", "1G",
		"-nodefaults", "-no-reboot", "-display", "none", "-nic", "none", "-device", "edu",
		"-chardev", "socket,id=console,server=on,wait=off,path=" + console + ".socket,logfile=" + console,
		"-serial", "chardev:console", "-serial", "file:" + results,
		"-drive", drive + m.disk, "-drive", drive + m.path("payload.tar") + ",readonly=on",
	}
	if b.esp != "" {
		return append(args, "-drive", "if=virtio,format=raw,file="+b.esp)
	}
	if b.loader {
		return args
	}
	return append(args, "-kernel", m.image.kernel(b.release), "-initrd", m.image.initramfs(b.release), "-append", m.commandLine(b))
}

// commandLine is the kernel's.
func (m *machine) commandLine(b boot) string {
	return strings.Join([]string{"console=ttyS0 panic=-1 systemd.unit=vm.target vm.init=" + b.init, b.cmdline}, " ")
}

// path names a file of this boot.
func (m *machine) path(name string) string {
	return filepath.Join(m.dir, fmt.Sprintf("%d-%s", m.boots, name))
}

// report is what a guest has sent: what a section's command said, and how it
// ended.
type report struct {
	t        testing.TB
	sections map[string]section
}

type section struct {
	text   string
	status int
}

func readReport(t testing.TB, path string) report {
	data, _ := os.ReadFile(path)
	r := report{t, map[string]section{}}
	name, text := "", ""
	for line := range strings.Lines(strings.ReplaceAll(string(data), "\r", "")) {
		mark := strings.TrimSuffix(line, "\n")
		if begun, ok := strings.CutPrefix(mark, "=== begin "); ok {
			name, text = begun, ""
		} else if ended, ok := strings.CutPrefix(mark, "=== end "+name+" "); ok && name != "" {
			status, err := strconv.Atoi(ended)
			if err == nil {
				r.sections[name] = section{strings.TrimSpace(text), status}
			}
		} else {
			text += line
		}
	}
	return r
}

func (r report) has(name string) bool {
	_, ok := r.sections[name]
	return ok
}

// get is a section. One that never ran is a failure: it has no text and the
// status of success.
func (r report) get(name string) section {
	r.t.Helper()
	s, ok := r.sections[name]
	if !ok {
		r.t.Errorf("FAIL the section %q is not in the report", name)
	}
	return s
}

// field finds KEY=VALUE in a section.
func (r report) field(name, key string) string {
	for line := range strings.Lines(r.get(name).text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return value
		}
	}
	return ""
}

// number is a field that is a number of microseconds, in seconds.
func (r report) seconds(name, key string) float64 {
	n, _ := strconv.ParseFloat(r.field(name, key), 64)
	return n / 1e6
}

func tail(path string) string {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	return string(data[max(0, len(data)-3000):])
}
