package system

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Tools is the root directory of programs, if it is not the root directory of
// this process. Everything below it is read-only, except for what is shared.
type Tools struct {
	root int // a descriptor
	name string

	mu     sync.Mutex
	shared []string
}

// String names the toolchain as [Process.Enter] does.
func (t *Tools) String() string { return t.name }

// procFD is a path of an open file or directory.
func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// openIn opens path as if the directory root were the root directory, see
// openat2(2). While other programs rename directories, the kernel cannot tell
// where ".." leads, and wants to be asked again.
func openIn(root int, path string) (fd int, err error) {
	for {
		fd, err = unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != unix.EAGAIN {
			return fd, err
		}
	}
}

// statIn describes the file at path below the directory root.
func statIn(root int, path string) (fs.FileInfo, error) {
	fd, err := openIn(root, path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	return f.Stat()
}

// stat describes a file of the programs. Without Tools, these are the files of
// the process.
func (t *Tools) stat(path string) (fs.FileInfo, error) {
	if t == nil {
		return os.Stat(path)
	}
	return statIn(t.root, path)
}

// enter gives the calling thread, and it alone, the root directory of the
// programs. A thread that wants a mount namespace enters first: the descriptor
// leads to the mounts of the present namespace.
func (t *Tools) enter() error {
	if t == nil {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Chroot(procFD(t.root))
}

// share makes files and directories of this process's root visible to the
// programs, under the same paths. Paths that do not exist are left out.
func (t *Tools) share(paths ...string) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, path := range paths {
		if err := t.mount(path); err != nil {
			return fmt.Errorf("%s cannot be shown to the programs: %w", path, err)
		}
	}
	return nil
}

func (t *Tools) mount(path string) error {
	own, err := os.Stat(path)
	if err != nil {
		return nil
	}
	t.shared = append(t.shared, path)
	if theirs, err := t.stat(path); err == nil && os.SameFile(own, theirs) {
		return nil // it is shared already
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	at, err := openIn(t.root, path)
	if err == unix.ENOENT {
		return t.mountMissing(path)
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// mountMissing shares path, which the programs have not got, together with what
// is beside it in the first directory that they have not got. The directory above
// that one is read-only, so it is covered with an overlay that has the missing
// name in addition. The overlay hides what was shared below; mountMissing shares
// that again.
func (t *Tools) mountMissing(path string) error {
	above, dir, err := t.deepest(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unix.Close(above)
	name, _, _ := strings.Cut(strings.TrimPrefix(path, dir+"/"), "/")
	path = filepath.Join(dir, name)
	names, err := os.MkdirTemp("/dev", ".names-*")
	if err != nil {
		return err
	}
	if err := os.Chmod(names, 0o755); err != nil {
		return err
	}
	if IsDir(path) {
		err = os.Mkdir(filepath.Join(names, name), 0o755)
	} else {
		err = os.WriteFile(filepath.Join(names, name), nil, 0o644)
	}
	if err != nil {
		return err
	}
	lower := fmt.Sprintf("lowerdir=%s:%s", names, procFD(above))
	if err := unix.Mount("overlay", procFD(above), "overlay", unix.MS_RDONLY, lower); err != nil {
		return fmt.Errorf("an overlay on %s: %w", dir, err)
	}
	again := append([]string{path}, t.shared...)
	t.shared = nil
	for _, s := range again {
		if err := t.mount(s); err != nil {
			return err
		}
	}
	return nil
}

// deepest opens the deepest directory at or above path that exists.
func (t *Tools) deepest(path string) (fd int, dir string, err error) {
	for ; path != "/"; path = filepath.Dir(path) {
		if fd, err = openIn(t.root, path); err != unix.ENOENT {
			return fd, path, err
		}
	}
	return -1, "", errors.New("its first directory is missing there")
}

// runsHere reports whether a system has make and a compiler, and whether its
// programs run on this machine without an emulator.
func runsHere(root int) bool {
	t := &Tools{root: root}
	make, err := t.lookPath("make", programPath)
	if err != nil || !t.hasCompiler() {
		return false
	}
	return Runs(t.elfMachine(make))
}

func (t *Tools) elfMachine(path string) elf.Machine {
	if t != nil {
		fd, err := openIn(t.root, path)
		if err != nil {
			return elf.EM_NONE
		}
		defer unix.Close(fd)
		path = procFD(fd)
	}
	f, err := elf.Open(path)
	if err != nil {
		return elf.EM_NONE
	}
	defer f.Close()
	return f.Machine
}

// Runs reports whether the processor runs programs for a machine itself.
func Runs(m elf.Machine) bool { return slices.Contains(runnable[runtime.GOARCH], m) }

// compiler matches the names of compilers for a kernel, with the target before
// and the version behind, as in x86_64-linux-gnu-gcc-14.
var compiler = Pattern(`^(.+-)?(gcc|cc|clang)(-[0-9]+)?$`)

func (t *Tools) hasCompiler() bool {
	for _, dir := range strings.Split(programPath, ":") {
		fd, err := openIn(t.root, dir)
		if err != nil {
			continue
		}
		list, _ := os.ReadDir(procFD(fd))
		unix.Close(fd)
		if slices.ContainsFunc(list, func(e fs.DirEntry) bool { return compiler().MatchString(e.Name()) }) {
			return true
		}
	}
	return false
}

// runnable are the machines whose programs a processor runs.
var runnable = map[string][]elf.Machine{
	"amd64": {elf.EM_X86_64, elf.EM_386}, "386": {elf.EM_386}, "arm64": {elf.EM_AARCH64}, "arm": {elf.EM_ARM},
	"riscv64": {elf.EM_RISCV}, "ppc64le": {elf.EM_PPC64}, "s390x": {elf.EM_S390}, "loong64": {elf.EM_LOONGARCH},
}
