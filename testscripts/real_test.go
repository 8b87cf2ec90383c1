package testscripts

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"dkms/testscripts/testkit"
)

// realFlavours are the three kernels of Debian that modules are really built
// for, by the variable that names their release in a script.
var realFlavours = map[string]string{"AMD64": "amd64", "CLOUD": "cloud-amd64", "RT": "rt-amd64"}

// realPackages are the sources that Debian ships, by package.
var realPackages = []string{"acpi-call-dkms", "v4l2loopback-dkms", "dm-writeboost-dkms", "xtables-addons-dkms"}

// TestRealKernel builds Debian's packages for Debian's kernels.
func TestRealKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("compiling real modules takes minutes")
	}
	releases, err := realReleases()
	if err != nil {
		testkit.Lack(t, err.Error())
	}
	sources, err := downloadSources(t.TempDir())
	if err != nil {
		testkit.Lack(t, err.Error())
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "realkernel",
		RequireExplicitExec: true,
		Condition:           have,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exit": plain(wantExit), "unlocked": plain(unlocked), "registered": plain(register)},
		Setup: func(env *testscript.Env) error {
			if err := setup(env); err != nil {
				return err
			}
			env.Setenv("SOURCES", sources)
			if err := freePort(env); err != nil {
				return err
			}
			for name, release := range releases {
				env.Setenv(name, release)
				if err := linkKernel(env.Getenv("ROOT"), release); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// freePort sets PORT to one that a server can listen at.
func freePort(env *testscript.Env) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Setenv("PORT", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	return l.Close()
}

// realReleases finds the installed kernels that have headers; of several of a
// flavour the last.
func realReleases() (map[string]string, error) {
	releases := map[string]string{}
	for name, flavour := range realFlavours {
		dirs, _ := filepath.Glob("/lib/modules/[0-9]*-[0-9]*-" + flavour + "/build/include")
		for _, d := range dirs {
			release := filepath.Base(filepath.Dir(filepath.Dir(d)))
			if ok, _ := filepath.Match("[0-9]*-[0-9]*[0-9]-"+flavour, release); ok {
				releases[name] = release
			}
		}
		if releases[name] == "" {
			return nil, fmt.Errorf("no headers of a Debian kernel of the flavour %s (apt-get install linux-headers-%s)", flavour, flavour)
		}
	}
	return releases, nil
}

var download sync.Mutex

// downloadSources fetches Debian's packages and unpacks them, without
// installing anything, and returns the directory of their sources.
func downloadSources(dir string) (string, error) {
	download.Lock()
	defer download.Unlock()
	for _, p := range realPackages {
		cmd := exec.Command("apt-get", "download", "-qq", p)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", p, err, out)
		}
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	for _, deb := range debs {
		if out, err := exec.Command("dpkg-deb", "-x", deb, filepath.Join(dir, "x")).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", deb, err, out)
		}
	}
	return filepath.Join(dir, "x/usr/src"), nil
}

// linkKernel gives a real kernel a module directory of its own below root.
func linkKernel(root, release string) error {
	dir := filepath.Join(root, "lib/modules", release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"modules.order", "modules.builtin"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			return err
		}
	}
	headers, err := filepath.EvalSymlinks(filepath.Join("/lib/modules", release, "build"))
	if err != nil {
		return err
	}
	if err := os.Symlink(headers, filepath.Join(dir, "build")); err != nil {
		return err
	}
	// An index that is there tells depmod, and us, that the kernel is whole.
	return os.WriteFile(filepath.Join(dir, "modules.dep"), []byte("\n"), 0o644)
}

// register is "registered PACKAGE...": the sources of Debian's packages are
// put where its package manager would, and added.
func register(ts *testscript.TestScript, args []string) {
	for _, id := range args {
		dirs, _ := filepath.Glob(filepath.Join(ts.Getenv("SOURCES"), id+"-*"))
		if len(dirs) != 1 {
			ts.Fatalf("%s: found %v", id, dirs)
		}
		ts.Check(ts.Exec("cp", "-a", dirs[0], ts.Getenv("S")))
		version := filepath.Base(dirs[0])[len(id)+1:]
		ts.Check(ts.Exec("dkms", "add", id+"/"+version))
	}
}
