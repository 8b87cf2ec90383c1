package conf

import (
	"slices"
	"testing"
)

func TestMakeCommand(t *testing.T) {
	usual := "make -C /lib/modules/6.1.0-56-amd64/build M=/b"
	clang := kernel
	clang.Clang = true
	blank := kernel
	blank.SourceDir = "/my headers"
	tests := []struct {
		name          string
		command, when Array
		target        Target
		want          string
	}{
		{"none", nil, nil, kernel, usual},
		{"clang", nil, nil, clang, usual + " LLVM=1"},
		{"one", Array{0: "make x"}, nil, kernel, "make x"},
		{"one with clang", Array{0: "make x"}, nil, clang, "make x LLVM=1"},
		{"last match wins", Array{0: "a", 1: "b", 2: "c"}, Array{1: "^6", 2: "amd64$"}, kernel, "c"},
		{"no match falls back", Array{0: "a", 1: "b"}, Array{1: "^5"}, kernel, "a"},
		{"first does not match", Array{0: "a"}, Array{0: "^5"}, kernel, usual},
		{"first does not match, clang", Array{0: "a"}, Array{0: "^5"}, clang, usual + " LLVM=1"},
		{"sparse", Array{0: "a", 9: "b"}, Array{9: "^6"}, kernel, "b"},
		{"empty command", Array{0: "a", 1: ""}, Array{1: "^6"}, kernel, "a"},
		{"invalid pattern", Array{0: "a", 1: "b"}, Array{1: "("}, kernel, "a"},
		{"blanks", nil, nil, blank, "make -C '/my headers' M=/b"},
	}
	for _, test := range tests {
		m := &Module{Make: test.command, MakeMatch: test.when}
		if got := m.MakeCommand(test.target, "/b"); got != test.want {
			t.Errorf("%s: MakeCommand() = %q; want %q", test.name, got, test.want)
		}
	}
}

func TestMakeLine(t *testing.T) {
	tests := []struct{ command, jobs, want string }{
		{"make", "-j4", "make -j4 KERNELRELEASE=6.1"},
		{"make -C x", "-j4", "make -j4 KERNELRELEASE=6.1 -C x"},
		{"make\tall", "-j", "make -j KERNELRELEASE=6.1\tall"},
		{"make;true", "-j1", "make -j1 KERNELRELEASE=6.1;true"},
		{"makeit", "-j4", "makeit"},
		{"make-all", "-j4", "make-all"},
		{"'make' x", "4", "'make' x"},
		{"/usr/bin/make x", "4", "/usr/bin/make x"},
		{"cd x && make", "4", "cd x && make"},
		{"make", "-j1;x", "make '-j1;x' KERNELRELEASE=6.1"},
	}
	for _, test := range tests {
		if got := MakeLine(test.command, test.jobs, "6.1"); got != test.want {
			t.Errorf("MakeLine(%q, %q) = %q; want %q", test.command, test.jobs, got, test.want)
		}
	}
	if got, want := MakeLine("make", "-j1", "it's"), `make -j1 KERNELRELEASE='it'\''s'`; got != want {
		t.Errorf("MakeLine() = %q; want %q", got, want)
	}
}

func TestPatches(t *testing.T) {
	m := &Module{Patch: Array{0: "a", 1: "b", 5: "c", 7: ""}, PatchMatch: Array{0: "^5", 5: "^6"}}
	if got, want := m.Patches("6.1"), []string{"b", "c"}; !slices.Equal(got, want) {
		t.Errorf("Patches() = %q; want %q", got, want)
	}
}

func TestExcluded(t *testing.T) {
	config := func(symbol string) string {
		return map[string]string{"CONFIG_Y": "y", "CONFIG_M": "m", "CONFIG_S": `"s"`}[symbol]
	}
	one := func(s string) Array { return Array{0: s} }
	tests := []struct {
		name   string
		e      Exclusive
		config func(string) string
		active []int // of records 0 and 1
		why    string
	}{
		{"nothing", Exclusive{}, config, []int{0, 1}, ""},
		{"kernel", Exclusive{Kernel: one("^5")}, config, nil, "BUILD_EXCLUSIVE_KERNEL=^5 and the kernel is 6.1.0-56-amd64"},
		{"kernel unanchored", Exclusive{Kernel: one("amd")}, config, []int{0, 1}, ""},
		{"min", Exclusive{KernelMin: one("6.2")}, config, nil, "BUILD_EXCLUSIVE_KERNEL_MIN=6.2 and the kernel is 6.1.0-56-amd64"},
		{"min inclusive", Exclusive{KernelMin: one("6.1.0-56-amd64")}, config, []int{0, 1}, ""},
		{"max", Exclusive{KernelMax: one("6.0")}, config, nil, "BUILD_EXCLUSIVE_KERNEL_MAX=6.0 and the kernel is 6.1.0-56-amd64"},
		{"max inclusive", Exclusive{KernelMax: one("6.1.0-56-amd64")}, config, []int{0, 1}, ""},
		{"max is no prefix", Exclusive{KernelMax: one("6.1")}, config, nil, "BUILD_EXCLUSIVE_KERNEL_MAX=6.1 and the kernel is 6.1.0-56-amd64"},
		{"arch", Exclusive{Arch: one("none")}, config, nil, "BUILD_EXCLUSIVE_ARCH=none and the architecture is x86_64"},
		{"arch unanchored", Exclusive{Arch: one("86")}, config, []int{0, 1}, ""},
		{"config", Exclusive{Config: one("CONFIG_Y CONFIG_M !CONFIG_N !CONFIG_S")}, config, []int{0, 1}, ""},
		{"config missing", Exclusive{Config: one("CONFIG_N")}, config, nil, "BUILD_EXCLUSIVE_CONFIG=CONFIG_N and CONFIG_N is not set"},
		{"config is text", Exclusive{Config: one("CONFIG_S")}, config, nil, "BUILD_EXCLUSIVE_CONFIG=CONFIG_S and CONFIG_S is not set"},
		{"config unwanted", Exclusive{Config: one("!CONFIG_M")}, config, nil, "BUILD_EXCLUSIVE_CONFIG=!CONFIG_M and CONFIG_M is m"},
		{"no config", Exclusive{Config: one("CONFIG_N")}, nil, []int{0, 1}, ""},
		{"record 1 only", Exclusive{Kernel: Array{1: "^5"}}, config, []int{0}, ""},
		{"index 0 hits all", Exclusive{Kernel: Array{0: "^5", 1: "^6"}}, config, nil, "BUILD_EXCLUSIVE_KERNEL=^5 and the kernel is 6.1.0-56-amd64"},
		{"invalid", Exclusive{Kernel: one("*")}, config, nil, "BUILD_EXCLUSIVE_KERNEL=* and the kernel is 6.1.0-56-amd64"},
	}
	for _, test := range tests {
		m := &Module{Records: []Record{{Index: 0}, {Index: 1}}, Exclusive: test.e}
		var active []int
		for _, r := range m.Active(kernel, test.config) {
			active = append(active, r.Index)
		}
		if !slices.Equal(active, test.active) {
			t.Errorf("%s: Active() = %v; want %v", test.name, active, test.active)
		}
		if out, why := m.Excluded(kernel, test.config); out != (test.active == nil) || why != test.why {
			t.Errorf("%s: Excluded() = %v, %q; want %q", test.name, out, why, test.why)
		}
	}
	empty := &Module{Exclusive: Exclusive{Kernel: one("^5")}}
	if out, why := empty.Excluded(kernel, config); out {
		t.Errorf("Excluded() without records = true, %q", why)
	}
	sparse := &Module{Records: []Record{{Index: 0}, {Index: 1}}, Exclusive: Exclusive{Arch: Array{0: "86", 1: "arm"}, Kernel: Array{0: "^6"}}}
	if got := sparse.Active(kernel, nil); len(got) != 1 || got[0].Index != 0 {
		t.Errorf("Active() = %+v; want record 0", got)
	}
}

func TestDestination(t *testing.T) {
	for _, test := range []struct{ distribution, addon, want string }{
		{"debian", "", "/updates/dkms"}, {"ubuntu debian", "", "/updates/dkms"}, {"arch", "", "/updates/dkms"},
		{"fedora", "", "/extra"}, {"rhel centos fedora", "", "/extra"}, {"centos", "", "/extra"},
		{"opensuse suse", "", "/updates"}, {"suse", "", "/updates"}, {"sles", "", "/updates"},
		{"gentoo", "", "/kernel/x"}, {"", "", "/kernel/x"}, {"debian", "addon", "/addon"},
	} {
		got := Record{DestLocation: "/kernel/x"}.Destination(test.distribution, test.addon)
		if got != test.want {
			t.Errorf("Destination(%q, %q) = %q; want %q", test.distribution, test.addon, got, test.want)
		}
	}
}
