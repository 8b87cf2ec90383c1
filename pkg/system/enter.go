package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
)

// The toolchains that [Process.Enter] knows by name; any other is the root
// directory of a system with a toolchain.
const (
	ToolsOfHost = "host" // the programs of this machine
	ToolsOfRoot = "root" // the programs of the system that is entered
)

// enteredBy is the environment variable by which a process that enters another
// system tells itself the descriptors of the directories that it works on.
const enteredBy = "DKMS_ENTERED"

// toolsOf is the environment variable with the toolchain of that process.
const toolsOf = "DKMS_TOOLCHAIN"

// Enter makes the system below dir the system that the process works on, as
// chroot(2) does: every path, and every link in it, leads to a file of that
// system. Nothing of the running machine is visible but the programs of
// toolchain, which [Runner] starts, and processors and memory. With an empty
// toolchain, the system's own programs are used if they are there and run on
// this machine, and otherwise those of this machine.
//
// Enter mounts in a mount namespace of its own, so that nothing is left behind,
// and then executes this program again: on success, the first call does not
// return. dir must belong to root, and Linux must be 5.12 or later. If dir is
// the root of this machine, nothing changes.
func (p Process) Enter(dir, toolchain string) (Process, error) {
	if list := p.Host.Env[enteredBy]; list != "" {
		return p.arrive(list)
	}
	dir = p.Host.Abs(dir)
	if same, err := isRoot(dir); err != nil || same {
		return p, err
	}
	if p.Host.UID != 0 {
		return p, exit.Errorf(exit.Usage, "--root mounts what it needs: only root may do that").WithHint("sudo dkms %s", strings.Join(p.Args, " "))
	}
	if err := errors.Join(checkOwner(dir), checkPlaces(dir)); err != nil {
		return p, err
	}
	runtime.LockOSThread() // never unlocked: this thread has other mounts than the process
	err := depart(dir, toolchain, p.Host)
	if refused, ok := errors.AsType[*JailError](err); ok {
		return p, exit.Errorf(exit.Usage, "--root %s: %w", dir, refused).WithHint("--root needs CAP_SYS_ADMIN and Linux 5.12: run it outside of the container, or chroot to %s", dir)
	}
	return p, err
}

func isRoot(dir string) (bool, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return false, exit.Errorf(exit.Usage, "--root: %w", err)
	}
	if !st.IsDir() {
		return false, exit.Errorf(exit.Usage, "--root: %s is not a directory", dir).WithHint("mount an image first, and name the directory where it is mounted")
	}
	own, err := os.Stat("/")
	return err == nil && os.SameFile(st, own), err
}

// checkOwner refuses a system whose files belong to another user: new files
// would belong to root, and the owner could not use them as root of the system.
func checkOwner(dir string) error {
	for _, name := range []string{"usr", "lib", "etc"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if uid := owner(st); uid != 0 {
			return exit.Errorf(exit.Usage, "--root: %s belongs to user %d, so root's files in it would not be those of its root", filepath.Join(dir, name), uid).
				WithHint("run dkms in the user namespace in which user %d is root", uid)
		}
		return nil
	}
	return exit.Errorf(exit.Usage, "--root: %s holds no system: it has neither usr nor etc", dir)
}

// checkPlaces makes sure that a system has the directories to mount things on.
func checkPlaces(dir string) error {
	for _, name := range []string{"proc", "dev", "run", "tmp"} {
		path := filepath.Join(dir, name)
		if st, err := os.Lstat(path); err != nil || !st.IsDir() {
			return exit.Errorf(exit.Usage, "--root: %s is not a directory: the system is not complete", path).WithHint("rm -f %s; mkdir %[1]s", path)
		}
	}
	return nil
}

// mountsAt is the directory that is covered, in the mount namespace of a process
// that enters another system, by the directories that the process needs.
const mountsAt = "/tmp"

// outside is the directory in the entered system with the files of the running
// machine.
const outside = "/run/host"

// depart makes the mounts and executes this program again.
func depart(dir, toolchain string, h Host) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return &JailError{"a mount namespace", err}
	}
	if err := ownRoot(); err != nil {
		return err
	}
	system, err := cloneTree(dir)
	if err != nil {
		return err
	}
	host, err := cloneTree("/")
	if err != nil {
		return err
	}
	from := toolchain
	switch {
	case toolchain == "" && runsHere(system), toolchain != "" && toolchain != ToolsOfHost && sameDir(h.Abs(toolchain), dir):
		toolchain = ToolsOfRoot
	case toolchain == "" || toolchain == ToolsOfHost:
		toolchain, from = ToolsOfHost, "/"
	}
	tools := -1
	if toolchain != ToolsOfRoot {
		from = h.Abs(from)
		if !IsDir(from) {
			return exit.Errorf(exit.Usage, "--toolchain %s: there is no such directory", from)
		}
		if tools, err = cloneTree(from); err != nil {
			return err
		}
		sealed := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(tools, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, sealed); err != nil {
			return &JailError{"a toolchain that is read-only", err}
		}
	}
	if err := furnishSystem(system, tools, host); err != nil {
		return err
	}
	for _, fd := range []int{system, tools} {
		if fd >= 0 {
			unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
		}
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d,%d,%s", enteredBy, system, tools, h.Dir), toolsOf+"="+toolchain)
	return fmt.Errorf("executing dkms again: %w", syscall.Exec("/proc/self/exe", os.Args, env))
}

func sameDir(a, b string) bool {
	first, err := os.Stat(a)
	second, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(first, second)
}

// cloneTree opens a copy of the mounts at and below dir.
func cloneTree(dir string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, &JailError{"the mounts of " + dir, err}
	}
	return fd, nil
}

// furnishSystem attaches the system and the toolchain to this namespace, with
// the directories that programs expect. /proc has processes and nothing else, and
// /sys is empty, so that neither tells of the running kernel and its firmware.
// The files of the running machine are below outside.
func furnishSystem(system, tools, host int) error {
	if err := unix.Mount("tmpfs", mountsAt, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return &JailError{"a directory for mounts", err}
	}
	for fd, name := range map[int]string{system: "system", tools: "tools", -2: "tmp"} {
		at := filepath.Join(mountsAt, name)
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
		if fd < 0 {
			continue
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return &JailError{"mounting the " + name, err}
		}
	}
	shared := filepath.Join(mountsAt, "tmp")
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	mounts := []struct {
		root             int
		name, from, kind string
		flags            uintptr
		options          string
		needed           bool
	}{
		{system, "/proc", "proc", "proc", flags, "subset=pid", true},
		{system, "/sys", "tmpfs", "tmpfs", flags | unix.MS_RDONLY, "mode=0555", false},
		{system, "/run", "tmpfs", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755", true},
		{system, "/dev", "tmpfs", "tmpfs", unix.MS_NOSUID, "mode=0755", true},
		{system, "/tmp", shared, "", unix.MS_BIND, "", true},
		{tools, "/tmp", shared, "", unix.MS_BIND, "", true},
		{tools, "/proc", "/proc", "", unix.MS_BIND | unix.MS_REC, "", true},
		{tools, "/dev", "/dev", "", unix.MS_BIND | unix.MS_REC, "", true},
	}
	for _, m := range mounts {
		if m.root < 0 {
			continue
		}
		at, err := openIn(m.root, m.name)
		if err == unix.ENOENT && !m.needed {
			continue
		}
		if err == nil {
			err = unix.Mount(m.from, procFD(at), m.kind, m.flags, m.options)
			if m.from == "proc" && err == unix.EPERM {
				err = borrowProc(procFD(at))
			}
			unix.Close(at)
		}
		if err != nil {
			return &JailError{"mounting " + m.name, err}
		}
	}
	run, err := openIn(system, "/run")
	if err != nil {
		return &JailError{"/run", err}
	}
	defer unix.Close(run)
	at := filepath.Join(procFD(run), filepath.Base(outside))
	if err = os.Mkdir(at, 0o755); err == nil {
		err = unix.MoveMount(host, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return &JailError{"mounting " + outside, err}
	}
	return makeDevices(system)
}

// borrowProc mounts the /proc of this machine and covers the files that tell of
// its kernel. A user namespace without a namespace for processes may do no more.
func borrowProc(at string) error {
	if err := unix.Mount("/proc", at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	// The descriptor behind at leads to what is below the mount.
	target, err := os.Readlink(at)
	if err != nil {
		return err
	}
	for _, name := range []string{"keys", "key-users", "cmdline", "modules", "config.gz"} {
		if file := filepath.Join(target, name); IsFile(file) {
			if err := unix.Mount("/dev/null", file, "", unix.MS_BIND, ""); err != nil {
				return err
			}
		}
	}
	return unix.Mount("tmpfs", filepath.Join(target, "sys"), "tmpfs", unix.MS_RDONLY, "mode=0555")
}

// makeDevices fills the new /dev of a system.
func makeDevices(system int) error {
	fd, err := openIn(system, "/dev")
	if err != nil {
		return &JailError{"/dev", err}
	}
	defer unix.Close(fd)
	for _, dev := range devices {
		at := filepath.Join(procFD(fd), filepath.Base(dev))
		err := os.WriteFile(at, nil, 0o666)
		if err == nil {
			err = unix.Mount(dev, at, "", unix.MS_BIND, "")
		}
		if err != nil {
			return &JailError{"mounting " + dev, err}
		}
	}
	if err := os.Mkdir(filepath.Join(procFD(fd), "shm"), 0o755); err != nil {
		return err
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, filepath.Join(procFD(fd), name)); err != nil {
			return err
		}
	}
	return nil
}

// withoutRoot removes the options that are about this machine from the words of
// a command line, as they would be no use to a reader of the image's records.
func withoutRoot(words []string) (list []string) {
	for i := 0; i < len(words); i++ {
		name, _, inline := strings.Cut(words[i], "=")
		if name != "--root" && name != "--toolchain" {
			list = append(list, words[i])
		} else if !inline {
			i++
		}
	}
	return list
}

// arrive changes the root directory of the process, for all its threads.
// Relative paths on the command line stay those of the caller's directory.
func (p Process) arrive(list string) (Process, error) {
	var system, tools int
	var dir string
	_, err := fmt.Sscanf(list, "%d,%d,", &system, &tools)
	if fields := strings.SplitN(list, ",", 3); len(fields) == 3 {
		dir = fields[2]
	}
	if err == nil {
		err = unix.Chroot(procFD(system))
	}
	if err == nil {
		err = unix.Chdir("/")
	}
	if err != nil {
		return p, exit.Errorf(exit.Usage, "entering --root: %s=%s: %w", enteredBy, list, err).WithHint("unset %s", enteredBy)
	}
	for _, fd := range []int{system, tools} {
		if fd >= 0 {
			unix.CloseOnExec(fd)
		}
	}
	h := p.Host
	h.Outside = Root{Dir: filepath.Join(outside, h.Root.Dir)}
	h.Root, h.Dir, h.Release = Root{}, filepath.Join(outside, dir), ""
	h.Image, h.Chroot = true, nil
	h.Memory = func() int64 { return availableMemory(outside) }
	h.Arguments = withoutRoot(p.Args)
	if seconds, err := strconv.ParseInt(h.Env["SOURCE_DATE_EPOCH"], 10, 64); err == nil {
		h.Epoch = time.Unix(seconds, 0)
		h.Now = func() time.Time { return h.Epoch }
	}
	if tools >= 0 {
		h.Tools = &Tools{root: tools, name: h.Env[toolsOf]}
	}
	for _, name := range []string{enteredBy, toolsOf, "TMPDIR"} {
		delete(h.Env, name)
	}
	p.Host = h
	return p, nil
}
