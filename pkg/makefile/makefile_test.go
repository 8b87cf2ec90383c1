package makefile

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/testkit"
)

// sources has makefiles, and the calls of the kernel's build that make their
// modules: "DIRECTORY OPTION...: MODULE...", where a module that a condition
// decides on ends in "?".
var sources = []struct {
	name  string
	files map[string]string
	want  string
}{
	{"nothing", nil, ""},
	{"no obj-m", map[string]string{"Makefile": "all:\n\tcc hello.c\n"}, ""},
	{"one", map[string]string{"Makefile": "obj-m := hello.o # the module\nhello-y := a.o b.o\n"}, ".: ./hello"},
	{"Kbuild comes first", map[string]string{"Makefile": "obj-m := a.o\n", "Kbuild": "obj-m := b.o\n"}, ".: ./b"},
	{"make's own names are not the kernel's", map[string]string{"GNUmakefile": "obj-m := a.o\n", "Makefile": "obj-m := b.o\n"}, ".: ./b"},
	{
		"inside of KERNELRELEASE", map[string]string{"Makefile": "ifneq ($(KERNELRELEASE),)\nobj-m := a.o\nelse\nobj-m := b.o\nall:\n\tmake -C /k M=$(PWD)\nendif\n"},
		".: ./a",
	},
	{"outside of KERNELRELEASE", map[string]string{"Makefile": "ifeq ($(KERNELRELEASE),)\nall:\n\tmake -C /k M=$(PWD)\nelse\nobj-m := a.o\nendif\n"}, ".: ./a"},
	{"a variable", map[string]string{"Makefile": "MOD := hello\nobj-m := $(MOD).o ${MOD}2.o\n"}, ".: ./hello ./hello2"},
	{"another condition", map[string]string{"Makefile": "obj-m := a.o\nifdef X\nobj-m += b.o\nelse\nobj-m += c.o\nendif\n"}, ".: ./a ./b? ./c?"},
	{"both branches", map[string]string{"Makefile": "ifdef X\nobj-m := a.o\nendif\nobj-m += a.o\n"}, ".: ./a"},
	{"in the kernel's build of a directory", map[string]string{"Makefile": "obj-m := src/ lib/x.o\n", "src/Makefile": "obj-m := a.o\n"}, ".: src/a lib/x"},
	{
		"in a directory that only make enters", map[string]string{"Makefile": "all:\n\t$(MAKE) -C src\n", "src/Makefile": "obj-m := a.o sub/\n", "src/sub/Kbuild": "obj-m := b.o\n"},
		"src: src/a src/sub/b",
	},
	{
		"in two", map[string]string{"Makefile": "all:\n\t$(MAKE) -C one\n\tcd two && make\n", "one/Makefile": "obj-m := a.o\n", "two/Makefile": "obj-m := b.o\n"},
		"one: one/a; two: two/b",
	},
	{"an option that is set", map[string]string{"Makefile": "obj-$(CONFIG_A) := a.o\nobj-$(CONFIG_B) := b.o\nall:\n\tmake -C /k M=$(PWD) CONFIG_A=m\n"}, ". CONFIG_A: ./a"},
	{"an option that the makefile sets", map[string]string{"Makefile": "CONFIG_A := m\nCONFIG_B := n\nobj-$(CONFIG_A) := a.o\nobj-$(CONFIG_B) += b.o\n"}, ".: ./a"},
	{"options that nobody sets", map[string]string{"Makefile": "obj-$(CONFIG_A) := a.o\nobj-$(CONFIG_B) += b.o\n"}, ". CONFIG_A CONFIG_B: ./a ./b"},
	{"options that nobody sets, beside a module", map[string]string{"Makefile": "obj-$(CONFIG_A) := a.o\nobj-m += b.o\n"}, ".: ./b"},
	{"built in", map[string]string{"Makefile": "obj-y := a.o sub/\n", "sub/Makefile": "obj-m := b.o\n"}, ".: sub/b"},
	{"included", map[string]string{"Makefile": "include $(src)/mods.mk\n", "mods.mk": "M1 := a\nobj-m := $(M1).o\ninclude mods.mk\n"}, ".: ./a"},
	{"only make knows", map[string]string{"Makefile": "\nobj-m := $(patsubst %.c,%.o,$(wildcard *.c))\n"}, "Makefile:2: obj-m: only make knows what $(patsubst %.c,%.o,$(wildcard *.c)) is"},
	{"out of the sources", map[string]string{"Makefile": "obj-m := ../other/ a.o\n"}, ".: ./a"},
	{"continued", map[string]string{"Makefile": "obj-m := a.o \\\n\tb.o\n"}, ".: ./a ./b"},
}

func TestBuilds(t *testing.T) {
	for _, test := range sources {
		dir := t.TempDir()
		for name, text := range test.files {
			testkit.Write(t, filepath.Join(dir, name), text)
		}
		list, err := Builds(dir)
		var calls []string
		for _, b := range list {
			call := strings.Join(append([]string{b.Dir}, b.Options...), " ") + ":"
			for _, m := range b.Modules {
				call += fmt.Sprintf(" %s/%s", m.Dir, m.Name)
				if m.Unsure {
					call += "?"
				}
			}
			calls = append(calls, call)
		}
		got := strings.Join(calls, "; ")
		if err != nil {
			got = strings.ReplaceAll(err.Error(), dir+"/", "")
		}
		if got != test.want {
			t.Errorf("%s: Builds = %q; want %q", test.name, got, test.want)
		}
	}
}
