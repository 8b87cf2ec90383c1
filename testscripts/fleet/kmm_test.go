package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKMM holds an image against what Kubernetes' Kernel Module Management
// documents and does, with its defaults: the pod that loads a module runs, in a
// container made from the image, /bin/sh with mkdir -p and cp -R, and then
// modprobe -d on the copy.
func TestKMM(t *testing.T) {
	need(t, "umoci", "chroot", "modprobe", "busybox")
	if os.Getuid() != 0 {
		t.Skip("only root can enter the container")
	}
	one := newMachine(t).fakeKernel(release).sources("hello", "1.0").sources("world", "1.0")
	one.dkms(0, "install", "hello/1.0")
	one.dkms(0, "install", "world/1.0")
	busybox, err := exec.LookPath("busybox")
	must(t, err)
	one.dkms(0, "export", "hello", "world/1.0", "-k", release, "--archive", "image", "--busybox", busybox)

	bundle := filepath.Join(t.TempDir(), "bundle")
	output(t, "umoci", "unpack", "--image", one.path("image")+":"+tag, bundle)
	rootfs := filepath.Join(bundle, "rootfs")
	const dirName, shared = "/opt", "/tmp" // the defaults of a Module
	from, to := dirName+"/lib/modules/"+release, shared+dirName+"/lib/modules"
	output(t, "chroot", rootfs, "/bin/sh", "-c", fmt.Sprintf("\nmkdir -p %s;\ncp -R %s %s;\n", to, from, to))

	for _, module := range []string{"hello", "world"} {
		got := output(t, "modprobe", "-d", rootfs+shared+dirName, "-S", release, "--show-depends", module)
		want := fmt.Sprintf("insmod %s%s%s/lib/modules/%s/updates/dkms/%s.ko", rootfs, shared, dirName, release, module)
		if strings.TrimSpace(got) != want {
			t.Errorf("modprobe finds %q; want %q", got, want)
		}
	}
}

// TestKMMHost has a module that needs one of the kernel's own, which is on the
// node: the container that loads modules has those in /host/lib/modules.
func TestKMMHost(t *testing.T) {
	need(t, "umoci", "modprobe", "depmod", "gcc")
	one := newMachine(t).fakeKernel(release).sources("hello", "1.0")
	one.write("usr/src/hello-1.0/hello.c", "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nMODULE_INFO(depends, \"fakefs\");\n"+
		"extern int fake_open(void);\nstatic int start(void) { return fake_open(); }\nmodule_init(start);\n")
	own := one.path("lib/modules", release, "kernel/fs/fakefs.ko")
	one.exporting(own)
	one.dkms(0, "build", "hello/1.0")
	one.dkms(0, "export", "hello", "--archive", "image", "--busybox", "none")
	key := one.path("var/lib/dkms/mok.pub")

	bundle := filepath.Join(t.TempDir(), "bundle")
	output(t, "umoci", "unpack", "--rootless", "--image", one.path("image")+":"+tag, bundle)
	dir := filepath.Join(bundle, "rootfs/opt")
	if to, err := os.Readlink(filepath.Join(dir, "lib/modules", release, "host")); err != nil || to != "/host/lib/modules/"+release {
		t.Errorf("host leads to %q, %v; want /host/lib/modules/%s", to, err, release)
	}
	// As it is where that is mounted.
	must(t, os.Remove(filepath.Join(dir, "lib/modules", release, "host")))
	must(t, os.Symlink(one.path("lib/modules", release), filepath.Join(dir, "lib/modules", release, "host")))
	got := strings.Fields(strings.ReplaceAll(output(t, "modprobe", "-d", dir, "-S", release, "--show-depends", "hello"), dir, ""))
	base := "/lib/modules/" + release
	want := []string{"insmod", base + "/host/kernel/fs/fakefs.ko", "insmod", base + "/updates/dkms/hello.ko"}
	if !slices.Equal(got, want) {
		t.Errorf("modprobe finds %q; want %q", got, want)
	}

	// On a machine without Kubernetes the link is of no interest.
	two := newMachine(t).fakeKernel(release).sources("hello", "1.0").withoutHeaders()
	two.write("usr/src/hello-1.0/hello.c", read(t, one.path("usr/src/hello-1.0/hello.c")))
	two.dkms(0, "import", one.path("image"), "--certificate", key)
}

// exporting makes the kernel's own module anew, with a symbol for others.
func (m *machine) exporting(file string) {
	m.t.Helper()
	include := m.path("usr/src/linux-headers-"+release, "include")
	source := filepath.Join(m.t.TempDir(), "fakefs.c")
	must(m.t, os.WriteFile(source, []byte("#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n"+
		"static const char name[] __attribute__((used, section(\"__ksymtab_strings\"))) = \"fake_open\";\n"+
		"int fake_open(void) { return 0; }\n"), 0o644))
	output(m.t, "gcc", "-c", "-ffreestanding", "-I"+include, "-DKBUILD_MODNAME=\"fakefs\"", "-DVERMAGIC=\""+release+" SMP preempt mod_unload\"", "-o", file, source)
	output(m.t, "depmod", "-b", m.root, release)
}

// TestDepends has a module that uses another travel with it: the index in the
// image knows, and a machine with another version of it refuses.
func TestDepends(t *testing.T) {
	one := newMachine(t).fakeKernel(release).sources("base", "1.0").sources("base", "2.0").sources("top", "1.0")
	one.write("usr/src/top-1.0/dkms.conf", read(t, one.path("usr/src/top-1.0/dkms.conf"))+"BUILD_DEPENDS[0]=base\n")
	one.dkms(0, "install", "base/1.0")
	one.dkms(0, "install", "top/1.0")
	one.dkms(0, "export", "base", "top", "--archive", "image", "--busybox", "none")
	key := one.path("var/lib/dkms/mok.pub")

	two := newMachine(t).fakeKernel(release).sources("base", "1.0").sources("base", "2.0").sources("top", "1.0")
	two.write("usr/src/top-1.0/dkms.conf", read(t, one.path("usr/src/top-1.0/dkms.conf")))
	two.dkms(0, "install", "base/2.0")
	two.unchanged(7, "it was built against base/1.0, and here is 2.0", "import", one.path("image"), "top", "--certificate", key)
	two.dkms(0, "remove", "base/2.0")
	two.dkms(0, "import", one.path("image"), "--certificate", key)
	two.status("base/1.0, 6.9.1-fake, x86_64: installed (Imported)", "top/1.0, 6.9.1-fake, x86_64: installed (Imported)")
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}
