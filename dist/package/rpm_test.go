package package_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSpecVersion: the spec file as it is packs the archives of "make source".
func TestSpecVersion(t *testing.T) {
	want := variable(t, "../../Makefile", `(?m)^VERSION = (.*)$`)
	if got := variable(t, "rpm/dkms.spec", `(?m)^Version: *(.*)$`); got != want {
		t.Errorf("dkms.spec has version %s; want that of the Makefile, %s", got, want)
	}
}

// makeRPM has "make rpm" pack a small program with symbols in the place of ours,
// and returns the package and the program. Nothing is left in the home directory.
func makeRPM(t *testing.T, arch string, vars ...string) (file, program string) {
	t.Helper()
	for _, p := range []string{"make", "rpmbuild", "gcc"} {
		need(t, p)
	}
	temp, home := t.TempDir(), t.TempDir()
	program, compiler, bin := filepath.Join(temp, "program"), filepath.Join(temp, "go"), filepath.Join(temp, "bin")
	write(t, program+".c", "void _start(void) { for (;;); }\n")
	if out, code := run(t, nil, "gcc", "-g", "-static", "-nostdlib", "-fdebug-prefix-map="+temp+"=.", "-o", program, program+".c"); code != 0 {
		t.Fatal(out)
	}
	write(t, compiler, "#!/bin/sh\ncase $1 in\nenv) echo \"$GOARCH\" ;;\nbuild) while [ \"$1\" != -o ]; do shift; done; install -D "+program+" \"$2\" ;;\nesac\n")
	env := []string{"HOME=" + home, "GOARCH=" + arch, "SOURCE_DATE_EPOCH=1700000000", "MAINTAINER=Some Body <s@b.example>"}
	out, code := run(t, env, append([]string{"make", "-s", "-C", "../..", "rpm", "GO=" + compiler, "BIN=" + bin}, vars...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if file = lines[len(lines)-1]; code != 0 || filepath.Ext(file) != ".rpm" {
		t.Fatalf("make rpm = %d, %s", code, out)
	}
	if left := files(home); len(left) > 0 {
		t.Errorf("make rpm leaves %q in the home directory", left)
	}
	return file, program
}

// query is what rpm says of a package file.
func query(t *testing.T, file string, args ...string) string {
	t.Helper()
	out, code := run(t, nil, append([]string{"rpm", "--dbpath", t.TempDir(), "-qp"}, append(args, file)...)...)
	if code != 0 {
		t.Fatalf("rpm -qp %q = %d: %s", args, code, out)
	}
	return out
}

// TestRPM holds what is in the packages for both distributions.
func TestRPM(t *testing.T) {
	const all = "bash binutils coreutils findutils gcc gzip kmod make patch tar xz "
	both := []string{
		" /etc/dkms", " /etc/dkms/framework.conf.d", " /var/lib/dkms", " /usr/lib/dkms", " /usr/lib/kernel/install.d/40-dkms.install",
		"cn /etc/dkms/framework.conf", "cn /etc/dnf/libdnf5-plugins/actions.d/dkms.actions", "d /usr/share/doc/dkms/CHANGES.md",
		"d /usr/share/man/man8/dkms.8.gz", "l /usr/share/licenses/dkms/LICENSE", "l /usr/share/licenses/dkms/licenses.txt",
	}
	const suse = " /usr/libexec/dkms/common.postinst"
	for distro, c := range map[string]struct {
		requires, recommends string
		files                []string
	}{
		"":     {"(kernel-devel-matched if kernel-core) " + all, "elfutils-libelf-devel", both},
		"suse": {strings.Replace(all, "kmod", "kernel-syms kmod", 1), "libelf-devel", append(both, suse)},
	} {
		file, program := makeRPM(t, "amd64", "RPM_DISTRO="+distro, "VERSION=9.9", "RELEASE=7")
		if got := filepath.Base(file); got != "dkms-9.9-7.x86_64.rpm" {
			t.Errorf("%q: the package is %s", distro, got)
		}
		const tags = `%{NAME}|%{VERSION}-%{RELEASE}|%{ARCH}|%{OS}|%{BUILDTIME}|%{BUILDHOST}|%{PACKAGER}|%{LICENSE}|%{GROUP}|%{URL}|%{SUMMARY}|[%{RECOMMENDS}]|[%{SUGGESTS}]|[%{CHANGELOGNAME}: %{CHANGELOGTEXT}]`
		want := "dkms|9.9-7|x86_64|linux|1700000000|localhost|Some Body <s@b.example>|Apache-2.0 AND 0BSD AND BSD-3-Clause AND MIT|System Environment/Kernel|https://wiki.gentoo.org/wiki/DKMS|Build kernel modules whenever a kernel is installed|" +
			c.recommends + "|skopeo|Some Body <s@b.example> - 9.9-7: - See CHANGES.md in the documentation."
		if got := query(t, file, "--qf", tags); got != want {
			t.Errorf("%q: tags are\n%s; want\n%s", distro, got, want)
		}
		var requires []string
		for line := range strings.Lines(query(t, file, "--requires")) {
			if !strings.HasPrefix(line, "rpmlib(") && !strings.HasPrefix(line, "config(") && line != "/bin/sh\n" {
				requires = append(requires, strings.TrimSpace(line))
			}
		}
		if got := strings.Join(requires, " ") + " "; got != c.requires {
			t.Errorf("%q: requires %s; want %s", distro, got, c.requires)
		}
		got := strings.Split(query(t, file, "--qf", `[%{FILEFLAGS:fflags} %{FILENAMES}\n]`), "\n")
		for _, want := range c.files {
			if !slices.Contains(got, want) {
				t.Errorf("%q: the package lacks %q: %q", distro, want, got)
			}
		}
		if distro == "" && slices.Contains(got, suse) {
			t.Errorf("the package for Fedora has%s", suse)
		}
		if got := query(t, file, "--qf", `[%{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEMTIMES}\n]`); strings.ReplaceAll(got, "root:root 1700000000\n", "") != "" {
			t.Errorf("%q: owners and times are %q", distro, got)
		}
		scripts := query(t, file, "--scripts", "--filetriggers")
		for _, want := range []string{"postinstall", "preuninstall", "postuninstall", "transfiletriggerin"} {
			if !strings.Contains(scripts, want+" scriptlet (using /bin/sh)") {
				t.Errorf("%q: the package has no script %s: %s", distro, want, scripts)
			}
		}
		if !strings.Contains(scripts, "(using /bin/sh) -- /usr/src\n") || strings.Contains(scripts, "%") {
			t.Errorf("%q: the trigger is not for /usr/src, or a script has a macro: %s", distro, scripts)
		}
		sum, _ := run(t, nil, "sha256sum", program)
		sum, _, _ = strings.Cut(sum, " ")
		if got := query(t, file, "--qf", `[%{FILEDIGESTS} %{FILENAMES}\n]`); !strings.Contains(got, sum+" /usr/sbin/dkms\n") {
			t.Errorf("%q: the program is not the one that was built: %s", distro, got)
		}
	}
}

// TestRPMSame: the same sources give the same bytes, wherever the programs are, and
// the name of the architecture is rpm's.
func TestRPMSame(t *testing.T) {
	var packages [2][]byte
	for i := range packages {
		file, _ := makeRPM(t, "arm64")
		if got := query(t, file, "--qf", "%{ARCH}"); got != "aarch64" {
			t.Errorf("GOARCH=arm64 makes a package for %s", got)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		packages[i] = data
	}
	if !bytes.Equal(packages[0], packages[1]) {
		t.Error("two packages of the same sources differ")
	}
}
