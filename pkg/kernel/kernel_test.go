package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var write = testkit.Write

const release = "6.1.0-1-amd64"

func link(t testing.TB, path, target string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// newRoot is an image with the given files; those that end in a slash are
// directories, those with an arrow links.
func newRoot(t testing.TB, files ...string) system.Root {
	t.Helper()
	r := system.Root{Dir: t.TempDir()}
	for _, f := range files {
		if from, to, ok := strings.Cut(f, " -> "); ok {
			link(t, r.Path(from), to)
		} else if strings.HasSuffix(f, "/") {
			if err := os.MkdirAll(r.Path(f), 0o755); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, r.Path(f), "")
		}
	}
	return r
}

func TestInstalled(t *testing.T) {
	r := newRoot(t, "lib/modules/6.10.0/build/", "lib/modules/6.9.0/build/", "lib/modules/6.9.0-rc1/source -> /none",
		"lib/modules/5.4.0-my-build/build -> /none", "lib/modules/next-20240101/build/", "lib/modules/kabi/", "lib/modules/.old/build/",
		"lib/modules/extramodules-6.1/foo.ko", "lib/modules/file", "lib/modules/6 1/build/")
	want := "5.4.0-my-build 6.9.0 6.9.0-rc1 6.10.0 next-20240101"
	if got := strings.Join(Installed(r), " "); got != want {
		t.Errorf("Installed = %s; want %s", got, want)
	}
	if got := Installed(system.Root{Dir: r.Path("none")}); got != nil {
		t.Errorf("Installed without an install tree = %v", got)
	}
}

func TestSelect(t *testing.T) {
	tests := []struct {
		name    string
		running string
		files   []string
		want    string
		why     bool
	}{
		{"the host", release, []string{"lib/modules/" + release + "/", "lib/modules/6.2/build/include/"}, release, false},
		{"the host without headers", release, []string{"lib/modules/" + release + "/"}, release, false},
		{"a chroot with other kernels", release, []string{"lib/modules/6.10/build/include/", "lib/modules/6.9/build/include/"}, "6.9 6.10", true},
		{"kernels without headers do not count", release, []string{"lib/modules/6.9/build/include/", "lib/modules/6.8/build -> /none", "lib/modules/6.7/"}, "6.9", true},
		{"headers behind a link", release, []string{"usr/src/h/include/", "lib/modules/6.9/build -> ../../../usr/src/h"}, "6.9", true},
		{"a system that does not say what runs", "", []string{"lib/modules/6.9/build/include/"}, "6.9", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := system.Host{Root: newRoot(t, test.files...), Release: test.running, Machine: "x86_64"}
			got, why, err := Select(h)
			if err != nil || strings.Join(got, " ") != test.want || (why != "") != test.why {
				t.Errorf("Select = %v, %q, %v; want %s", got, why, err, test.want)
			}
			for _, r := range got {
				if test.why && !strings.Contains(why, r) {
					t.Errorf("%q does not name %s", why, r)
				}
			}
		})
	}
	for _, files := range [][]string{nil, {"lib/modules/6.9/"}, {"lib/modules/6.9/build -> /none"}} {
		got, _, err := Select(system.Host{Root: newRoot(t, files...), Release: release})
		if exit.Status(err) != exit.NoHeaders || exit.Hint(err) == "" || !strings.Contains(err.Error(), release) {
			t.Errorf("%v: Select = %v, %v; want status 21, a hint and the running kernel", files, got, err)
		}
	}
}

func TestCheckHeaders(t *testing.T) {
	build := "lib/modules/" + release + "/build"
	tests := []struct {
		name string
		file string
		want string // ROOT is the image; empty is no error
	}{
		{"there", build + "/include/", ""},
		{"no module directory", "lib/modules/", "no headers for kernel 6.1.0-1-amd64: ROOT/lib/modules/6.1.0-1-amd64/build does not exist"},
		{"no link", "lib/modules/" + release + "/kernel/", "no headers for kernel 6.1.0-1-amd64: ROOT/lib/modules/6.1.0-1-amd64/build does not exist"},
		{"dangling", build + " -> /usr/src/gone", "no headers for kernel 6.1.0-1-amd64: ROOT/lib/modules/6.1.0-1-amd64/build points to /usr/src/gone, which does not exist"},
		{"unprepared", build + "/Makefile", "no headers for kernel 6.1.0-1-amd64: ROOT/lib/modules/6.1.0-1-amd64/build has no include directory"},
		{"include is a file", build + "/include", "no headers for kernel 6.1.0-1-amd64: ROOT/lib/modules/6.1.0-1-amd64/build has no include directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRoot(t, test.file)
			k := New(r, release, "x86_64", Options{})
			err := k.CheckHeaders("debian")
			if k.HasHeaders() != (err == nil) {
				t.Errorf("HasHeaders = %v, but CheckHeaders = %v", k.HasHeaders(), err)
			}
			if test.want == "" {
				if err != nil {
					t.Errorf("CheckHeaders = %v; want nil", err)
				}
				return
			}
			if err == nil || strings.ReplaceAll(err.Error(), r.Dir, "ROOT") != test.want {
				t.Fatalf("CheckHeaders = %v; want %s", err, test.want)
			}
			if exit.Status(err) != exit.NoHeaders || exit.Hint(err) != "install the package linux-headers-"+release+" (linux-headers-amd64 brings those of every new kernel)" {
				t.Errorf("status %d, hint %q", exit.Status(err), exit.Hint(err))
			}
			if hint := exit.Hint(k.CheckHeaders("gentoo")); hint != "install the headers or the prepared sources of this kernel" {
				t.Errorf("the hint without a package is %q", hint)
			}
		})
	}
	r := newRoot(t, "opt/h/include/")
	if err := New(r, release, "x86_64", Options{Headers: r.Path("/opt/h")}).CheckHeaders(""); err != nil {
		t.Errorf("with --kernelsourcedir CheckHeaders = %v", err)
	}
}

func TestHeadersPackage(t *testing.T) {
	tests := []struct{ distribution, release, want string }{
		{"debian", "6.1.0-1-amd64", "linux-headers-6.1.0-1-amd64"},
		{"ubuntu", "6.8.0-31-generic", "linux-headers-6.8.0-31-generic"},
		{"ubuntu debian", "6.8.0-31-generic", "linux-headers-6.8.0-31-generic"},
		{"fedora", "6.8.5-301.fc40.x86_64", "kernel-devel-6.8.5-301.fc40.x86_64"},
		{"rhel centos fedora", "5.14.0-427.el9.x86_64", "kernel-devel-5.14.0-427.el9.x86_64"},
		{"suse", "6.4.0-150600.21-default", "kernel-default-devel"},
		{"opensuse suse", "6.8.7-1-rt", "kernel-rt-devel"},
		{"alpine", "6.6.30-0-lts", "linux-lts-dev"},
		{"arch", "6.8.7-arch1-1", "linux-headers"},
		{"void", "6.6.30_1", "linux6.6-headers"},
		{"void", "6.6", ""},
		{"suse", "custom", ""},
		{"gentoo", "6.6.30-gentoo", ""},
		{"nixos", "6.6.30", ""},
		{"", "6.6.30", ""},
		{"something debian", "6.6", "linux-headers-6.6"},
		{"debian", "6.8.12-4-pve", "proxmox-headers-6.8.12-4-pve"},
		{"debian", "5.15.108-1-pve", "pve-headers-5.15.108-1-pve"},
		{"ubuntu", "5.15.153.1-microsoft-standard-WSL2", ""},
		{"debian", "6.1.21-v8+", "raspberrypi-kernel-headers"},
		{"debian", "6.1.21+", "raspberrypi-kernel-headers"},
		{"debian", "6.6.20+rpt-rpi-v8", "linux-headers-6.6.20+rpt-rpi-v8"},
		{"debian", "6.10.11-linuxkit", ""},
		{"fedora", "5.15.0-205.149.5.1.el9uek.x86_64", "kernel-uek-devel-5.15.0-205.149.5.1.el9uek.x86_64"},
	}
	for _, test := range tests {
		k := New(newRoot(t), test.release, "x86_64", Options{})
		if got := k.HeadersPackage(test.distribution); got != test.want {
			t.Errorf("HeadersPackage(%q) of %s = %q; want %q", test.distribution, test.release, got, test.want)
		}
	}
	r := newRoot(t)
	write(t, r.Path("/lib/modules/6.8.7-zen1-1-zen/pkgbase"), "linux-zen\n")
	if got := New(r, "6.8.7-zen1-1-zen", "x86_64", Options{}).HeadersPackage("arch"); got != "linux-zen-headers" {
		t.Errorf("HeadersPackage of linux-zen = %q", got)
	}
}

func TestHeadersHint(t *testing.T) {
	r := newRoot(t)
	for _, test := range []struct{ distribution, release, given, want string }{
		{"debian", "6.12.95+deb13-cloud-amd64", "", "install the package linux-headers-6.12.95+deb13-cloud-amd64 (linux-headers-cloud-amd64 brings those of every new kernel)"},
		{"debian", "6.12.95-mine", "", "install the package linux-headers-6.12.95-mine"},
		{"ubuntu", "6.8.0-31-generic", "", "install the package linux-headers-6.8.0-31-generic (linux-headers-generic brings those of every new kernel)"},
		{"fedora", "6.8.5-301.fc40.x86_64", "", "install the package kernel-devel-6.8.5-301.fc40.x86_64 (kernel-devel brings those of every new kernel)"},
		{"debian", "6.8.12-4-pve", "", "install the package proxmox-headers-6.8.12-4-pve (proxmox-default-headers brings those of every new kernel)"},
		{"debian", "6.6.20+rpt-rpi-2712", "", "install the package linux-headers-6.6.20+rpt-rpi-2712 (linux-headers-rpi-2712 brings those of every new kernel)"},
		{"debian", "6.1.21-v8+", "", "install the package raspberrypi-kernel-headers"},
		{"ubuntu", "5.15.153.1-microsoft-standard-WSL2", "", "no package has the headers of this kernel of WSL: prepare Microsoft's sources of it (WSL2-Linux-Kernel) and name them with --kernelsourcedir"},
		{"debian", "6.10.11-linuxkit", "", "no package has the headers of this kernel of Docker Desktop: they are in the image docker/for-desktop-kernel for it"},
		{"gentoo", "6.6.30-gentoo", "", "install the headers or the prepared sources of this kernel"},
		{"debian", "6.12.95+deb13-amd64", "/nowhere", "name the directory of the headers of this kernel with --kernelsourcedir, or leave the option out"},
	} {
		err := New(r, test.release, "x86_64", Options{Headers: test.given}).CheckHeaders(test.distribution)
		if got := exit.Hint(err); got != test.want {
			t.Errorf("the hint for %s on %s is %q; want %q", test.release, test.distribution, got, test.want)
		}
	}
}

// Kernels that somebody has built on Debian: no server has their headers.
func TestHeadersOfOwnKernels(t *testing.T) {
	r := newRoot(t)
	write(t, r.Path("/var/lib/dpkg/info/linux-image-6.12.95-mine.list"), "")
	write(t, r.Path("/var/lib/dpkg/info/linux-image-6.12.95-mine-amd64.list"), "")
	packaged := func(release string) string {
		return "install linux-headers-" + release + " from where linux-image-" + release + " came from (make bindeb-pkg leaves both above the sources)"
	}
	unpackaged := func(release string) string {
		dir := r.Path("/lib/modules/" + release + "/build")
		return "link the directory that this kernel was built in as " + dir + " (no package has this kernel)"
	}
	meta := func(release, flavour string) string {
		return "install the package linux-headers-" + release + " (linux-headers-" + flavour + " brings those of every new kernel)"
	}
	for _, test := range []struct{ distribution, release, want string }{
		{"debian", "6.12.95-mine", packaged("6.12.95-mine")},
		{"debian", "6.12.95-mine-amd64", packaged("6.12.95-mine-amd64")},
		{"debian", "6.13.0", unpackaged("6.13.0")},
		{"ubuntu debian", "6.13.0-rc2+", unpackaged("6.13.0-rc2+")},
		{"debian", "6.13.0-test-amd64", unpackaged("6.13.0-test-amd64")},
		{"debian", "6.1.0-56-amd64", meta("6.1.0-56-amd64", "amd64")},
		{"debian", "6.12.95+deb13-cloud-amd64", meta("6.12.95+deb13-cloud-amd64", "cloud-amd64")},
		{"debian", "6.12.9+bpo-amd64", meta("6.12.9+bpo-amd64", "amd64")},
		{"debian", "6.1.0-0.deb11.13-amd64", meta("6.1.0-0.deb11.13-amd64", "amd64")},
		{"debian", "5.10.0-0.bpo.3-rt-amd64", meta("5.10.0-0.bpo.3-rt-amd64", "rt-amd64")},
		{"debian", "6.10-rc2-amd64", meta("6.10-rc2-amd64", "amd64")},
		{"debian", "6.7.12-amd64", meta("6.7.12-amd64", "amd64")},
		{"ubuntu", "6.8.0-31-generic", meta("6.8.0-31-generic", "generic")},
		{"ubuntu", "6.5.0-1014-oem", "install the package linux-headers-6.5.0-1014-oem"},
		{"debian", "6.1.0-56-4kc-malta", "install the package linux-headers-6.1.0-56-4kc-malta"},
		{"debian", "6.8.12-4-pve", "install the package proxmox-headers-6.8.12-4-pve (proxmox-default-headers brings those of every new kernel)"},
	} {
		if err := os.MkdirAll(r.Path("/lib/modules/"+test.release), 0o755); err != nil {
			t.Fatal(err)
		}
		k := New(r, test.release, "x86_64", Options{})
		if got := exit.Hint(k.CheckHeaders(test.distribution)); got != test.want {
			t.Errorf("the hint for %s on %s is %q; want %q", test.release, test.distribution, got, test.want)
		}
		if pkg := k.HeadersPackage(test.distribution); (pkg == "") == strings.HasPrefix(test.want, "install the package") {
			t.Errorf("HeadersPackage of %s on %s = %q", test.release, test.distribution, pkg)
		}
	}
	if got := exit.Hint(New(r, "2.4.0", "x86_64", Options{}).CheckHeaders("debian")); got != "install the package linux-headers-2.4.0" {
		t.Errorf("the hint for a kernel that is not here is %q", got)
	}
}

func TestConfigPrecedence(t *testing.T) {
	headers := "/lib/modules/" + release + "/build"
	order := []string{"/given", headers + "/include/config/auto.conf", headers + "/.config", "/boot/config-" + release}
	r := newRoot(t)
	if c := New(r, release, "x86_64", Options{}); c.Config().Found() || c.ConfigFile != r.Path(headers+"/.config") {
		t.Errorf("without a file it is %s, found: %v", c.ConfigFile, c.Config().Found())
	}
	for i, file := range slices.Backward(order) {
		write(t, r.Path(file), fmt.Sprintf("CONFIG_WHICH=%d\n", i))
		o := Options{}
		if i == 0 {
			o.Config = r.Path(file)
		}
		k := New(r, release, "x86_64", o)
		if got := k.Config().Get("CONFIG_WHICH"); got != fmt.Sprint(i) || k.ConfigFile != r.Path(file) || !k.Config().Found() {
			t.Errorf("with %s there the config is number %s, %s", file, got, k.ConfigFile)
		}
	}
	write(t, r.Path("/opt/h/.config"), "CONFIG_WHICH=h\n")
	if got := New(r, release, "x86_64", Options{Headers: r.Path("/opt/h")}).Config().Get("CONFIG_WHICH"); got != "h" {
		t.Errorf("with --kernelsourcedir the config is number %s; want that of the headers", got)
	}
	if New(r, release, "x86_64", Options{Config: r.Path("/none")}).Config().Found() {
		t.Error("a file given with --config that is not there is replaced by another")
	}
	if New(r, release, "x86_64", Options{Config: r.Dir}).Config().Found() {
		t.Error("a directory is a config")
	}
}

func TestConfigValues(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	write(t, file, `# comment CONFIG_COMMENT=y
CONFIG_YES=y
CONFIG_MODULE=m
# CONFIG_UNSET is not set
CONFIG_STRING="a=b c"
CONFIG_EMPTY=""
CONFIG_NUMBER=120200
 CONFIG_INDENTED=y
NOT_CONFIG=y
CONFIG_TWICE=n
CONFIG_TWICE=y
CONFIG_LAST=y`)
	c := readConfig(file)
	for symbol, want := range map[string]string{
		"CONFIG_YES": "y", "CONFIG_MODULE": "m", "CONFIG_UNSET": "", "CONFIG_COMMENT": "", "CONFIG_STRING": `"a=b c"`, "CONFIG_EMPTY": `""`,
		"CONFIG_NUMBER": "120200", "CONFIG_INDENTED": "", "NOT_CONFIG": "", "CONFIG_TWICE": "y", "CONFIG_LAST": "y", "": "",
	} {
		if got := c.Get(symbol); got != want {
			t.Errorf("Get(%s) = %q; want %q", symbol, got, want)
		}
	}
	if c.Text("CONFIG_STRING") != "a=b c" || c.Text("CONFIG_EMPTY") != "" || c.Text("CONFIG_NUMBER") != "120200" {
		t.Error("Text does not take off the quotes, or takes more")
	}
	if !c.Is("CONFIG_YES") || c.Is("CONFIG_MODULE") || c.Is("CONFIG_UNSET") || !c.Is("CONFIG_LAST") {
		t.Error("Is is not just y")
	}
}

func FuzzConfig(f *testing.F) {
	file := filepath.Join(f.TempDir(), "config")
	for _, seed := range []string{"CONFIG_A=y\n", "CONFIG_A=\"x\"\r\n", "# CONFIG_A is not set", "CONFIG_=\nCONFIG_A", "=\n=CONFIG_A=", "\x00CONFIG_A=\xff", strings.Repeat("x", 100_000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		write(t, file, string(data))
		c := readConfig(file)
		if !c.Found() {
			t.Fatal("the file was not found")
		}
		for name, value := range c.values {
			if !strings.HasPrefix(name, "CONFIG_") || !strings.Contains(string(data), name+"="+value) || strings.Contains(name+value, "\n") {
				t.Errorf("%q=%q is not in the file", name, value)
			}
		}
	})
}

func TestSuffix(t *testing.T) {
	dir := "lib/modules/" + release
	ko := func(counts ...int) (list []string) {
		for i, suffix := range []string{"", ".gz", ".xz", ".zst"} {
			for n := range counts[i] {
				list = append(list, fmt.Sprintf("%s/kernel/drivers/m%d-%d.ko%s", dir, i, n, suffix))
			}
		}
		return list
	}
	tests := []struct {
		name   string
		files  []string
		config string
		want   module.Compression
	}{
		{"nothing known", nil, "", module.None},
		{"the config where there are no modules", nil, "CONFIG_MODULE_COMPRESS_XZ=y", module.XZ},
		{"zstd in the config", nil, "CONFIG_MODULE_COMPRESS_ZSTD=y", module.Zstd},
		{"gzip in the config", nil, "CONFIG_MODULE_COMPRESS_GZIP=y", module.Gzip},
		{"no compression in the config", nil, "CONFIG_MODULE_COMPRESS_NONE=y\n# CONFIG_MODULE_COMPRESS_XZ is not set", module.None},
		{"modules win over the config", ko(1, 0, 0, 0), "CONFIG_MODULE_COMPRESS_XZ=y", module.None},
		{"xz", ko(0, 0, 3, 0), "", module.XZ},
		{"the majority", ko(2, 1, 5, 3), "", module.XZ},
		{"one stray file changes nothing", ko(5, 0, 0, 1), "", module.None},
		{"a tie goes to the newer", ko(2, 2, 2, 2), "", module.Zstd},
		{"a tie of two", ko(0, 2, 2, 0), "", module.XZ},
		{"the kernel's own modules before others", append(ko(0, 1, 0, 0), dir+"/updates/a.ko.xz", dir+"/updates/b.ko.xz"), "", module.Gzip},
		{"others where there is no kernel directory", []string{dir + "/extra/a.ko.zst"}, "", module.Zstd},
		{"links and other files do not count", []string{dir + "/kernel/a.ko.xz -> b", dir + "/kernel/b.ko.zstd", dir + "/kernel/.ko.xz", dir + "/modules.dep"}, "", module.None},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRoot(t, test.files...)
			write(t, r.Path("/boot/config-"+release), test.config)
			k := New(r, release, "x86_64", Options{})
			if got := k.Suffix(); got != test.want {
				t.Errorf("Suffix = %v; want %v", got, test.want)
			}
		})
	}
}

// TestSuffixByIndex: the module index tells, unless it names files that are not
// there.
func TestSuffixByIndex(t *testing.T) {
	const release, dir = "6.1", "/lib/modules/6.1"
	files := []string{dir + "/kernel/a.ko.xz", dir + "/kernel/b.ko.zst", dir + "/kernel/c.ko.zst"}
	for _, test := range []struct {
		index string
		want  module.Compression
	}{
		{"kernel/a.ko.xz: kernel/b.ko.zst\nupdates/dkms/x.ko:\nupdates/dkms/y.ko:\n", module.XZ},
		{"kernel/a.ko.gz:\nkernel/b.ko.gz:\n", module.Zstd},
		{"updates/dkms/x.ko:\n", module.Zstd},
		{"", module.Zstd},
	} {
		r := newRoot(t, files...)
		write(t, r.Path(dir+"/modules.dep"), test.index)
		if got := New(r, release, "x86_64", Options{}).Suffix(); got != test.want {
			t.Errorf("with the index %q, Suffix = %v; want %v", test.index, got, test.want)
		}
	}
}

func TestDepmodBase(t *testing.T) {
	tests := []struct {
		root system.Root
		dir  string
		ok   bool
	}{
		{system.Root{}, "", true},
		{system.Root{Install: "/usr/lib/modules/"}, "", true},
		{system.Root{Dir: "/img"}, "/img", true},
		{system.Root{Install: "/img/usr/lib/modules"}, "/img/usr", true},
		{system.Root{Install: "/tmp/modules"}, "/tmp/modules", false},
		{system.Root{Install: "/x/mylib/modules"}, "/x/mylib/modules", false},
	}
	for _, test := range tests {
		if dir, ok := New(test.root, release, "x86_64", Options{}).DepmodBase(); dir != test.dir || ok != test.ok {
			t.Errorf("DepmodBase of %+v = %q, %v; want %q, %v", test.root, dir, ok, test.dir, test.ok)
		}
	}
}

func TestSystemMap(t *testing.T) {
	r := newRoot(t, "boot/System.map-"+release)
	if got := New(r, release, "x86_64", Options{}).SystemMap(); got != r.Path("/boot/System.map-"+release) {
		t.Errorf("SystemMap = %q", got)
	}
	if got := New(r, "6.2", "x86_64", Options{}).SystemMap(); got != "" {
		t.Errorf("SystemMap of another kernel = %q; want none", got)
	}
}

// TestConfigUnreadable has a configuration that can only be read in part.
func TestConfigUnreadable(t *testing.T) {
	headers := "lib/modules/" + release + "/build"
	r := newRoot(t, headers+"/include/")
	file := r.Path(headers + "/.config")
	if err := os.WriteFile(file, []byte("# "+strings.Repeat("x", 2<<20)+"\nCONFIG_LATE=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if k := New(r, release, "x86_64", Options{}); !k.Config().Is("CONFIG_LATE") || k.CheckHeaders("") != nil {
		t.Errorf("what stands behind a long line is not read: %v", k.CheckHeaders(""))
	}
	if err := os.Truncate(file, maxConfig+1); err != nil {
		t.Fatal(err)
	}
	k := New(r, release, "x86_64", Options{})
	if err := k.CheckHeaders(""); err == nil || !strings.Contains(err.Error(), file) || exit.Status(err) != exit.NoHeaders || k.Config().Found() {
		t.Errorf("CheckHeaders = %v; want that the configuration cannot be read", err)
	}
}
