package hook

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/run"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// env reads NAME=VALUE words.
func env(words string) map[string]string { return system.EnvMap(strings.Fields(words)) }

func TestParse(t *testing.T) {
	const release = "6.1.0-1-amd64"
	tests := []struct {
		name, argv0, args, env string
		want                   Call
	}{
		// Debian: VERSION [IMAGE], phase by directory or by the stub's option.
		{"debian postinst", "/etc/kernel/postinst.d/dkms", release + " /boot/vmlinuz-" + release, "DEB_MAINT_PARAMS='configure'",
			Call{Verb: KernelPostinst, Kernel: release, Debconf: true}},
		{"debian header_postinst has no DEB_MAINT_PARAMS", "/etc/kernel/header_postinst.d/dkms", release, "",
			Call{Verb: KernelPostinst, Kernel: release, Debconf: true}},
		{"debian preinst never builds", "/etc/kernel/preinst.d/dkms", release + " /boot/vmlinuz-" + release, "DEB_MAINT_PARAMS=install",
			Call{Verb: KernelPreinst, Kernel: release, Debconf: true}},
		{"debian prerm", "/etc/kernel/prerm.d/dkms", release, "DEB_MAINT_PARAMS=remove", Call{Verb: KernelPrerm, Kernel: release, Debconf: true}},
		{"in the vendor's directory", "/usr/share/kernel/prerm.d/dkms", release, "", Call{Verb: KernelPrerm, Kernel: release, Debconf: true}},
		{"linked under another name", "/etc/kernel/postinst.d/40-dkms", release, "", Call{Verb: KernelPostinst, Kernel: release, Debconf: true}},
		{"stub postinst", "/usr/lib/dkms/dkms-hook", "--hook=postinst " + release + " /boot/vmlinuz", "", Call{Verb: KernelPostinst, Kernel: release, Debconf: true}},
		{"stub boot_guard", "/usr/lib/dkms/dkms-hook", "--hook=boot_guard " + release, "", Call{Verb: BootGuard, Kernel: release, Debconf: true}},
		{"stub header_postinst", "/usr/lib/dkms/dkms-hook", "--hook=header_postinst " + release, "", Call{Verb: KernelPostinst, Kernel: release, Debconf: true}},
		{"stub preinst", "/usr/lib/dkms/dkms-hook", "--hook=preinst " + release, "", Call{Verb: KernelPreinst, Kernel: release, Debconf: true}},
		{"stub prerm", "/usr/lib/dkms/dkms-hook", "--hook=prerm " + release, "", Call{Verb: KernelPrerm, Kernel: release, Debconf: true}},
		{"the option wins over the directory", "/etc/kernel/postinst.d/dkms", "--hook=prerm " + release, "", Call{Verb: KernelPrerm, Kernel: release, Debconf: true}},
		{"postrm has nothing to do", "/etc/kernel/postrm.d/dkms", release, "", Call{Kernel: release, Debconf: true}},
		{"header_prerm has nothing to do", "/etc/kernel/header_prerm.d/dkms", release, "", Call{Kernel: release, Debconf: true}},
		{"header_postrm has nothing to do", "/etc/kernel/header_postrm.d/dkms", release, "", Call{Kernel: release, Debconf: true}},

		{"before apt installs anything", "/usr/lib/dkms/dkms-hook", "--hook=apt", "", Call{Verb: UpgradeGuard, Transaction: run.Transaction{Manager: "apt", Words: []string{}}}},
		{"before dnf does", "/usr/lib/dkms/dkms-hook", "--hook=dnf /var/cache Packages/k", "",
			Call{Verb: UpgradeGuard, Transaction: run.Transaction{Manager: "dnf", Words: []string{"/var/cache", "Packages/k"}}}},

		{"after dpkg has done everything else", "/usr/lib/dkms/dkms-hook", "--hook=triggered /usr/src", "", Call{Verb: Settle, Debconf: true}},

		// kernel-install: add VERSION ENTRY_DIR IMAGE [INITRD...], remove VERSION ENTRY_DIR.
		{"kernel-install add", "/usr/lib/kernel/install.d/40-dkms.install", "add " + release + " /boot/id/" + release + " /usr/lib/vmlinuz /initrd", "KERNEL_INSTALL_VERBOSE=0",
			Call{Verb: KernelPostinst, Kernel: release}},
		{"kernel-install add without an image", "/etc/kernel/install.d/40-dkms.install", "add " + release + " /boot/id", "KERNEL_INSTALL_VERBOSE=1",
			Call{Verb: KernelPostinst, Kernel: release, Verbose: true}},
		{"kernel-install remove", "/usr/lib/kernel/install.d/40-dkms.install", "remove " + release + " /boot/id/" + release, "",
			Call{Verb: KernelPrerm, Kernel: release}},
		{"kernel-install removes one boot entry", "/usr/lib/kernel/install.d/40-dkms.install", "remove " + release + " /boot/id", "KERNEL_INSTALL_BOOT_ENTRY_TYPE=type1", Call{}},
		{"kernel-install adds one boot entry", "/usr/lib/kernel/install.d/40-dkms.install", "add " + release + " /boot/id", "KERNEL_INSTALL_BOOT_ENTRY_TYPE=type1",
			Call{Verb: KernelPostinst, Kernel: release}},
		{"kernel-install below dpkg", "/usr/lib/kernel/install.d/40-dkms.install", "add " + release + " /boot/id", "DPKG_MAINTSCRIPT_PACKAGE=linux",
			Call{Verb: KernelPostinst, Kernel: release, Debconf: true}},
		{"a verb of the future", "/usr/lib/kernel/install.d/40-dkms.install", "rename " + release + " x", "", Call{}},
		{"a verb of the future with a dash", "/usr/lib/kernel/install.d/40-dkms.install", "add-all", "", Call{}},
		{"a verb that looks like a release", "/usr/lib/kernel/install.d/40-dkms.install", release, "", Call{}},
		{"by hand add", "dkms-hook", "add " + release, "", Call{Verb: KernelPostinst, Kernel: release}},
		{"by hand remove", "/usr/lib/dkms/dkms-hook", "remove " + release, "", Call{Verb: KernelPrerm, Kernel: release}},
		{"by hand with a release", "dkms-hook", release, "", Call{Verb: KernelPostinst, Kernel: release}},
		{"kernel-install's staging area means nothing", "/usr/lib/kernel/install.d/40-dkms.install", "remove " + release + " /b", "KERNEL_INSTALL_STAGING_AREA=/tmp/x",
			Call{Verb: KernelPrerm, Kernel: release}},

		// Gentoo's installkernel: VERSION IMAGE; preinst.d means build now.
		{"gentoo preinst", "/usr/lib/kernel/preinst.d/40-dkms.install", release + " arch/x86/boot/bzImage", "INSTALLKERNEL_STAGING_AREA=/tmp/s INSTALLKERNEL_VERBOSE=0",
			Call{Verb: KernelPostinst, Kernel: release}},
		{"gentoo preinst verbose", "/etc/kernel/preinst.d/40-dkms.install", release + " bzImage", "INSTALLKERNEL_STAGING_AREA=/tmp/s INSTALLKERNEL_VERBOSE=1",
			Call{Verb: KernelPostinst, Kernel: release, Verbose: true}},
		{"gentoo preinst by its suffix", "/usr/lib/kernel/preinst.d/40-dkms.install", release + " bzImage", "", Call{Verb: KernelPostinst, Kernel: release}},
		{"gentoo with debian's name", "/usr/lib/kernel/preinst.d/dkms", release + " bzImage", "INSTALLKERNEL_STAGING_AREA=/tmp/s", Call{Verb: KernelPostinst, Kernel: release}},
		{"gentoo postinst", "/usr/lib/kernel/postinst.d/40-dkms.install", release + " /boot/vmlinuz-" + release, "INSTALLKERNEL_STAGING_AREA=/tmp/s",
			Call{Verb: KernelPostinst, Kernel: release}},

		// Odd releases.
		{"next", "/etc/kernel/postinst.d/dkms", "next-20240101", "", Call{Verb: KernelPostinst, Kernel: "next-20240101", Debconf: true}},
		{"custom", "/usr/lib/kernel/install.d/40-dkms.install", "add mykernel /b", "", Call{Verb: KernelPostinst, Kernel: "mykernel"}},
	}
	for _, test := range tests {
		got, err := Parse(test.argv0, strings.Fields(test.args), env(test.env))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: Parse = %+v, %v; want %+v", test.name, got, err, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ argv0, args string }{
		{"dkms-hook", ""},
		{"/etc/kernel/postinst.d/dkms", ""},
		{"dkms-hook", "--hook=prerm"},
		{"/usr/lib/kernel/install.d/40-dkms.install", "add"},
		{"/usr/lib/kernel/install.d/40-dkms.install", "remove"},
		{"/usr/lib/kernel/install.d/40-dkms.install", "add ../../etc /b"},
		{"/etc/kernel/prerm.d/dkms", ".."},
		{"/etc/kernel/prerm.d/dkms", "6.1/../.."},
		{"/etc/kernel/prerm.d/dkms", "-k"},
		{"dkms-hook", "--hook=prerm /"},
		{"dkms-hook", "--help"},
	} {
		c, err := Parse(test.argv0, strings.Fields(test.args), nil)
		if exit.Status(err) != exit.Usage || err == nil {
			t.Errorf("Parse(%s, %q) = %+v, %v; want status 1", test.argv0, test.args, c, err)
		}
	}
	if c, err := Parse("/etc/kernel/prerm.d/dkms", []string{""}, nil); err == nil {
		t.Errorf("Parse of an empty release = %+v; want an error", c)
	}
}

// Whatever it is called with, a hook takes only plain names below /lib/modules.
func FuzzParse(f *testing.F) {
	f.Add("/etc/kernel/prerm.d/dkms", "6.1", "x", "")
	f.Add("40-dkms.install", "add", "../x", "y")
	f.Add("/usr/lib/kernel/preinst.d/40-dkms.install", "--hook=", "remove", "6.1")
	f.Add("", "", "", "")
	f.Fuzz(func(t *testing.T, argv0, a, b, c string) {
		for _, args := range [][]string{nil, {a}, {a, b}, {a, b, c}} {
			call, err := Parse(argv0, args, nil)
			if err == nil && call.Verb != "" && !system.PlainName(call.Kernel) {
				t.Errorf("Parse(%q, %q) = %+v", argv0, args, call)
			}
		}
	})
}

// Without modules there is nothing to do, to say or to start; what is wrong
// with the call is said on standard error.
func TestHookStatus(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"etc/os-release": "ID=debian\n", "etc/dkms/framework.conf": ""} {
		testkit.Write(t, filepath.Join(root, name), text)
	}
	h := system.ThisHost(nil)
	h.Root = system.Root{Dir: root}
	tests := []struct {
		argv0, args string
		status      int
		stderr      string
	}{
		{"/etc/kernel/postinst.d/dkms", "6.1", 0, ""},
		{"/etc/kernel/prerm.d/dkms", "6.1", 0, ""},
		{"/usr/lib/kernel/install.d/40-dkms.install", "unknown 6.1", 0, ""},
		{"/etc/kernel/postrm.d/dkms", "6.1", 0, ""},
		{"/etc/kernel/postinst.d/dkms", "a/b", 1, "dkms: kernel release \"a/b\" is not a plain name\n"},
	}
	if h.UID != 0 {
		t.Skip("hooks are for root")
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		got := Main(system.Process{Host: h, Name: test.argv0, Args: strings.Fields(test.args), Out: &stdout, Err: &stderr})
		if got != test.status || stdout.Len() > 0 || stderr.String() != test.stderr {
			t.Errorf("%s %s: status %d, stdout %q, stderr %q; want %d and %q", test.argv0, test.args, got, stdout.String(), stderr.String(), test.status, test.stderr)
		}
	}
}
