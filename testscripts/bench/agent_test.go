//go:build bench

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// agentRoot is the variable that makes the test program the agent of a machine:
// it moves into the directory and runs what it is asked to, since a clock
// outside would count the way in.
const agentRoot = "BENCH_AGENT"

// agentWhole says that the machine has everything of its own, kernels included,
// and may change all of it.
const agentWhole = "BENCH_WHOLE"

func TestMain(m *testing.M) {
	root := os.Getenv(agentRoot)
	if root == "" {
		os.Exit(m.Run())
	}
	if err := agent(root, os.Getenv(agentWhole) != ""); err != nil {
		fmt.Fprintf(os.Stderr, "agent in %s: %v\n", root, err)
		os.Exit(1)
	}
}

// request is one program to run. Keep asks for what it writes, Memory for the
// most memory that it has taken itself.
type request struct {
	Argv         []string
	Keep, Memory bool
}

// reply is how it went. CPU is the processor time of the program and of those
// that it has started.
type reply struct {
	Took, CPU      time.Duration
	Exit           int
	Memory         int64
	Stdout, Stderr string
}

// volatile are the directories that are in memory, and new for every machine.
var volatile = []string{"tmp", "var/tmp", "var/lib/dkms", "usr/lib/modules", "usr/src", "etc/dkms", "root"}

// agent has a mount namespace of its own to begin with.
func agent(root string, whole bool) error {
	move := enter
	if whole {
		move = enterWhole
	}
	if err := move(root); err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r request
		switch err := in.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		answer, err := perform(r)
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

// enter makes root the root directory, with the headers of this machine.
func enter(root string) error {
	errs := []error{mount(root, root, "", unix.MS_BIND, "")}
	for _, dir := range volatile {
		errs = append(errs, mount("tmpfs", filepath.Join(root, dir), "tmpfs", 0, ""))
	}
	shared, _ := filepath.Glob("/usr/src/linux-headers-*")
	kbuild, _ := filepath.Glob("/usr/lib/linux-kbuild-*")
	for _, dir := range append(shared, kbuild...) {
		errs = append(errs, mount(dir, filepath.Join(root, dir), "", unix.MS_BIND, ""))
	}
	return errors.Join(errors.Join(errs...), pivot(root))
}

// enterWhole makes root the root directory, below a layer that is in memory.
func enterWhole(root string) error {
	temp := filepath.Join(root, "mnt")
	top := filepath.Join(temp, "root")
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", root, temp)
	return errors.Join(
		mount("tmpfs", temp, "tmpfs", 0, ""),
		os.MkdirAll(filepath.Join(temp, "upper"), 0o755), os.MkdirAll(filepath.Join(temp, "work"), 0o755),
		mount("overlay", top, "overlay", 0, layers), pivot(top))
}

func mount(what, on, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(on, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(what, on, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", on, err)
	}
	return nil
}

// pivot makes a mount point the root directory. It has to be a real one: a build
// in isolation moves its own root, which a chroot does not allow.
func pivot(root string) error {
	err := errors.Join(
		mount("proc", filepath.Join(root, "proc"), "proc", 0, ""),
		mount("/dev", filepath.Join(root, "dev"), "", unix.MS_BIND, ""))
	if err != nil {
		return err
	}
	if err := unix.PivotRoot(root, filepath.Join(root, "mnt")); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Unmount("/mnt", unix.MNT_DETACH)
}

func perform(r request) (reply, error) {
	cmd := exec.Command(r.Argv[0], r.Argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	cmd.Dir = "/root"
	var stdout, stderr bytes.Buffer
	if r.Keep {
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return reply{}, err
	}
	ended, peak := make(chan struct{}), make(chan int64)
	if r.Memory {
		go watch(cmd.Process.Pid, ended, peak)
	}
	err := cmd.Wait()
	a := reply{Took: time.Since(begun), Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	a.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	close(ended)
	if r.Memory {
		a.Memory = <-peak
	}
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return a, err
	}
	return a, nil
}

// watch looks at the peak of a process's memory until it ends. What the system
// says afterwards counts the compilers that the process has started.
func watch(pid int, ended <-chan struct{}, peak chan<- int64) {
	var most int64
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			peak <- most
			return
		case <-tick.C:
			most = max(most, peakOf(pid))
		}
	}
}

// peakOf is VmHWM of proc(5), in bytes.
func peakOf(pid int) int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	n, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return n << 10
}
