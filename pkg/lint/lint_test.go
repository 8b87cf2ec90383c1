package lint

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkms/pkg/conf"
	"dkms/pkg/system"
)

const plain = "PACKAGE_NAME=foo\nPACKAGE_VERSION=1.0\nBUILT_MODULE_NAME=foo\nDEST_MODULE_LOCATION=/updates\nAUTOINSTALL=yes\n"

// check lints a directory of the given files; paths in the remarks begin at
// the directory.
func check(t *testing.T, files map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	h := system.ThisHost(os.Environ())
	h.Root.Dir = filepath.Join(t.TempDir(), "none")
	p := Package{Dir: dir, File: filepath.Join(dir, "dkms.conf"), Target: conf.Target{Release: "6.1-k", Arch: "x86_64", SourceDir: "/lib/modules/6.1-k/build"}}
	r := conf.Reader{Host: h, Run: system.NewRunner(h)}
	p.Result = r.Modules(context.Background(), []conf.Ref{{File: p.File, Target: p.Target}})[0]
	p.Run, p.Tmp = system.NewRunner(system.ThisHost(os.Environ())), t.TempDir()
	remarks, err := Check(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, remark := range remarks {
		list = append(list, strings.ReplaceAll(remark.String(), dir+"/", ""))
	}
	return list
}

// remarks has what is added to a plain package, and what is said of it.
var remarks = []struct {
	name, conf string
	files      map[string]string
	want       []string
}{
	{name: "nothing to say"},
	{
		name: "misspelt", conf: "AUTO_INSTALL=yes\nBUILD_EXCLUSIVE_KERNL=x\nPOST_EVERYTHING=x\nKVER=1\nMINE_TOO=2\nPOST_MINE=3\necho $POST_MINE\n",
		want: []string{
			"dkms.conf:6: error: AUTO_INSTALL is no directive; is AUTOINSTALL meant?",
			"dkms.conf:7: error: BUILD_EXCLUSIVE_KERNL is no directive; is BUILD_EXCLUSIVE_KERNEL meant?",
			"dkms.conf:8: warning: POST_EVERYTHING is no directive",
		},
	},
	{
		name: "limits that leave nothing", conf: "BUILD_EXCLUSIVE_KERNEL_MIN=6.10\nBUILD_EXCLUSIVE_KERNEL_MAX=6.9\nBUILD_EXCLUSIVE_ARCH='^(amd64|arm64)$'\n",
		want: []string{
			"dkms.conf:6: error: BUILD_EXCLUSIVE_KERNEL_MIN=6.10 is above BUILD_EXCLUSIVE_KERNEL_MAX=6.9: no kernel is left",
			"dkms.conf:8: error: BUILD_EXCLUSIVE_ARCH=^(amd64|arm64)$: no machine calls itself that: uname -m says x86_64 or aarch64, for example",
		},
	},
	{name: "limits that leave something", conf: "BUILD_EXCLUSIVE_KERNEL_MIN=6.9\nBUILD_EXCLUSIVE_KERNEL_MAX=6.10\nBUILD_EXCLUSIVE_ARCH='^(x86_64|arm64)$'\n"},
	{
		name: "expressions that fit more", files: map[string]string{"patches/a": "", "patches/b": "", "patches/c": ""},
		conf: "PATCH[0]=a\nPATCH_MATCH[0]='6.12*'\nPATCH[1]=b\nPATCH_MATCH[1]='^6\\.1'\nPATCH[2]=c\nPATCH_MATCH[2]='^6\\.1([^0-9]|$)'\n",
		want: []string{
			"dkms.conf:7: warning: PATCH_MATCH=6.12* is a regular expression and no file name: the * repeats the digit before it, and fits without it, too",
			`dkms.conf:9: warning: PATCH_MATCH=^6\.1 fits 6.10, too: ^6\.1([^0-9]|$) does not`,
		},
	},
	{
		name: "what make is not for", conf: "MAKE='make -C $kernel_source_dir SUBDIRS=$PWD modules'\nMAKE[1]='make -C . install'\nMAKE_MATCH[1]=.\n",
		want: []string{
			"dkms.conf:6: error: SUBDIRS= means nothing to today's kernels, which build their own modules then: M=",
			"dkms.conf:7: error: installing is for dkms to do: a build may not change the system",
		},
	},
	{
		name: "no version", files: map[string]string{"foo.c": "MODULE_LICENSE(\"GPL\");\n"},
		want: []string{"dkms.conf: warning: no source has MODULE_VERSION: which of two builds is newer, and whether the kernel's own module is, cannot be told"},
	},
	{name: "a version", files: map[string]string{"foo.c": "MODULE_LICENSE(\"GPL\");\n", "sub/bar.c": "MODULE_VERSION(\"1\");\n"}},
	{name: "in small letters", conf: "package_name=foo\n", want: []string{"dkms.conf:6: error: package_name is no directive: their names are in capitals"}},
	{
		name: "deprecated", conf: "CLEAN='make clean'\nREMAKE_INITRD=yes\nOBSOLETE_BY=6.0\n",
		want: []string{
			"dkms.conf:6: warning: CLEAN is deprecated and has no effect",
			"dkms.conf:7: warning: REMAKE_INITRD is deprecated and has no effect",
			"dkms.conf:8: warning: OBSOLETE_BY is deprecated, use BUILD_EXCLUSIVE_KERNEL_MAX",
		},
	},
	{
		name: "uname in the configuration", conf: "MAKE=\"make KVER=$(uname -r)\"\n# uname -r\nkernel=`uname -mr`\n",
		want: []string{
			"dkms.conf:6: error: uname -r is the running kernel; the one to build for is $kernelver",
			"dkms.conf:8: warning: uname -r is the running kernel; the one to build for is $kernelver",
		},
	},
	{
		name: "uname in the makefile", conf: "MAKE=make\n", files: map[string]string{"Makefile": "# uname -r\nall:\n\tmake -C /lib/modules/$(shell uname -r)/build\n"},
		want: []string{"Makefile:3: warning: uname -r is the running kernel, and MAKE does not say which kernel to build for"},
	},
	{name: "uname in the makefile, overridden", conf: "MAKE='make KDIR=$kernel_source_dir'\n", files: map[string]string{"Makefile": "KDIR ?= /lib/modules/$(shell uname -r)/build\n"}},
	{name: "uname in the makefile, overridden by its release", conf: "MAKE='make KVER=$kernelver'\n", files: map[string]string{"Makefile": "KVER ?= $(shell uname -r)\n"}},
	{name: "uname in a makefile that the kernel reads", files: map[string]string{"Makefile": "KDIR ?= /lib/modules/$(shell uname -r)/build\n"}},
	{name: "uname for what dkms sets", conf: "MAKE=make\n", files: map[string]string{"Makefile": "KERNELRELEASE ?= $(shell uname -r)\n"}},
	{
		name: "make", conf: "MAKE[0]=\"'make' all\"\nMAKE[1]='make -j$(nproc)'\nMAKE_MATCH[1]=.\n",
		want: []string{
			"dkms.conf:6: warning: make in quotes is given neither the number of jobs nor KERNELRELEASE",
			"dkms.conf:7: warning: -j is for dkms to decide: it knows how many processors are free",
		},
	},
	{
		name: "the whole command in quotes", conf: `MAKE="'make all KVER=$kernelver'"` + "\n",
		want: []string{"dkms.conf:6: error: the quotes inside MAKE make one word of the whole command, and no program has that name"},
	},
	{
		name: "in the sources", conf: "MAKE[0]='make -C $kernel_source_dir M=$source_tree/foo-1.0'\nMAKE[1]='cd /usr/src/foo-1.0 && make'\nMAKE_MATCH[1]=.\n",
		want: []string{
			"dkms.conf:6: error: MAKE works in the sources, which a build may not change: it starts in a copy of them, $dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build",
			"dkms.conf:7: error: MAKE works in the sources, which a build may not change: it starts in a copy of them, $dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build",
		},
	},
	{name: "in the copy", conf: "MAKE='make -C /usr/src/linux-headers-6.1 M=$dkms_tree/foo/1.0/build'\n"},
	{
		name: "make's name for the release", conf: "MAKE='make KVER=$KERNELRELEASE'\nPRE_BUILD=\n# $KERNELRELEASE\n",
		want: []string{"dkms.conf:6: error: KERNELRELEASE is a variable of make, and empty here; the kernel to build for is $kernelver"},
	},
	{name: "a name of the author's", conf: "KERNELRELEASE=$kernelver\nMAKE='make KVER=$KERNELRELEASE'\n"},
	{
		name: "no rule with KERNELRELEASE", conf: "MAKE='make all KDIR=$kernel_source_dir'\n",
		files: map[string]string{"Makefile": "ifneq ($(KERNELRELEASE),)\nobj-m := foo.o\nelse\nKDIR ?= /x\nifdef V\nQ :=\nelse\nQ := @\nendif\nall:\n\t$(MAKE) -C $(KDIR) M=$(PWD)\nendif\n"},
		want:  []string{"Makefile:1: error: MAKE calls make with KERNELRELEASE set, and this makefile has no rule then: leave MAKE out of dkms.conf, or let it call make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build"},
	},
	{
		name: "a rule with KERNELRELEASE", conf: "MAKE='make all KDIR=$kernel_source_dir'\n",
		files: map[string]string{"Makefile": "ifndef KERNELRELEASE\nKDIR ?= /x\nelse\nobj-m := foo.o\nendif\nall:\n\t$(MAKE) -C $(KDIR) M=$(PWD)\n"},
	},
	{
		name: "in quotes, for a makefile that asks for KERNELRELEASE", conf: "MAKE=\"'make' all KDIR=$kernel_source_dir\"\n",
		files: map[string]string{"Makefile": "ifneq ($(KERNELRELEASE),)\nobj-m := foo.o\nelse\nall:\n\t$(MAKE) -C $(KDIR) M=$(PWD)\nendif\n"},
		want:  []string{"dkms.conf:6: warning: make in quotes is given neither the number of jobs nor KERNELRELEASE"},
	},
	{
		name: "uname further down", conf: "MAKE='make -C src -f more.mk'\n",
		files: map[string]string{
			"src/Makefile": "include sub/rules.mk\nobj-m := foo.o\nall:\n\t$(MAKE) \\\n\t\t-C $(CURDIR)/deep all\n", "src/sub/rules.mk": "K := $(shell uname -r)\n",
			"src/deep/Makefile": "all:\n\tmake -C /lib/modules/`uname -r`/build SUBDIRS=$(PWD)\n", "src/unused/Makefile": "x := $(shell uname -r)\n",
		},
		want: []string{
			"src/deep/Makefile:2: error: SUBDIRS= means nothing to today's kernels, which build their own modules then: M=",
			"src/sub/rules.mk:1: warning: uname -r is the running kernel, and MAKE does not say which kernel to build for",
		},
	},
	{
		name: "uname that MAKE does not override", conf: "MAKE='make KVER=$kernelver'\n",
		files: map[string]string{"Makefile": "KVER ?= $(shell uname -r)\nobj-m := foo.o\nall:\n\t$(MAKE) -C /lib/modules/$(shell uname -r)/build M=$(PWD)\ninstall:\n\tcp foo.ko /lib/modules/$(shell uname -r)\n"},
		want:  []string{"Makefile:4: warning: uname -r is the running kernel, whatever kernel MAKE names"},
	},
	{
		name: "what nothing makes", conf: "BUILT_MODULE_NAME[1]=p_foo\nDEST_MODULE_LOCATION[1]=/updates\nBUILT_MODULE_NAME[2]=bar\nBUILT_MODULE_LOCATION[2]=sub\nDEST_MODULE_LOCATION[2]=/updates\n",
		files: map[string]string{"Makefile": "NAME = foo\nobj-m := $(NAME).o\nobj-m += \\\n  sub/\n", "sub/Kbuild": "obj-$(CONFIG_BAR) += bar.o # one\n"},
		want:  []string{"dkms.conf:6: error: no obj-m of the makefiles makes BUILT_MODULE_NAME[1]=p_foo, they make bar, foo"},
	},
	{name: "what nobody knows", conf: "BUILT_MODULE_NAME[0]=bar\n", files: map[string]string{"Makefile": "obj-m := $(if x,bar).o\n"}},
	{name: "what an unknown file may make", conf: "BUILT_MODULE_NAME[0]=bar\n", files: map[string]string{"Makefile": "include $(X)/y\nobj-m := foo.o\n"}},
	{
		name: "expressions that fit more than one version", conf: "MAKE_MATCH[1]='^(5\\.4|6.1).'\nMAKE[1]=make\nBUILD_EXCLUSIVE_KERNEL='^[67]\\.[1-9]'\n",
		want: []string{`dkms.conf:6: warning: MAKE_MATCH=^(5\.4|6.1). fits 6.10 to 6.19, as it fits 6.1: 6\.1([^0-9]|$) does not`},
	},
	{
		name: "patches that do not apply", conf: "PATCH[0]=fits\nPATCH[1]=then\nPATCH[2]=done\nPATCH[3]=other\nPATCH_MATCH[2]='^6\\.(9|10)\\.'\nPATCH_MATCH[3]='^5\\.4\\.'\n",
		files: map[string]string{
			"foo.c":        "one\ntwo\nthree\nMODULE_VERSION\n",
			"patches/fits": "--- a/foo.c\n+++ b/foo.c\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n", "patches/then": "--- a/foo.c\n+++ b/foo.c\n@@ -1,3 +1,3 @@\n one\n-2\n+II\n three\n",
			"patches/done": "--- a/foo.c\n+++ b/foo.c\n@@ -1,3 +1,3 @@\n one\n-2\n+II\n three\n", "patches/other": "--- a/nothing.c\n+++ b/nothing.c\n@@ -1,3 +1,3 @@\n one\n-2\n+II\n three\n",
		},
		want: []string{
			"dkms.conf:8: error: PATCH[2]=done does not apply for a kernel 6.9.0: foo.c: Reversed (or previously applied) patch detected!",
			"dkms.conf:9: error: PATCH[3]=other does not apply for a kernel 5.4.0: can't find file to patch at input line 3",
		},
	},
	{
		name: "the same name twice", conf: "BUILT_MODULE_NAME[1]=foo\nDEST_MODULE_LOCATION[1]=/updates\nAUTOINSTALL=yes\n",
		want: []string{
			"dkms.conf: error: records #0 and #1 are both built as foo",
			"dkms.conf: error: records #0 and #1 are both installed as foo",
		},
	},
	{
		name: "scripts", conf: "POST_ADD='there.sh now'\nPRE_BUILD=absent.sh\nPOST_INSTALL='plain.sh'\n", files: map[string]string{"there.sh": "#!/bin/sh\n", "plain.sh": "exit\n"},
		want: []string{
			"dkms.conf:7: error: PRE_BUILD: there is no absent.sh, and nothing is run",
			"dkms.conf:8: error: POST_INSTALL: plain.sh is not executable, and is not run",
		},
	},
	{
		name: "patches", conf: "PATCH[0]=a.patch\nPATCH[1]=b.patch\nPATCH[2]=../c.patch\nPATCH_MATCH[1]='('\n", files: map[string]string{"patches/a.patch": "x"},
		want: []string{
			"dkms.conf:7: error: PATCH[1]: there is no patches/b.patch",
			"dkms.conf:8: error: PATCH[2]=../c.patch leads out of patches/",
			"dkms.conf:9: warning: PATCH_MATCH[1]=( never matches: ",
		},
	},
	{
		name: "where it goes", conf: "DEST_MODULE_LOCATION[0]=/lib\nBUILT_MODULE_NAME[1]=bar\n",
		want: []string{
			"dkms.conf:4: error: DEST_MODULE_LOCATION[1] is not set",
			"dkms.conf:6: error: DEST_MODULE_LOCATION[0]=/lib does not begin with /kernel, /updates or /extra",
		},
	},
	{name: "neither yes nor no", conf: "AUTOINSTALL=Y\n", want: []string{"dkms.conf:5: error: AUTOINSTALL=Y is neither yes nor no"}},
	{name: "no shell", conf: "if true; then\n", want: []string{"dkms.conf:7: error: syntax error"}},
	{name: "a placeholder", conf: "PACKAGE_VERSION='#MODULE_VERSION#'\n", want: []string{"dkms.conf:2: warning: PACKAGE_VERSION=#MODULE_VERSION# looks like a placeholder"}},
	{name: "from another system", conf: "STRIP=no\r\n", want: []string{"dkms.conf:6: warning: the lines end in CR LF"}},
}

func TestCheck(t *testing.T) {
	for _, test := range remarks {
		files := map[string]string{"dkms.conf": plain + test.conf, "Makefile": "obj-m := foo.o\n"}
		for name, text := range test.files {
			files[name] = text
		}
		got := check(t, files)
		ok := slices.EqualFunc(got, test.want, func(g, w string) bool {
			return g == w || strings.HasPrefix(g, w) && strings.HasSuffix(w, " ") || strings.HasSuffix(w, "syntax error") && strings.HasPrefix(g, w)
		})
		if !ok {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
}

// What is missing altogether has no line.
func TestMissing(t *testing.T) {
	got := check(t, map[string]string{"dkms.conf": "BUILT_MODULE_NAME=foo\nDEST_MODULE_LOCATION=/extra\n"})
	want := []string{
		"dkms.conf: warning: AUTOINSTALL is not set: the package is not built for new kernels",
		"dkms.conf: error: PACKAGE_NAME is not set",
		"dkms.conf: error: PACKAGE_VERSION is not set",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got = check(t, map[string]string{"dkms.conf": plain})
	if len(got) != 1 || !strings.Contains(got[0], "error: there is neither a Makefile nor a Kbuild in ") {
		t.Errorf("without a makefile: %q", got)
	}
	if got = check(t, map[string]string{"dkms.conf": plain + "MAKE=./build.sh\n"}); len(got) > 0 {
		t.Errorf("without a makefile, and with a command: %q", got)
	}
}

func TestCheckWithoutFile(t *testing.T) {
	if r, err := Check(t.Context(), Package{File: filepath.Join(t.TempDir(), "dkms.conf")}); err == nil {
		t.Errorf("Check = %v; want an error", r)
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"AUTOINSTALL", "AUTOINSTAL", 1}, {"abc", "abc", 0}, {"abc", "acb", 2},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d; want %d", test.a, test.b, got, test.want)
		}
	}
}

// Lines are counted from 1, in order, and names are those that bash takes.
func FuzzAssignments(f *testing.F) {
	f.Add("A=1\n B[2]+=x\nexport C_D='x\n")
	f.Add("=\nA\n1A=2\r\nA==\x00")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, a := range assignments(text) {
			if a.line <= last || a.line > strings.Count(text, "\n")+1 || a.name == "" || strings.ContainsAny(a.name, " \t=[]") {
				t.Errorf("assignments(%q) has %+v after line %d", text, a, last)
			}
			last = a.line
		}
	})
}
