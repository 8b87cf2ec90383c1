// Package testscripts holds the end-to-end tests: scripts that run dkms and
// dkms-hook, as users would, against kernels laid down for them.
package testscripts

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dkms/pkg/build"
	"dkms/pkg/cli"
	"dkms/pkg/hook"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// TestMain makes the test binary the programs under test too: scripts run the
// real doors on a Host whose root is the script's own directory.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"dkms": func() { os.Exit(cli.Main(scriptProcess())) },
		// The name under which a hook is called comes from the script.
		"dkms-hook": func() {
			p := scriptProcess()
			if name := os.Getenv("HOOK_PATH"); name != "" {
				p.Name = name
			}
			os.Exit(hook.Main(p))
		},
	})
}

// scriptProcess is the process that a script starts, on the machine of the
// script.
func scriptProcess() system.Process {
	p := system.ThisProcess()
	p.Host = scriptHost()
	return p
}

// scriptHost is a machine whose root is $ROOT and whose running kernel is
// $RELEASE.
func scriptHost() system.Host {
	h := system.ThisHost(os.Environ())
	h.Root.Dir = os.Getenv("ROOT")
	h.Release = os.Getenv("RELEASE")
	h.Machine = "x86_64"
	h.Chroot = func() bool { return os.Getenv("CHROOT") != "" }
	h.Caller = func() system.Caller {
		return system.Caller{
			Program: os.Getenv("CALLER"), Package: os.Getenv("CALLER_PACKAGE"), User: os.Getenv("CALLER_USER"), Transaction: os.Getenv("TRANSACTION"),
		}
	}
	if os.Getenv("AS_USER") != "" {
		h.UID = 1000
	}
	return h
}

const release = "6.9.1-fake"

func TestScripts(t *testing.T) {
	testkit.Need(t, "bash", "make", "gcc", "depmod", "modinfo", "dirname") // of which the fake kernel is made
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup:               setup,
		Deadline:            time.Time{},
		Condition:           have,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kernel":   plain(makeKernel),
			"package":  plain(makePackage),
			"exit":     plain(wantExit),
			"unlocked": plain(unlocked),
			"same":     sameTree,
			"state":    plain(wantState),
			"compat":   plain(compatScript),
			"dry":      plain(dryRun),
			"members":  plain(wantMembers),
			"index":    plain(wantIndex),
		},
	})
}

// plain refuses "!" before a command to which it means nothing.
func plain(command func(*testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command does not take !")
		}
		command(ts, args)
	}
}

// setup lays down a machine of the distribution Debian with one kernel.
func setup(env *testscript.Env) error {
	root := filepath.Join(env.WorkDir, "root")
	fake, err := filepath.Abs("fakekernel")
	if err != nil {
		return err
	}
	for _, dir := range []string{"etc/dkms", "usr/src", "var/lib", "lib/modules", "boot", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=debian\n"), 0o644); err != nil {
		return err
	}
	env.Setenv("ROOT", root)
	env.Setenv("RELEASE", release)
	env.Setenv("FAKEKERNEL", fake)
	env.Setenv("D", filepath.Join(root, "var/lib/dkms"))
	env.Setenv("I", filepath.Join(root, "lib/modules", release))
	env.Setenv("S", filepath.Join(root, "usr/src"))
	out, err := exec.Command(filepath.Join(fake, "install.sh"), root, release).CombinedOutput()
	if err != nil {
		env.T().Log(string(out))
	}
	return err
}

// makeKernel is "kernel RELEASE [SUFFIX]": one more kernel with headers.
func makeKernel(ts *testscript.TestScript, args []string) {
	cmd := exec.Command(filepath.Join(ts.Getenv("FAKEKERNEL"), "install.sh"), append([]string{ts.Getenv("ROOT")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("kernel %v: %v\n%s", args, err, out)
	}
}

// makePackage is "package NAME VERSION [LINE...]": sources in the source tree
// that build NAME.ko, with AUTOINSTALL and the extra lines in dkms.conf. A
// line "-" keeps AUTOINSTALL out.
func makePackage(ts *testscript.TestScript, args []string) {
	name, version := args[0], args[1]
	dir := filepath.Join(ts.Getenv("S"), name+"-"+version)
	conf := []string{
		"PACKAGE_NAME=" + name, "PACKAGE_VERSION=" + version,
		"BUILT_MODULE_NAME[0]=" + name, "DEST_MODULE_LOCATION[0]=/kernel/extra", "AUTOINSTALL=yes",
	}
	for _, line := range args[2:] {
		if line == "-" {
			conf = conf[:len(conf)-1]
			continue
		}
		conf = append(conf, line)
	}
	source := "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nMODULE_VERSION(\"" + version + "\");\n" +
		"static int start(void) { return " + digits(version) + "; }\nmodule_init(start);\n"
	for file, text := range map[string]string{
		"dkms.conf": strings.Join(conf, "\n") + "\n",
		"Makefile":  "obj-m := " + name + ".o\n",
		name + ".c": source,
	} {
		ts.Check(os.MkdirAll(dir, 0o755))
		ts.Check(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, "1"+s)
}

// wantExit is "exit CODE PROGRAM ARG...": the program must end with that
// status. Its output can be looked at with stdout and stderr.
func wantExit(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exit CODE PROGRAM ARG...")
	}
	err := ts.Exec("sh", append([]string{"-c", `want=$1; shift; "$@"; got=$?; [ $got = $want ] || { echo "exit status $got; want $want" >&2; exit 1; }`, "sh"}, args...)...)
	if err != nil {
		ts.Fatalf("%s %s: %v", args[1], strings.Join(args[2:], " "), err)
	}
}

// unlocked checks that a run has left nothing of its own behind: no temporary
// file in the trees, no stage, no scratch directory with anything in it.
func unlocked(ts *testscript.TestScript, args []string) {
	err := filepath.WalkDir(ts.Getenv("ROOT"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(d.Name(), system.StagePrefix) || strings.HasPrefix(d.Name(), ".tmp_") {
			ts.Fatalf("left behind: %s", path)
		}
		return nil
	})
	ts.Check(err)
}

// have is the condition [have:PROGRAM], for scripts that are skipped where one
// of the usual programs is missing, but not in CI.
//
// [jail] says whether builds can be isolated here, which takes root and a
// kernel and a container that let it.
func have(cond string) (bool, error) {
	if cond == "jail" {
		return build.Probe(context.Background(), system.NewRunner(scriptHost())) == nil, nil
	}
	program, ok := strings.CutPrefix(cond, "have:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	_, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") != "" {
		return false, err
	}
	return err == nil, nil
}

// sameTree is "same A B": two directories hold the same files.
func sameTree(ts *testscript.TestScript, neg bool, args []string) {
	out, err := exec.Command("diff", "-r", "--no-dereference", ts.MkAbs(args[0]), ts.MkAbs(args[1])).CombinedOutput()
	if (err != nil) != neg {
		ts.Fatalf("same %v: %s", args, out)
	}
}

// wantState is "state LINE...": dkms status must print these lines and no
// others.
func wantState(ts *testscript.TestScript, args []string) {
	ts.Check(ts.Exec("dkms", "status"))
	want := ""
	for _, line := range args {
		want += line + "\n"
	}
	if got := ts.ReadFile("stdout"); got != want {
		ts.Fatalf("dkms status = %q; want %q", got, want)
	}
}

// wantIndex is "index": depmod would write the very index that is there.
func wantIndex(ts *testscript.TestScript, args []string) {
	read := func() map[string]string {
		files := map[string]string{}
		names, err := filepath.Glob(filepath.Join(ts.Getenv("I"), "modules.*"))
		ts.Check(err)
		for _, name := range names {
			files[filepath.Base(name)] = ts.ReadFile(name)
		}
		return files
	}
	ours := read()
	ts.Check(exec.Command("depmod", "-b", ts.Getenv("ROOT"), release).Run())
	for name, want := range read() {
		if ours[name] != want {
			ts.Fatalf("%s is not as depmod writes it", name)
		}
	}
}

// compatScript is "compat SCRIPT...": shell scripts that are shipped in dist
// come to $WORK, changed to work on the machine below $ROOT.
func compatScript(ts *testscript.TestScript, args []string) {
	dkms, err := exec.LookPath("dkms")
	ts.Check(err)
	root := ts.Getenv("ROOT")
	paths := strings.NewReplacer(
		"/usr/sbin/dkms", dkms, "$(uname -r)", "$RELEASE", "depmod -a", "depmod -b "+root+" -a",
		"=/usr/src", "="+root+"/usr/src", "=/lib/modules", "="+root+"/lib/modules",
		" /var/lib/dkms)", " "+root+"/var/lib/dkms)", " /usr/src)", " "+root+"/usr/src)", " /lib/modules)", " "+root+"/lib/modules)",
		"/etc/dkms/", root+"/etc/dkms/", "/boot/", root+"/boot/", `"/lib/modules/`, `"`+root+"/lib/modules/",
	)
	for _, script := range args {
		text, err := os.ReadFile(filepath.Join(ts.Getenv("FAKEKERNEL"), "../../dist", script))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(filepath.Base(script)), []byte(paths.Replace(string(text))), 0o755))
	}
}
