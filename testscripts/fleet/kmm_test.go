package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
