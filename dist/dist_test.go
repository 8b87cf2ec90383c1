// Package dist_test has what is shipped beside the programs judged by the
// programs that will read it. It guarantees that what make install lays down
// is complete, runs where it lands and is documented.
package dist_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dkms/pkg/cli"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var need, write = testkit.Need, testkit.WriteMode

// run runs a program in the given directory and returns what it printed and
// its exit status.
func run(t *testing.T, dir string, env []string, argv ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	// Variables of the make or the shell that runs the tests stay out.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8", "TERM=dumb"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func mustRun(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	out, code := run(t, dir, nil, argv...)
	if code != 0 {
		t.Fatalf("%v = status %d:\n%s", argv, code, out)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// makeArgs is a make command line for the programs of a temporary directory,
// which need not exist yet for anything but install.
func makeArgs(t *testing.T, target, dest string, vars ...string) []string {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"dkms", "dkms-hook"} {
		write(t, filepath.Join(bin, name), "#!/bin/sh\necho "+name+" \"$@\"\n", 0o755)
	}
	return append([]string{"make", "-s", target, "BIN=" + bin, "DESTDIR=" + dest}, vars...)
}

func install(t *testing.T, vars ...string) (dest string) {
	t.Helper()
	need(t, "make")
	dest = t.TempDir()
	mustRun(t, "..", makeArgs(t, "install", dest, vars...)...)
	return dest
}

// list is every file below dir with its mode, as "755 /usr/sbin/dkms".
func list(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, strconv.FormatUint(uint64(st.Mode().Perm()), 8)+" "+strings.TrimPrefix(path, dir))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var everywhere = []string{
	"644 /etc/dkms/framework.conf",
	"644 /usr/share/bash-completion/completions/dkms",
	"644 /usr/share/doc/dkms/differences.md",
	"644 /usr/share/doc/dkms/licenses.txt",
	"644 /usr/share/doc/dkms/packaging.md",
	"644 /usr/share/fish/vendor_completions.d/dkms.fish",
	"644 /usr/share/man/man5/dkms-framework.conf.5",
	"644 /usr/share/man/man5/dkms-json.5",
	"644 /usr/share/man/man5/dkms.conf.5",
	"644 /usr/share/man/man7/dkms-journal.7",
	"644 /usr/share/man/man8/dkms-hook.8",
	"644 /usr/share/man/man8/dkms.8",
	"755 /usr/lib/dkms/common.postinst",
	"755 /usr/lib/dkms/dkms-hook",
	"755 /usr/lib/dkms/dkms_autoinstaller",
	"755 /usr/sbin/dkms",
	"755 /usr/share/doc/dkms/examples/90-dkms-motd",
	"755 /usr/share/doc/dkms/examples/dkms-textfile",
}

var byDistro = map[string][]string{
	"debian": {
		"644 /etc/apt/apt.conf.d/70dkms",
		"755 /etc/kernel/header_postinst.d/dkms",
		"755 /etc/kernel/postinst.d/dkms",
		"755 /etc/kernel/postinst.d/zzz-dkms-guard",
		"755 /etc/kernel/preinst.d/dkms",
		"755 /etc/kernel/prerm.d/dkms",
		"755 /usr/lib/kernel/install.d/40-dkms.install",
	},
	"gentoo": {
		"644 /etc/conf.d/dkms",
		"755 /etc/init.d/dkms",
		"755 /usr/lib/kernel/install.d/40-dkms.install",
		"755 /usr/lib/kernel/preinst.d/40-dkms.install",
		"755 /usr/sbin/dkms-emerge",
	},
	"fedora": {"644 /etc/dnf/libdnf5-plugins/actions.d/dkms.actions", "755 /usr/lib/kernel/install.d/40-dkms.install"},
	"suse": {
		"644 /etc/dnf/libdnf5-plugins/actions.d/dkms.actions",
		"755 /usr/lib/kernel/install.d/40-dkms.install",
		"755 /usr/libexec/dkms/common.postinst",
	},
	"arch": {
		"644 /usr/share/libalpm/hooks/05-dkms-guard.hook",
		"644 /usr/share/libalpm/hooks/70-dkms-install.hook",
		"644 /usr/share/libalpm/hooks/70-dkms-upgrade.hook",
		"644 /usr/share/libalpm/hooks/71-dkms-remove.hook",
		"755 /usr/share/libalpm/scripts/dkms",
	},
	"alpine": {"644 /etc/conf.d/dkms", "755 /etc/init.d/dkms"},
	"void": {
		"755 /etc/kernel.d/post-install/10-dkms",
		"755 /etc/kernel.d/pre-remove/10-dkms",
		"755 /etc/sv/dkms/run",
	},
	"other": {"755 /usr/lib/kernel/install.d/40-dkms.install"},
}

func TestInstall(t *testing.T) {
	for distro, own := range byDistro {
		dest := install(t, "DISTRO="+distro)
		zsh := "site-functions"
		if distro == "debian" {
			zsh = "vendor-completions"
		}
		own = append(own, "644 /usr/share/zsh/"+zsh+"/_dkms")
		if distro != "void" {
			own = append(own, "644 /usr/lib/systemd/catalog/dkms.catalog", "644 /usr/lib/systemd/system/dkms.service")
		}
		if _, err := os.Stat("/sbin/openrc-run"); err == nil && (distro == "debian" || distro == "other") {
			own = append(own, "644 /etc/conf.d/dkms", "755 /etc/init.d/dkms")
		}
		want := slices.Sorted(slices.Values(append(slices.Clone(everywhere), own...)))
		got := slices.Sorted(slices.Values(list(t, dest)))
		if !slices.Equal(got, want) {
			t.Errorf("DISTRO=%s:\ngot  %q\nwant %q", distro, got, want)
		}
		for _, dir := range []string{"/var/lib/dkms", "/etc/dkms/framework.conf.d"} {
			if st, err := os.Stat(dest + dir); err != nil || st.Mode() != fs.ModeDir|0o755 {
				t.Errorf("DISTRO=%s: %s = %v, %v; want a directory of mode 755", distro, dir, st, err)
			}
		}
	}
}

// TestInstallOpenRC asks for the service that Debian has only where OpenRC is.
// Its script must not look like one for sysvinit: Debian's OpenRC would read
// it, run nothing and call it started.
func TestInstallOpenRC(t *testing.T) {
	dest := install(t, "DISTRO=debian", "OPENRC=/etc/init.d")
	if script := read(t, dest+"/etc/init.d/dkms"); strings.Contains(script, "BEGIN INIT INFO") {
		t.Error("the OpenRC script has a block for insserv")
	}
}

func TestInstallUnknownDistro(t *testing.T) {
	need(t, "make")
	out, code := run(t, "..", nil, makeArgs(t, "install", t.TempDir(), "DISTRO=plan9")...)
	if code == 0 || !strings.Contains(out, "plan9") {
		t.Errorf("make install DISTRO=plan9 = %d, %q; want a failure that names it", code, out)
	}
}

// TestInstallElsewhere: where the hooks are not known, make install says what
// is left to do, and where modules cannot be built, that.
func TestInstallElsewhere(t *testing.T) {
	need(t, "make")
	for id, want := range map[string]string{
		"slackware": "kernel hooks of Some System 15 are not known here", "nixos": "modules are packages of their own there",
	} {
		dest := t.TempDir()
		write(t, dest+"/etc/os-release", "ID="+id+"\nPRETTY_NAME=\"Some System 15\"\n", 0o644)
		out := mustRun(t, "..", makeArgs(t, "install", dest, "DISTRO=other", "LIBDIR=/opt/dkms")...)
		if !strings.Contains(out, want) || strings.Contains(out, "    /opt/dkms/dkms-hook --hook=postinst RELEASE") != (id == "slackware") {
			t.Errorf("make install on %s says %q; want %q in it, and dkms-hook only where it is of use", id, out, want)
		}
	}
	if out := mustRun(t, "..", makeArgs(t, "install", t.TempDir(), "DISTRO=debian")...); strings.Contains(out, "note:") {
		t.Errorf("make install DISTRO=debian says %q; want no note", out)
	}
}

func TestInstallWithoutServices(t *testing.T) {
	dest := install(t, "DISTRO=all", "SYSTEMD=", "OPENRC=", "RUNIT=")
	for _, f := range list(t, dest) {
		if strings.Contains(f, "dkms.service") || strings.Contains(f, "dkms.catalog") || strings.Contains(f, "init.d") || strings.Contains(f, "/sv/") || strings.Contains(f, "conf.d/dkms") {
			t.Errorf("SYSTEMD= OPENRC= RUNIT= installs %s", f)
		}
	}
}

func TestInstallOtherPaths(t *testing.T) {
	dest := install(t, "DISTRO=all", "SBIN=/opt/bin", "LIBDIR=/opt/lib/dkms", "MODDIR=/opt/modules", "KCONF=/opt/kernel")
	for _, f := range list(t, dest) {
		path := f[4:]
		if strings.HasSuffix(path, ".md") {
			continue
		}
		for _, line := range strings.Split(read(t, dest+path), "\n") {
			if strings.Contains(line, "/usr/sbin/dkms") || strings.Contains(line, "/usr/lib/dkms") || defaultModules.MatchString(line) || strings.Contains(line, "@HOOK@") {
				t.Errorf("%s still has a default path: %s", path, line)
			}
		}
	}
	for path, want := range map[string]string{
		"/opt/kernel/prerm.d/dkms":                        "hook=/opt/lib/dkms/dkms-hook",
		"/opt/lib/dkms/dkms_autoinstaller":                "dkms=/opt/bin/dkms",
		"/usr/lib/systemd/system/dkms.service":            "ExecStart=/opt/bin/dkms autoinstall",
		"/usr/share/bash-completion/completions/dkms":     "for dir in /opt/modules/*/",
		"/usr/share/libalpm/hooks/70-dkms-install.hook":   "usr/lib/modules/*/modules.order",
		"/usr/share/libalpm/scripts/dkms":                 "exec /opt/bin/dkms packaging-installed -",
		"/usr/share/man/man8/dkms.8":                      "/opt/lib/dkms/common.postinst",
		"/usr/share/fish/vendor_completions.d/dkms.fish":  "/opt/modules/*/",
		"/etc/apt/apt.conf.d/70dkms":                      "-x /opt/lib/dkms/dkms-hook || /opt/lib/dkms/dkms-hook --hook=apt",
		"/opt/bin/dkms-emerge":                            "guard=/opt/lib/dkms/dkms-hook",
		"/usr/share/libalpm/hooks/05-dkms-guard.hook":     "Exec = /opt/lib/dkms/dkms-hook --hook=pacman",
		"/etc/dnf/libdnf5-plugins/actions.d/dkms.actions": "raise_error=1 enabled=host-only:/opt/lib/dkms/dkms-hook --hook=dnf ${conf.cachedir}",
		"/etc/init.d/dkms":                                "/opt/bin/dkms autoinstall",
		"/usr/lib/kernel/install.d/40-dkms.install":       "hook=/opt/lib/dkms/dkms-hook",
		"/usr/share/zsh/site-functions/_dkms":             "/opt/modules/*",
		"/opt/lib/dkms/common.postinst":                   "exec /opt/bin/dkms packaging-installed",
		"/usr/share/man/man5/dkms-framework.conf.5":       "/opt/modules",
		"/usr/lib/kernel/preinst.d/40-dkms.install":       "hook=/opt/lib/dkms/dkms-hook",
		"/opt/kernel/header_postinst.d/dkms":              "--hook=header_postinst",
		"/etc/kernel.d/pre-remove/10-dkms":                "hook=/opt/lib/dkms/dkms-hook",
		"/etc/sv/dkms/run":                                "/opt/bin/dkms autoinstall",
	} {
		if got := read(t, dest+path); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}
}

var defaultModules = regexp.MustCompile(`(^|[^r])/lib/modules`)

func TestInstallKeepsConfiguration(t *testing.T) {
	need(t, "make")
	dest := t.TempDir()
	conf := filepath.Join(dest, "etc/dkms/framework.conf")
	write(t, conf, "verbose=1\n", 0o600)
	mustRun(t, "..", makeArgs(t, "install", dest, "DISTRO=debian")...)
	mustRun(t, "..", makeArgs(t, "uninstall", dest, "DISTRO=debian")...)
	if got := list(t, dest); !slices.Equal(got, []string{"600 /etc/dkms/framework.conf"}) || read(t, conf) != "verbose=1\n" {
		t.Errorf("install and uninstall leave %q, %q; want the configuration as it was", got, read(t, conf))
	}
}

func TestUninstall(t *testing.T) {
	dest := install(t, "DISTRO=all")
	write(t, dest+"/var/lib/dkms/mok.key", "secret", 0o600)
	mustRun(t, "..", makeArgs(t, "uninstall", dest, "DISTRO=all")...)
	if got := list(t, dest); !slices.Equal(got, []string{"600 /var/lib/dkms/mok.key"}) {
		t.Errorf("uninstall leaves %q; want nothing but the key", got)
	}
	for _, dir := range []string{"/usr/lib/dkms", "/etc/dkms"} {
		if _, err := os.Stat(dest + dir); err == nil {
			t.Errorf("uninstall leaves %s", dir)
		}
	}
}

func TestFrameworkConfHasOnlyComments(t *testing.T) {
	conf, manual := read(t, "framework.conf"), read(t, "man/dkms-framework.conf.5")
	for i, line := range strings.Split(conf, "\n") {
		if line != "" && line[0] != '#' {
			t.Errorf("framework.conf:%d: %s", i+1, line)
		}
	}
	options := strings.Fields(`source_tree dkms_tree install_tree tmp_location verbose symlink_modules
		autoinstall_all_kernels modprobe_on_install parallel_jobs compress_gzip_opts compress_xz_opts
		compress_zstd_opts build_environment post_transaction sign_file mok_signing_key mok_certificate
		try_sign_modules continue_on_error depmod hook_errors build_sandbox build_sandbox_allow build_priority compiler_launcher build_time_limit build_file_limit build_disk_limit build_process_limit refresh_initramfs keep_builds upgrade_guard upgrade_guard_time boot_guard install_as
		prebuilt_source prebuilt_certificate prebuilt_timeout prebuilt_insecure`)
	for _, o := range options {
		if !strings.Contains(conf, "\n#"+o+"=\"") {
			t.Errorf("framework.conf lacks %s", o)
		}
		if !regexp.MustCompile(`(?m)^\.It Va .*\b` + o + `\b`).MatchString(manual) {
			t.Errorf("dkms-framework.conf(5) lacks %s", o)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^#([a-z_]+)=`).FindAllStringSubmatch(conf, -1) {
		if !slices.Contains(options, m[1]) {
			t.Errorf("framework.conf has %s, which is no option", m[1])
		}
	}
}

// TestFrameworkConfExamples has bash read the file with its options in force.
func TestFrameworkConfExamples(t *testing.T) {
	need(t, "bash")
	text := regexp.MustCompile(`(?m)^#([a-z_]+=)`).ReplaceAllString(read(t, "framework.conf"), "$1")
	file := filepath.Join(t.TempDir(), "framework.conf")
	write(t, file, text, 0o644)
	out := mustRun(t, ".", "bash", "-euc", `kernelver=K; . "$1"; echo "$compress_xz_opts|$mok_signing_key"`, "-", file)
	if want := "--check=crc32 --lzma2=dict=1MiB|/var/lib/dkms/mok.key\n"; out != want {
		t.Errorf("framework.conf sets %q; want %q", out, want)
	}
}

func TestManPages(t *testing.T) {
	need(t, "mandoc")
	pages, err := filepath.Glob("man/*")
	if err != nil || len(pages) != 6 {
		t.Fatalf("man/* = %v, %v; want 6 pages", pages, err)
	}
	mustRun(t, ".", append([]string{"mandoc", "-T", "lint", "-W", "warning"}, pages...)...)
}

// TestExitStatusTable holds the table of dkms(8) against pkg/exit.
func TestExitStatusTable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../pkg/exit/exit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if v, ok := spec.Values[0].(*ast.BasicLit); ok {
			codes[v.Value] = true
		}
		return true
	})
	_, table, _ := strings.Cut(read(t, "man/dkms.8"), ".Sh EXIT STATUS")
	table, _, _ = strings.Cut(table, ".Sh ")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\.It (\d+)$`).FindAllStringSubmatch(table, -1) {
		documented[m[1]] = true
	}
	if len(codes) < 15 {
		t.Fatalf("pkg/exit has %d codes; the test cannot read it", len(codes))
	}
	for c := range codes {
		if !documented[c] {
			t.Errorf("dkms(8) lacks exit status %s", c)
		}
	}
	for c := range documented {
		if !codes[c] {
			t.Errorf("dkms(8) has exit status %s, which pkg/exit has not", c)
		}
	}
}

// TestExitStatusesAreReturned wants each status of pkg/exit to be that of some
// error: dkms(8) promises it.
func TestExitStatusesAreReturned(t *testing.T) {
	text := read(t, "../pkg/exit/exit.go")
	names := regexp.MustCompile(`(?m)^\t([A-Z]\w+) +Code = \d`).FindAllStringSubmatch(text, -1)
	if len(names) < 15 {
		t.Fatalf("pkg/exit has %d statuses; the test cannot read it", len(names))
	}
	sources := ""
	for _, path := range goFiles(t, "../pkg/*/*.go") {
		sources += read(t, path)
	}
	for _, n := range names {
		if !regexp.MustCompile(`\bexit\.` + n[1] + `\b`).MatchString(sources) {
			t.Errorf("nothing ends with exit.%s", n[1])
		}
	}
}

// goFiles are the files of a pattern that are no tests.
func goFiles(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	return slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
}

// printed are the structs that --json prints, apart from those of inspect,
// which are all printed, by the file that declares them.
var printed = map[string]string{
	"../pkg/lint/lint.go": "Remark", "../pkg/cli/version.go": "", "../pkg/report/json.go": "record",
	"../pkg/run/rehearse.go": "Rehearsal Rehearsed", "../pkg/fleet/export.go": "exported exportID", "../pkg/history/history.go": "", "../pkg/system/caller.go": "Caller", "../pkg/tree/record.go": "Failure Origin Answer",
	"../pkg/machine/bootguard.go": "BootGuard GuardedModule",
}

// TestJSONPage holds the members in dkms-json(5) against the tags of the structs
// that are printed. The scripts hold it against what is printed.
func TestJSONPage(t *testing.T) {
	tags := map[string]bool{"schema": true}
	for _, path := range goFiles(t, "../pkg/inspect/*.go") {
		jsonTags(t, path, "", tags)
	}
	for path, types := range printed {
		jsonTags(t, path, types, tags)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\.It Va (.*)$`).FindAllStringSubmatch(read(t, "man/dkms-json.5"), -1) {
		for _, part := range strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(" ,.[]", r) }) {
			documented[part] = true
		}
	}
	for tag := range tags {
		if !documented[tag] {
			t.Errorf("dkms-json(5) lacks %s", tag)
		}
	}
	for name := range documented {
		if !tags[name] {
			t.Errorf("dkms-json(5) has %s, which nothing prints", name)
		}
	}
}

// source is the text of an expression in a file that was parsed by itself.
func source(t *testing.T, path string, e ast.Expr) string {
	t.Helper()
	return read(t, path)[e.Pos()-1 : e.End()-1]
}

// jsonTags adds the names of JSON members in some types of a file, or in all,
// and those of maps that are printed.
func jsonTags(t *testing.T, path, types string, tags map[string]bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			return types == "" || slices.Contains(strings.Fields(types), n.Name.Name)
		case *ast.Field:
			if n.Tag != nil {
				name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(n.Tag.Value, "`")).Get("json"), ",")
				if name != "" && name != "-" {
					tags[name] = true
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "JSON" && len(n.Args) == 1 {
				for _, m := range regexp.MustCompile(`"([a-z]+)":`).FindAllStringSubmatch(source(t, path, n.Args[0]), -1) {
					tags[m[1]] = true
				}
			}
		}
		return true
	})
}

// help is what dkms prints for some words that ask for help.
func help(t *testing.T, words ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := cli.Main(system.Process{Args: words, Out: &out, Err: &out}); code != 0 {
		t.Fatalf("dkms %s = %d: %s", words, code, &out)
	}
	return out.String()
}

// vocabulary is every verb that "dkms help" knows, and the long options of
// each.
func vocabulary(t *testing.T) map[string][]string {
	t.Helper()
	verbs := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z_ ]*[a-z]) {2,}[a-z]`).FindAllStringSubmatch(help(t, "help"), -1) {
		text := help(t, append([]string{"help"}, strings.Fields(m[1])...)...)
		for _, o := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z_-]+)`).FindAllStringSubmatch(text, -1) {
			// These are our long names for -v, -c and -j.
			if !slices.Contains([]string{"modversion", "conf", "jobs"}, o[1]) {
				verbs[m[1]] = append(verbs[m[1]], o[1])
			}
		}
	}
	if len(verbs) < 20 || len(verbs["install"]) < 15 {
		t.Fatalf("only %d verbs, and of install %q", len(verbs), verbs["install"])
	}
	return verbs
}

// TestEverythingIsDocumented looks for every verb and option in dkms(8) and
// in the three completions.
func TestEverythingIsDocumented(t *testing.T) {
	manual := read(t, "man/dkms.8")
	for v, options := range vocabulary(t) {
		if !strings.Contains(manual, "\n.It Cm "+v+"\n") {
			t.Errorf("dkms(8) lacks %s", v)
		}
		for _, o := range options {
			if !regexp.MustCompile(`(?m)^\.It .*-` + o + `( |$)`).MatchString(manual) {
				t.Errorf("dkms(8) lacks --%s", o)
			}
			for file, form := range map[string]string{"dkms.bash": "--", "_dkms": "--", "dkms.fish": "-l "} {
				if !regexp.MustCompile(regexp.QuoteMeta(form+o) + `\b`).MatchString(read(t, "completions/"+file)) {
					t.Errorf("completions/%s lacks --%s", file, o)
				}
			}
		}
	}
}

func TestDifferences(t *testing.T) {
	next := 1
	for _, line := range strings.Split(read(t, "doc/differences.md"), "\n") {
		cells := strings.Split(line, " | ")
		number, err := strconv.Atoi(strings.TrimPrefix(cells[0], "| "))
		if err != nil {
			continue
		}
		if number != next || len(cells) != 4 || !regexp.MustCompile(`^(fixed|fixed, in part|kept|planned)$`).MatchString(cells[2]) {
			t.Errorf("differences.md: want row %d with a decision, have %q", next, line)
		}
		next++
	}
	if next != 72 {
		t.Errorf("differences.md ends with row %d; want 71", next-1)
	}
}

func TestLicense(t *testing.T) {
	standard, err := os.ReadFile("/usr/share/common-licenses/Apache-2.0")
	if err != nil {
		t.Skip("no standard text to compare with")
	}
	if !bytes.Equal([]byte(read(t, "../LICENSE")), standard) {
		t.Error("LICENSE is not the standard text")
	}
}
