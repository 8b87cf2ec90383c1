package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// The compilers that the tables name must be there or not be there.
func runner(t *testing.T) *system.Runner {
	t.Helper()
	r := system.NewRunner(system.Host{})
	if !r.Has("sh") || r.Has("gcc-0.1") {
		t.Fatal("this machine has no sh, or a gcc-0.1")
	}
	return r
}

// sh stands for a compiler that is installed, gcc-0.1 for one that is not.
func TestToolchain(t *testing.T) {
	run := runner(t)
	clang, lld := "", ""
	if run.Has("clang") {
		clang = "clang"
	}
	if run.Has("ld.lld") {
		lld = "ld.lld"
	}
	tests := []struct {
		name, variables, config string
		want                    Toolchain
		missing                 string
	}{
		{"nothing said", "", "", Toolchain{}, ""},
		{"from the config", "", `CONFIG_CC_VERSION_TEXT="sh (Debian 12.2.0-14) 12.2.0"`, Toolchain{CC: "sh", Wanted: "sh"}, ""},
		{"without quotes", "", `CONFIG_CC_VERSION_TEXT=sh (GCC) 12.2.0`, Toolchain{CC: "sh", Wanted: "sh"}, ""},
		{"one word", "", `CONFIG_CC_VERSION_TEXT="sh"`, Toolchain{CC: "sh", Wanted: "sh"}, ""},
		{"empty", "", `CONFIG_CC_VERSION_TEXT=""`, Toolchain{}, ""},
		{"not installed", "", `CONFIG_CC_VERSION_TEXT="gcc-0.1 (Debian) 0.1"`, Toolchain{Wanted: "gcc-0.1"}, "gcc-0.1"},
		{"from the headers", "CC = sh\n", "", Toolchain{CC: "sh"}, ""},
		{"the headers where the config names what is not there", "override CC = sh\n", `CONFIG_CC_VERSION_TEXT="gcc-0.1 x"`, Toolchain{CC: "sh", Wanted: "gcc-0.1"}, ""},
		{"the config before the headers", "CC = env\n", `CONFIG_CC_VERSION_TEXT="sh x"`, Toolchain{CC: "sh", Wanted: "sh"}, ""},
		{"neither is installed", "CC = gcc-0.2\n", `CONFIG_CC_VERSION_TEXT="gcc-0.1 x"`, Toolchain{Wanted: "gcc-0.1"}, "gcc-0.1"},
		{"with an argument", "CC = sh -m64\n", "", Toolchain{CC: "sh -m64"}, ""},
		{"built by clang", "", "CONFIG_CC_VERSION_TEXT=\"gcc-0.1 x\"\nCONFIG_CC_IS_CLANG=y\nCONFIG_LD_IS_LLD=y",
			Toolchain{CC: clang, LD: lld, Clang: true, Wanted: "gcc-0.1"}, map[bool]string{true: "gcc-0.1"}[clang == ""]},
		{"not built by clang", "", "# CONFIG_CC_IS_CLANG is not set\nCONFIG_LD_IS_LLD=n", Toolchain{}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRoot(t)
			headers := filepath.Join(r.InstallTree(), release, "build")
			write(t, filepath.Join(headers, ".config"), test.config+"\n")
			if test.variables != "" {
				write(t, filepath.Join(headers, ".kernelvariables"), test.variables)
			}
			got := New(r, release, "x86_64", Options{}).Toolchain(run)
			if got != test.want || got.Missing() != test.missing {
				t.Errorf("Toolchain = %+v, Missing = %q; want %+v, %q", got, got.Missing(), test.want, test.missing)
			}
		})
	}
}

// A vmlinux that tells what made it is believed before the configuration.
func TestToolchainVmlinux(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("gcc is missing")
	}
	r := newRoot(t)
	headers := filepath.Join(r.InstallTree(), release, "build")
	write(t, filepath.Join(headers, ".config"), "CONFIG_CC_IS_CLANG=y\n")
	cmd := exec.Command("gcc", "-c", "-x", "c", "-o", filepath.Join(headers, "vmlinux"), "-")
	cmd.Stdin = strings.NewReader("int x;\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if New(r, release, "x86_64", Options{}).Toolchain(runner(t)).Clang {
		t.Error("what gcc made is taken for clang's")
	}
	write(t, filepath.Join(headers, "vmlinux"), "not an ELF file")
	if !New(r, release, "x86_64", Options{}).Toolchain(runner(t)).Clang {
		t.Error("a vmlinux that tells nothing hides the configuration")
	}
}

func TestMakeVariable(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".kernelvariables")
	tests := []struct{ text, want string }{
		{"CC = gcc-12\n", "gcc-12"},
		{"CC=gcc-12", "gcc-12"},
		{"CC := gcc-12\nCC ?= gcc-13\n", "gcc-13"},
		{"override CC = gcc-12\n", "gcc-12"},
		{"export CC = gcc-12\n", "gcc-12"},
		{"override CC=$(CROSS_COMPILE)gcc-14\n", "gcc-14"},
		{"CC = gcc-12 # the default\n", "gcc-12"},
		{"CC = gcc-12\n# CC = gcc-9\n", "gcc-12"},
		{"#CC = gcc-9\n", ""},
		{"CC = gcc-12 -m64\n", "gcc-12 -m64"},
		{"CC = $(if $(X),ccache) $(CROSS_COMPILE)gcc-12\n", ""},
		{"CC = $(shell which gcc)\n", ""},
		{"CCC = a\nHOSTCC = b\nCC_X = c\nX = CC\n", ""},
		{"CC =\n", ""},
		{"", ""},
		{"CC = gcc-12\r\n", "gcc-12"},
	}
	for _, test := range tests {
		write(t, file, test.text)
		if got := makeVariable(file, "CC"); got != test.want {
			t.Errorf("makeVariable(%q) = %q; want %q", test.text, got, test.want)
		}
	}
	if got := makeVariable(file+".none", "CC"); got != "" {
		t.Errorf("makeVariable of a missing file = %q", got)
	}
}

// make itself is the judge of simple assignments.
func TestMakeVariableAgreesWithMake(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("make is missing")
	}
	file := filepath.Join(t.TempDir(), "vars")
	for _, text := range []string{
		"CC = gcc-12\n", "override CC := gcc-12 # x\n", "CC = a\nCC = b\n", "#CC = c\nCC = d\n", "export CC = e\n", "CC = f -g\n", "override CC = $(CROSS_COMPILE)g\n",
	} {
		write(t, file, text+"show:\n\t@echo '$(CC)'\n")
		cmd := exec.Command("make", "-s", "-f", file, "show")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := makeVariable(file, "CC"), string(bytes.TrimSpace(out)); got != want {
			t.Errorf("makeVariable(%q) = %q; make says %q", text, got, want)
		}
	}
}

func FuzzMakeVariable(f *testing.F) {
	file := filepath.Join(f.TempDir(), ".kernelvariables")
	for _, seed := range []string{"override CC = gcc-12\n", "CC=$(CROSS_COMPILE)", "CC = $(X)\n", "=CC=\n", "CC\n= x", "CC:::=\xff\x00", "CC = $(CROSS_COMPILE)\u00a0"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		write(t, file, string(data))
		got := makeVariable(file, "CC")
		if strings.ContainsAny(got, "$\n#") || got != "" && len(strings.Fields(got)) == 0 {
			t.Errorf("makeVariable(%q) = %q", data, got)
		}
	})
}
