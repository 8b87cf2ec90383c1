//go:build differential

package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The kernels: the modules of one are plain, those of the other compressed.
const (
	plainKernel = "6.1.0-9-plain"
	xzKernel    = "6.9.1-xz"
)

var kernels = []string{plainKernel, xzKernel}

// pack is a source package; every one has a quality of its own.
type pack struct {
	name, version string
	conf          []string          // beside the names; empty means one record and AUTOINSTALL
	objects       []string          // modules to build, by default the name
	files         map[string]string // by path; scripts are executable
}

func (p pack) id() string { return p.name + "/" + p.version }

var automatic = []string{`DEST_MODULE_LOCATION[0]="/kernel/extra"`, `AUTOINSTALL="yes"`}

// packages: plain has nothing special; multi has two versions, of which only a
// number compare knows the newer; depends and excluded ask for something;
// failing, stale and refusing cannot be built or installed; hooks has every
// script; pair has two modules, and strips one; patched is patched for one
// kernel; renamed takes the place of a module of the kernel; manual is not for
// autoinstall; subdir is made by a command of its own; invalid has a dkms.conf
// that is wrong.
var packages = []pack{
	{name: "plain", version: "1.0"},
	{name: "multi", version: "1.9"},
	{name: "multi", version: "1.10"},
	{name: "depends", version: "1.0", conf: append([]string{`BUILD_DEPENDS[0]="plain"`}, automatic...)},
	{name: "excluded", version: "1.0", conf: append([]string{`BUILD_EXCLUSIVE_KERNEL="^6\.9"`}, automatic...)},
	{name: "failing", version: "1.0", files: map[string]string{"failing.c": "#error this does not compile\n"}},
	{name: "stale", version: "1.0", conf: append([]string{`PATCH[0]="stale.patch"`}, automatic...),
		files: map[string]string{"patches/stale.patch": patchOf("stale", "0.9", "1.1")}},
	{name: "refusing", version: "1.0", conf: append([]string{`PRE_INSTALL="refuse.sh"`}, automatic...),
		files: map[string]string{"refuse.sh": "#!/bin/sh\nexit 3\n"}},
	{name: "hooks", version: "1.0", conf: append([]string{
		`POST_ADD="hook.sh post_add"`, `PRE_BUILD="hook.sh pre_build"`, `POST_BUILD="hook.sh post_build"`,
		`PRE_INSTALL="hook.sh pre_install"`, `POST_INSTALL="hook.sh post_install"`, `POST_REMOVE="hook.sh post_remove"`,
	}, automatic...), files: map[string]string{"hook.sh": "#!/bin/sh\n" + `echo "$(pwd -P) $*" >>/var/tmp/hooks` + "\n"}},
	{name: "pair", version: "1.0", objects: []string{"pair_a", "pair_b"}, conf: []string{
		`BUILT_MODULE_NAME[0]="pair_a"`, `DEST_MODULE_LOCATION[0]="/kernel/extra"`,
		`BUILT_MODULE_NAME[1]="pair_b"`, `DEST_MODULE_LOCATION[1]="/updates"`, `STRIP[1]="no"`, `AUTOINSTALL="yes"`,
	}},
	{name: "patched", version: "1.0", conf: append([]string{`PATCH[0]="new.patch"`, `PATCH_MATCH[0]="^6\.9"`}, automatic...),
		files: map[string]string{"patches/new.patch": patchOf("patched", "1.0", "1.0-patched")}},
	{name: "renamed", version: "1.0", conf: append([]string{`DEST_MODULE_NAME[0]="fakefs"`}, automatic...)},
	{name: "manual", version: "1.0", conf: automatic[:1]},
	{name: "subdir", version: "1.0", conf: append([]string{
		`MAKE[0]="make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build/src"`,
		`CLEAN="rm -f src/*.ko"`, `BUILT_MODULE_LOCATION[0]="src/"`,
	}, automatic...), files: map[string]string{"src/Makefile": "obj-m := subdir.o\n", "src/subdir.c": source("subdir", "1.0")}},
	{name: "invalid", version: "1.0", conf: []string{`DEST_MODULE_LOCATION[0]="/elsewhere"`, `AUTOINSTALL="yes"`}},
}

// layPackages writes the packages into the source tree of a machine.
func layPackages(root string) error {
	for _, p := range packages {
		for path, text := range p.tree() {
			mode := os.FileMode(0o644)
			if strings.HasSuffix(path, ".sh") {
				mode = 0o755
			}
			path = filepath.Join(root, "usr/src", p.name+"-"+p.version, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(text), mode); err != nil {
				return err
			}
		}
	}
	return nil
}

// tree is every file of the package.
func (p pack) tree() map[string]string {
	objects, conf := p.objects, p.conf
	if objects == nil {
		objects = []string{p.name}
	}
	if conf == nil {
		conf = automatic
	}
	names := fmt.Sprintf("PACKAGE_NAME=%q\nPACKAGE_VERSION=%q\n", p.name, p.version)
	files := map[string]string{
		"dkms.conf": names + strings.Join(conf, "\n") + "\n",
		"Makefile":  "obj-m := " + strings.Join(objects, ".o ") + ".o\n",
	}
	for _, o := range objects {
		files[o+".c"] = source(o, p.version)
	}
	for path, text := range p.files {
		files[path] = text
	}
	return files
}

func source(name, version string) string {
	return fmt.Sprintf("#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nMODULE_VERSION(%q);\n"+
		"MODULE_ALIAS(%q);\nstatic int start(void) { return %d; }\nmodule_init(start);\n", version, "fake:"+name, len(version))
}

func patchOf(name, from, to string) string {
	return fmt.Sprintf("--- a/%[1]s.c\n+++ b/%[1]s.c\n@@ -1,4 +1,4 @@\n #include <linux/module.h>\n MODULE_LICENSE(\"GPL\");\n"+
		"-MODULE_VERSION(%[2]q);\n+MODULE_VERSION(%[3]q);\n MODULE_ALIAS(\"fake:%[1]s\");\n", name, from, to)
}
