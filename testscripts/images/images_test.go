//go:build images

package images

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
	"dkms/testscripts/testkit"
)

// hello are the sources that README has in its first section.
var hello = map[string]string{
	"dkms.conf": "PACKAGE_NAME=hello\nPACKAGE_VERSION=1.0\nBUILT_MODULE_NAME[0]=hello\nDEST_MODULE_LOCATION[0]=/updates\nAUTOINSTALL=yes\n",
	"Makefile":  "obj-m := hello.o\n",
	"hello.c":   "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n",
}

func writeHello(t *testing.T, dir string) {
	for name, text := range hello {
		testkit.Write(t, filepath.Join(dir, name), text)
	}
}

// example is the first block of README's section about images that has a word.
func example(t *testing.T, word string) string {
	text, err := os.ReadFile("../../README.md")
	testkit.Must(t, err)
	_, section, _ := strings.Cut(string(text), "\n## Images, and other architectures\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, block := range regexp.MustCompile(`(?m)(^    .*\n)+`).FindAllString(section, -1) {
		if strings.Contains(block, word) {
			return regexp.MustCompile(`(?m)^    `).ReplaceAllString(block, "")
		}
	}
	t.Fatalf("README has no example with %s", word)
	return ""
}

// run runs a shell script in dir; the test ends if the script fails.
func run(t *testing.T, dir, bin, script string) string {
	cmd := exec.Command("sh", "-exc", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "SOURCE_DATE_EPOCH=1700000000")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.Bytes(), said.Bytes())
	}
	return out.String()
}

// A Debian of a newer release than this one gets a module as README has it, and
// its copy gets the same bytes.
func TestReadme(t *testing.T) {
	chroot.Require(t, "debootstrap", "go", "make", "modinfo")
	dir, bin := t.TempDir(), t.TempDir()
	testkit.Must(t, chroot.Run("make", "-C", "../..", "BIN="+bin, "all"))
	writeHello(t, filepath.Join(dir, "hello"))
	script := strings.ReplaceAll(example(t, "debootstrap"), "/root/hello", dir+"/hello")
	before, after, _ := strings.Cut(script, "dkms --root image add")
	run(t, dir, bin, before+"cp -a image copy")
	if out := run(t, dir, bin, "dkms --root image add"+after); !regexp.MustCompile(`hello/1\.0, .*: installed`).MatchString(out) {
		t.Errorf("it printed %q", out)
	}
	run(t, dir, bin, strings.ReplaceAll("dkms --root image add"+after, "image", "copy"))

	kernel := strings.TrimSpace(run(t, dir, bin, "ls image/lib/modules"))
	if magic := run(t, dir, bin, "modinfo -F vermagic image/lib/modules/*/updates/dkms/hello.ko*"); !strings.HasPrefix(magic, kernel+" ") {
		t.Errorf("vermagic is %q, of kernel %s", magic, kernel)
	}
	run(t, dir, bin, "for d in lib/modules var/lib/dkms usr/src etc; do diff -r --no-dereference image/$d copy/$d; done")
	if left := run(t, dir, bin, "find image -name 'mok.*'; grep "+dir+" /proc/mounts || true"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}
