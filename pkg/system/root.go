// Package system is the machine as the rest of the program sees it: where files
// are, what the caller's environment is, how programs are started and how files
// are replaced.
//
// It guarantees that every path depends on one [Root], that every program is
// started by one [Runner] with an environment from an allow-list, and that a
// file is replaced completely or not at all.
package system

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Root locates every path that the program uses. The zero value is the host
// with the trees where distributions have them.
type Root struct {
	// Dir is the prefix of every absolute path; empty means the host.
	Dir string
	// State, Source and Install are the dkms, source and install trees;
	// empty means /var/lib/dkms, /usr/src and /lib/modules below Dir.
	State, Source, Install string
}

// Path returns the absolute path p below the root.
func (r Root) Path(p string) string { return filepath.Join(r.Dir, p) }

// Glob is [Glob] for a pattern below the root, which begins with a slash.
func (r Root) Glob(pattern string) []string { return Glob(r.Path("/"), pattern) }

// StateTree is the directory of the dkms tree.
func (r Root) StateTree() string { return r.tree(r.State, "/var/lib/dkms") }

// SourceTree is the directory that holds NAME-VERSION source directories.
func (r Root) SourceTree() string { return r.tree(r.Source, "/usr/src") }

// InstallTree is the directory that holds one module directory per kernel.
func (r Root) InstallTree() string { return r.tree(r.Install, "/lib/modules") }

func (r Root) tree(given, def string) string {
	if given == "" {
		return r.Path(def)
	}
	return given
}

// Host is what the program was started with. The packages below the main
// functions do not ask the operating system for any of it, so that a test or an
// image is just another Host.
type Host struct {
	Root Root
	// Env is the caller's environment. Programs never inherit it.
	Env map[string]string
	// Dir is the caller's working directory.
	Dir string
	// Release and Machine are uname -r and uname -m.
	Release, Machine string
	// UID is the effective user.
	UID int
	// CPUs is the number of processors that this process may use.
	CPUs int
	// Memory is the number of bytes of memory that are left; 0 and a nil
	// function mean unknown. It is computed only when it is needed.
	Memory func() int64
	// Now is the clock.
	Now func() time.Time
	// Chroot says whether the program runs in a chroot or container, whose
	// running kernel belongs to another system; nil means that it does not. It
	// is evaluated only when it is needed.
	Chroot func() bool
	// Caller says who has started the program; nil means that this is not
	// known. It is evaluated only when it is needed.
	Caller func() Caller
	// Arguments are those of the program.
	Arguments []string
	// Image says that the system does not run: it is the system that
	// [Process.Enter] has entered. No kernel of it runs, so Release is empty.
	Image bool
	// Epoch, unless it is zero, is the time of everything in an image: the time
	// in SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch).
	Epoch time.Time
	// Outside is the root of the machine that the program runs on, if the system
	// is an image.
	Outside Root
	// Tools are the programs that [Runner] starts, if they are not those of the
	// system itself.
	Tools *Tools
}

// ThisHost describes the machine that the program runs on. env is in the
// form of [os.Environ].
func ThisHost(env []string) Host {
	h := Host{
		Env:    EnvMap(env),
		UID:    os.Geteuid(),
		CPUs:   runtime.GOMAXPROCS(0),
		Memory: sync.OnceValue(func() int64 { return availableMemory("/") }),
		Now:    time.Now,
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Release = unix.ByteSliceToString(u.Release[:])
		h.Machine = unix.ByteSliceToString(u.Machine[:])
	}
	h.Dir, _ = os.Getwd()
	h.Chroot = sync.OnceValue(func() bool { return inChroot(h) })
	h.Caller = sync.OnceValue(func() Caller { return ThisCaller(h.Env) })
	h.Arguments = os.Args[1:]
	return h
}

// InChroot reports whether the program runs in a chroot or container.
func (h Host) InChroot() bool { return h.Chroot != nil && h.Chroot() }

// EnvMap turns NAME=VALUE strings into a map; a later one wins.
func EnvMap(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			m[name] = value
		}
	}
	return m
}

// Abs makes a path that the caller typed absolute.
func (h Host) Abs(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(h.Dir, p)
}

// PlainName reports whether s can be used as one path component that means
// nothing but itself: not empty, no slash, no leading dot or dash, no blanks
// or control characters.
func PlainName(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c == '/' || c == 0x7f {
			return false
		}
	}
	return true
}

// firstProcesses is the namespace of the processes of a whole system: its number
// is the same on every kernel (PROC_PID_INIT_INO).
const firstProcesses = "pid:[4026531836]"

// inChroot distinguishes a chroot, a container or fakechroot from a whole
// system: the first process has another root directory or other mounts than
// this process, or there are other processes in front of it, as where images of
// containers are built. A process without the permission to check returns false.
func inChroot(h Host) bool {
	if h.Env["FAKECHROOT"] == "true" && h.Env["FAKECHROOT_BASE"] != "" && strings.Contains(h.Env["LD_PRELOAD"], "libfakechroot.so") {
		return true
	}
	if processes, err := os.Readlink("/proc/self/ns/pid"); err == nil && processes != firstProcesses {
		return true
	}
	first, errFirst := os.ReadFile("/proc/1/mountinfo")
	own, errOwn := os.ReadFile("/proc/self/mountinfo")
	if errFirst == nil && errOwn == nil && string(first) != string(own) {
		return true
	}
	if h.UID != 0 {
		return false
	}
	firstRoot, err := os.Stat("/proc/1/root")
	ownRoot, ownErr := os.Stat("/")
	return err != nil || ownErr != nil || !os.SameFile(firstRoot, ownRoot)
}
