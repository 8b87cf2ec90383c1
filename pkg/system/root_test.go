package system

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPlainName(t *testing.T) {
	tests := []struct {
		name string
		want bool
	}{
		{"foo", true}, {"1.0", true}, {"6.1.0-56-amd64", true}, {"5.4.0-my-build", true}, {"next-20240101", true},
		{"v1.0~rc1+git", true}, {"a,b", true}, {"a..b", true}, {"naïve", true}, {"*", true}, {"$(x)", true},
		{strings.Repeat("x", 255), true},
		{"", false}, {".", false}, {"..", false}, {".hidden", false}, {"-x", false}, {"--all", false},
		{"a/b", false}, {"/", false}, {"a/../b", false}, {"a b", false}, {"a\tb", false}, {"a\n", false},
		{"a\x00b", false}, {"a\x7f", false}, {"\x1b[31m", false}, {strings.Repeat("x", 256), false},
	}
	for _, test := range tests {
		if got := PlainName(test.name); got != test.want {
			t.Errorf("PlainName(%q) = %v; want %v", test.name, got, test.want)
		}
	}
}

// Joined to a directory, a plain name is an entry of that directory.
func FuzzPlainName(f *testing.F) {
	for _, s := range []string{"foo", "..", "a/b", "-", "a\x00", "6.1.0-1-amd64", "a/../../b", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !PlainName(s) {
			return
		}
		joined := filepath.Join("/tree", s)
		if filepath.Dir(joined) != "/tree" || filepath.Base(joined) != s || !filepath.IsLocal(s) {
			t.Errorf("PlainName(%q) but joined it is %q", s, joined)
		}
		if len(strings.Fields("x"+s+"x")) != 1 && strings.ContainsAny(s, " \t\r\n\v\f") {
			t.Errorf("PlainName(%q) but it has blanks", s)
		}
	})
}

func TestRoot(t *testing.T) {
	tests := []struct {
		root                        Root
		path, state, source, module string
	}{
		{Root{}, "/etc/x", "/var/lib/dkms", "/usr/src", "/lib/modules"},
		{Root{Dir: "/img"}, "/img/etc/x", "/img/var/lib/dkms", "/img/usr/src", "/img/lib/modules"},
		{Root{Dir: "/img", State: "/s", Source: "/o", Install: "/i"}, "/img/etc/x", "/s", "/o", "/i"},
	}
	for _, test := range tests {
		r := test.root
		got := [4]string{r.Path("/etc/x"), r.StateTree(), r.SourceTree(), r.InstallTree()}
		if want := [4]string{test.path, test.state, test.source, test.module}; got != want {
			t.Errorf("%+v: %v; want %v", r, got, want)
		}
	}
}

func TestAbs(t *testing.T) {
	h := Host{Dir: "/home/me"}
	for p, want := range map[string]string{
		"x": "/home/me/x", "./x/": "/home/me/x", "../x": "/home/x", "/a/../b/": "/b", "": "/home/me", ".": "/home/me",
	} {
		if got := h.Abs(p); got != want {
			t.Errorf("Abs(%q) = %q; want %q", p, got, want)
		}
	}
}

func TestEnvMap(t *testing.T) {
	got := EnvMap([]string{"A=1", "B=x=y", "C=", "no equals sign", "=D", "A=2"})
	want := map[string]string{"A": "2", "B": "x=y", "C": ""}
	if len(got) != len(want) {
		t.Errorf("EnvMap = %v; want %v", got, want)
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("EnvMap[%s] = %q, %v; want %q", name, v, ok, value)
		}
	}
}

func TestFakechrootIsChroot(t *testing.T) {
	env := map[string]string{"FAKECHROOT": "true", "FAKECHROOT_BASE": "/x", "LD_PRELOAD": "/usr/lib/libfakechroot.so"}
	if !inChroot(Host{Env: env}) {
		t.Error("fakechroot was not noticed")
	}
}

// A container has processes of its own; its root directory is that of its first
// process.
func TestContainerIsChroot(t *testing.T) {
	const inside = "DKMS_TEST_CONTAINER"
	if os.Getenv(inside) != "" {
		if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, "")); err != nil {
			t.Fatal(err)
		}
		if !inChroot(Host{}) {
			t.Error("a namespace of processes was not noticed")
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("a namespace of processes takes root")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestContainerIsChroot$")
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		t.Skip("no namespaces: ", err)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestThisHost(t *testing.T) {
	h := ThisHost([]string{"A=b"})
	if h.Release == "" || h.Machine == "" || h.CPUs < 1 || h.Now == nil || !filepath.IsAbs(h.Dir) || h.Env["A"] != "b" {
		t.Errorf("ThisHost = %+v", h)
	}
}
