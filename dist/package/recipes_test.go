package package_test

import (
	"encoding/xml"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const ebuilds = "../gentoo/sys-kernel/dkms/"

// portage is a stand-in for the calls of an ebuild: it runs the phases that
// are asked for, as portage does. make is the real one, with small programs in
// the place of ours.
const portage = `
PN=dkms PV=$1 P=dkms-$1 PF=dkms-$1-r7 USE=$2 D=$3 ED=$3 EROOT=$3 WORKDIR=/work S=/work/dkms-$1 ebuild=$4 bin=$5
shift 5
die() { echo "die $*"; exit 1; }
use() { [[ " $USE " == *" $1 "* ]]; }
emake() { make -s BIN="$bin" "$@" || die emake; }
dodoc() { install -D -m 644 -t "$D/usr/share/doc/$PF" "$@"; }
keepdir() { for dir; do install -D /dev/null "$D$dir/.keep"; done; }
systemd_get_systemunitdir() { echo /usr/lib/systemd/system; }
for f in inherit einfo elog ewarn docompress optfeature git-r3_src_unpack go-module_live_vendor go-env_set_compile_environment go-module_src_unpack; do
	eval "$f() { echo $f \"\$@\"; }"
done
. "$ebuild"
for phase; do
	case $phase in
	show) echo "$EAPI|${SRC_URI-}|$S|${KEYWORDS-}|$RESTRICT|$IUSE" ;;
	*) $phase ;;
	esac
done
`

// ebuild runs phases of the ebuild of a version into an image.
func ebuild(t *testing.T, image, version, use string, phases ...string) string {
	t.Helper()
	need(t, "bash")
	need(t, "make")
	file, err := filepath.Abs(ebuilds + "dkms-" + version + ".ebuild")
	if err != nil {
		t.Fatal(err)
	}
	script, bin := filepath.Join(t.TempDir(), "portage"), t.TempDir()
	write(t, script, "cd ../..\n"+portage)
	for _, program := range []string{"dkms", "dkms-hook"} {
		write(t, filepath.Join(bin, program), "#!/bin/sh\n")
	}
	out, code := run(t, nil, append([]string{"bash", "-eu", script, version, use, image, file, bin}, phases...)...)
	if code != 0 {
		t.Fatalf("dkms-%s %v = %d: %s", version, phases, code, out)
	}
	return out
}

// TestEbuild runs the installation for both boot services and looks at what is
// in the image.
func TestEbuild(t *testing.T) {
	const doc = "usr/share/doc/dkms-9999-r7/"
	both := []string{doc + "README.md", doc + "CHANGES.md", doc + "licenses.txt", doc + "examples/dkms-textfile", "etc/dkms/framework.conf",
		"usr/lib/kernel/install.d/40-dkms.install", "usr/lib/kernel/preinst.d/40-dkms.install", "usr/sbin/dkms", "usr/lib/dkms/common.postinst"}
	unit, script := "usr/lib/systemd/system/dkms.service", "etc/init.d/dkms"
	for use, c := range map[string]struct{ with, without, hint string }{
		"systemd": {unit, script, "systemctl enable dkms"},
		"":        {script, unit, "rc-update add dkms default"},
	} {
		image := t.TempDir()
		write(t, image+"/etc/kernel/postinst.d/dkms", "")
		out := ebuild(t, image, "9999", use, "src_install", "pkg_postinst")
		got := files(image)
		for _, want := range append(both, c.with) {
			if !slices.Contains(got, want) {
				t.Errorf("USE=%q: the image lacks %s: %q", use, want, got)
			}
		}
		if slices.Contains(got, c.without) {
			t.Errorf("USE=%q: the image has %s", use, c.without)
		}
		for _, want := range []string{c.hint, "docompress -x /usr/share/doc/dkms-9999-r7/examples", "ewarn Remove " + image + "/etc/kernel/postinst.d/dkms"} {
			if !strings.Contains(out, want) {
				t.Errorf("USE=%q: the ebuild says %q; want %q in it", use, out, want)
			}
		}
	}
}

// TestEbuildVersions: what differs between the live ebuild and that of a
// release is the sources, how they are unpacked and the keywords.
func TestEbuildVersions(t *testing.T) {
	version := variable(t, "../../Makefile", `(?m)^VERSION = (.*)$`)
	archives := "dkms-" + version + ".tar.xz dkms-" + version + "-vendor.tar.xz"
	for pv, want := range map[string]string{
		"9999":                                   "8||/work/dkms-9999|| test|systemd\ngit-r3_src_unpack\ngo-module_live_vendor\ngo-env_set_compile_environment\n",
		strings.ReplaceAll(version, "+go", "_p"): "8|" + archives + "|/work/dkms-" + version + "|~amd64 ~arm64 ~riscv ~x86|fetch test|systemd\ngo-module_src_unpack\n",
	} {
		_, got, _ := strings.Cut(ebuild(t, t.TempDir(), pv, "", "show", "src_unpack", "pkg_nofetch"), "8|")
		got, nofetch, _ := strings.Cut("8|"+got, "einfo")
		if got != want {
			t.Errorf("dkms-%s is %q; want %q", pv, got, want)
		}
		if pv != "9999" && !strings.Contains(nofetch, archives) {
			t.Errorf("dkms-%s: pkg_nofetch says %q; want the names of the archives", pv, nofetch)
		}
	}
}

// TestEbuildForm holds the form that pkgcheck(1) looks for and a shell does not.
func TestEbuildForm(t *testing.T) {
	text, err := os.ReadFile(ebuilds + "dkms-9999.ebuild")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`\A# Copyright (\d{4}-)?\d{4} \S.*\n# Distributed under the terms of the GNU General Public License v2\n\n`).Match(text) {
		t.Error("the ebuild does not begin with the header of ebuilds")
	}
	for i, line := range strings.Split(string(text), "\n") {
		if strings.TrimRight(line, " \t") != line || strings.HasPrefix(line, " ") {
			t.Errorf("ebuild:%d: blanks where pkgcheck wants none: %q", i+1, line)
		}
	}
	var meta struct {
		Maintainer []struct {
			Email string `xml:"email"`
		} `xml:"maintainer"`
		Flags []struct {
			Name string `xml:"name,attr"`
		} `xml:"use>flag"`
	}
	data, err := os.ReadFile(ebuilds + "metadata.xml")
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(data, &meta); err != nil {
		t.Fatal(err)
	}
	if len(meta.Maintainer) != 1 || !address(meta.Maintainer[0].Email) {
		t.Errorf("metadata.xml: maintainers are %v; want one with an address", meta.Maintainer)
	}
	if len(meta.Flags) != 1 || !strings.Contains(string(text), "IUSE=\""+meta.Flags[0].Name+"\"") {
		t.Errorf("metadata.xml: flags are %v; want those of IUSE", meta.Flags)
	}
}

// TestArchives: the recipes of Arch and Alpine want the archives that "make
// source" makes, and name somebody.
func TestArchives(t *testing.T) {
	version := variable(t, "../../Makefile", `(?m)^VERSION = (.*)$`)
	want := "dkms-" + version + ".tar.xz dkms-" + version + "-vendor.tar.xz"
	for file, shell := range map[string]string{"../arch/PKGBUILD": "bash", "../alpine/APKBUILD": "sh"} {
		list := map[string]string{"bash": "${source[*]}", "sh": "$source"}[shell]
		out, code := run(t, nil, shell, "-c", `srcdir=/src; . "$1"; echo `+list+`; echo "$url"`, "-", file)
		if code != 0 || !strings.HasPrefix(out, want) || !strings.Contains(out, "\nhttps://") {
			t.Errorf("%s: source and url are %q, %d; want %s and an address", file, out, code, want)
		}
		if who := variable(t, file, `\A# Maintainer: (.*)`); !address(who) {
			t.Errorf("%s: %q is no maintainer", file, who)
		}
	}
}

func address(s string) bool {
	_, err := mail.ParseAddress(s)
	return err == nil
}

// variable is what the first group of a pattern matches in a file.
func variable(t *testing.T, file, pattern string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has nothing like %s", file, pattern)
	}
	return string(m[1])
}
