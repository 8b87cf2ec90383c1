package fleet

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// realRelease finds a kernel of Debian that has headers here.
func realRelease(t testing.TB) string {
	t.Helper()
	dirs, _ := filepath.Glob("/lib/modules/[0-9]*-cloud-amd64/build/Module.symvers")
	if len(dirs) > 0 {
		return filepath.Base(filepath.Dir(filepath.Dir(dirs[len(dirs)-1])))
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no headers of a Debian kernel (apt-get install linux-headers-cloud-amd64)")
	}
	t.Skip("no headers of a Debian kernel (apt-get install linux-headers-cloud-amd64)")
	return ""
}

// kernelDir gives the machine a kernel without headers or modules.
func (m *machine) kernelDir(release string) *machine {
	for _, name := range []string{"modules.order", "modules.builtin", "modules.dep"} {
		m.write(filepath.Join("lib/modules", release, name), "\n")
	}
	return m
}

// realHeaders gives the machine the headers of a real kernel of this one.
func (m *machine) realHeaders(release string) *machine {
	m.t.Helper()
	m.kernelDir(release)
	headers, err := filepath.EvalSymlinks(filepath.Join("/lib/modules", release, "build"))
	must(m.t, err)
	must(m.t, os.Symlink(headers, m.path("lib/modules", release, "build")))
	return m
}

// printing has a module import more than every module does.
func (m *machine) printing(name string) *machine {
	m.sources(name, "1.0")
	m.write("usr/src/"+name+"-1.0/"+name+".c", `#include <linux/module.h>
#include <linux/init.h>
MODULE_LICENSE("GPL");
static int __init start(void) { pr_info("here\n"); return 0; }
static void __exit stop(void) { pr_info("gone\n"); }
module_init(start);
module_exit(stop);
`)
	return m
}

// TestSymbolVersions has a module of a real kernel judged by what there is of
// that kernel: with the same symbol versions, with other ones, and with none.
func TestSymbolVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("compiling for a real kernel takes a while")
	}
	need(t, "gcc", "make")
	real := realRelease(t)
	one := newMachine(t).realHeaders(real).printing("hello").printing("own")
	one.runFor(real, 0, "build", "hello/1.0")
	one.runFor(real, 0, "build", "own/1.0")
	one.runFor(real, 0, "export", "hello", "--archive", "image", "--busybox", "none")
	take := []string{"import", one.path("image"), "--certificate", one.path("var/lib/dkms/mok.pub")}
	symvers, err := os.ReadFile(filepath.Join("/lib/modules", real, "build/Module.symvers"))
	must(t, err)

	bare := newMachine(t).kernelDir(real).printing("hello")
	bare.runFor(real, 7, take...)
	bare.says(real+" does not have the symbol", "as far as can be told without its headers")
	bare.status("hello/1.0: added")

	same := newMachine(t).kernelDir(real).printing("hello")
	same.write("lib/modules/"+real+"/build/Module.symvers", string(symvers))
	same.runFor(real, 0, take...)

	changed := regexp.MustCompile(`(?m)^0x.{8}(\tmodule_layout\t)`).ReplaceAll(symvers, []byte("0x12345678$1"))
	if bytes.Equal(changed, symvers) {
		t.Fatal("Module.symvers has no module_layout")
	}
	other := newMachine(t).kernelDir(real).printing("hello")
	other.write("lib/modules/"+real+"/build/Module.symvers", string(changed))
	other.runFor(real, 7, take...)
	other.says("has another version of the symbol module_layout")
	other.status("hello/1.0: added")

	// What the kernel's own modules import tells as well.
	own := newMachine(t).kernelDir(real).printing("hello")
	own.write("lib/modules/"+real+"/kernel/fs/own.ko", read(t, one.path("var/lib/dkms/own/1.0", real, "x86_64/module/own.ko")))
	own.runFor(real, 0, take...)
	own.status("hello/1.0, " + real + ", x86_64: installed (Imported)")
}

// BenchmarkImport compares taking a build from another machine, out of a
// directory, with making it: x-faster is how many times as fast that is.
func BenchmarkImport(b *testing.B) {
	need(b, "gcc", "make")
	real := realRelease(b)
	one := newMachine(b).realHeaders(real).printing("hello")
	one.runFor(real, 0, "install", "hello/1.0")
	one.runFor(real, 0, "export", "hello", "--archive", "image", "--busybox", "none")
	two := newMachine(b).realHeaders(real).printing("hello")
	key := one.path("var/lib/dkms/mok.pub")
	var importing, building stopwatch
	for b.Loop() {
		building.time(func() { two.runFor(real, 0, "install", "hello/1.0") })
		two.runFor(real, 0, "unbuild", "hello/1.0")
		importing.time(func() { two.runFor(real, 0, "import", one.path("image"), "--certificate", key) })
		two.runFor(real, 0, "unbuild", "hello/1.0")
	}
	b.ReportMetric(building.seconds()*1000/float64(b.N), "build-ms")
	b.ReportMetric(importing.seconds()*1000/float64(b.N), "import-ms")
	b.ReportMetric(building.seconds()/importing.seconds(), "x-faster")
}
