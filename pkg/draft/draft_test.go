package draft

import (
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/testkit"
)

const module = "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nmodule_init(start);\n"

// drafts has sources in a directory called hello-2.0, what is drafted of them,
// with lines after each other, and what is noted.
var drafts = []struct {
	name  string
	files map[string]string
	tag   string
	want  string
}{
	{
		"one file", map[string]string{"hello.c": module + "MODULE_VERSION(\"1.2\");\n"}, "v3",
		"Makefile obj-m := hello.o\ndkms.conf PACKAGE_NAME=\"hello\" PACKAGE_VERSION=\"1.2\" AUTOINSTALL=\"yes\"" +
			" BUILT_MODULE_NAME[0]=\"hello\" DEST_MODULE_LOCATION[0]=\"/updates/dkms\"\n",
	},
	{
		"a macro, several modules, a directory", map[string]string{
			"Makefile": "all:\n\tmake -C src\n", "src/Makefile": "obj-m := a.o b.o\nobj-$(CONFIG_C) := c.o\nCONFIG_C ?= $(if $(D),m)\nexport CONFIG_C=m\n",
			"src/a.c": "MODULE_VERSION(VERSION);\n", "src/version.h": "# define VERSION \"4.5-rc1\"\n",
		}, "",
		"dkms.conf PACKAGE_NAME=\"hello\" PACKAGE_VERSION=\"4.5-rc1\" AUTOINSTALL=\"yes\"" +
			" BUILT_MODULE_NAME[0]=\"a\" BUILT_MODULE_LOCATION[0]=\"src\" DEST_MODULE_LOCATION[0]=\"/updates/dkms\"" +
			" BUILT_MODULE_NAME[1]=\"b\" BUILT_MODULE_LOCATION[1]=\"src\" DEST_MODULE_LOCATION[1]=\"/updates/dkms\"" +
			" BUILT_MODULE_NAME[2]=\"c\" BUILT_MODULE_LOCATION[2]=\"src\" DEST_MODULE_LOCATION[2]=\"/updates/dkms\"" +
			" MAKE[0]=\"make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build/src CONFIG_C=m\"\n",
	},
	{
		"the tag", map[string]string{"Kbuild": "obj-m := foo.o\n", "foo.c": "/* MODULE_VERSION(\"9\"); */\n"}, "v3.1",
		"dkms.conf PACKAGE_NAME=\"foo\" PACKAGE_VERSION=\"3.1\" AUTOINSTALL=\"yes\" BUILT_MODULE_NAME[0]=\"foo\" DEST_MODULE_LOCATION[0]=\"/updates/dkms\"\n" +
			"PACKAGE_VERSION is 3.1, from the last tag: no source has MODULE_VERSION\n",
	},
	{
		"the name of the directory", map[string]string{"Kbuild": "obj-m := foo.o\n", "foo.c": "MODULE_VERSION(\"a b\");\n"}, "",
		"dkms.conf PACKAGE_NAME=\"foo\" PACKAGE_VERSION=\"2.0\" AUTOINSTALL=\"yes\" BUILT_MODULE_NAME[0]=\"foo\" DEST_MODULE_LOCATION[0]=\"/updates/dkms\"\n" +
			"PACKAGE_VERSION is 2.0, from the name of the directory: MODULE_VERSION of foo.c is none that can be read or taken\n",
	},
	{
		"two versions, and a condition", map[string]string{
			"Makefile": "obj-m := foo.o\nifdef X\nobj-m += bar.o\nendif\n", "aaa.c": "MODULE_VERSION(\"1\");\n", "foo.c": "MODULE_VERSION(\"2\");\n",
		}, "",
		"dkms.conf PACKAGE_NAME=\"hello\" PACKAGE_VERSION=\"2\" AUTOINSTALL=\"yes\" BUILT_MODULE_NAME[0]=\"foo\" DEST_MODULE_LOCATION[0]=\"/updates/dkms\"" +
			" BUILT_MODULE_NAME[1]=\"bar\" DEST_MODULE_LOCATION[1]=\"/updates/dkms\"\n" +
			"Makefile:3: a condition decides whether bar is made: take it out of dkms.conf if it is not made for every kernel\n" +
			"PACKAGE_VERSION is MODULE_VERSION of foo.c; aaa.c has 1\n",
	},
	{
		"drivers by a macro", map[string]string{"usb.c": "module_usb_driver(d);\n", "pci.c": "\tmodule_pci_driver (d);\nMODULE_VERSION(\"1\");\n"}, "",
		"Makefile obj-m := pci.o usb.o\ndkms.conf PACKAGE_NAME=\"hello\" PACKAGE_VERSION=\"1\" AUTOINSTALL=\"yes\" BUILT_MODULE_NAME[0]=\"pci\" DEST_MODULE_LOCATION[0]=\"/updates/dkms\"" +
			" BUILT_MODULE_NAME[1]=\"usb\" DEST_MODULE_LOCATION[1]=\"/updates/dkms\"\n",
	},
	// What is not known is not guessed.
	{"parts of a module", map[string]string{"hello.c": module, "part.c": "int x;\n"}, "", "hello-2.0: there is no Makefile, and which module part.c belongs to is not known"},
	{"no module", map[string]string{"part.c": "// module_init(x)\nint x;\n"}, "", "hello-2.0: there is no Makefile, and no C file that begins a module"},
	{"another Makefile", map[string]string{"Makefile": "all:\n\tcc hello.c\n", "hello.c": module}, "", "Makefile makes no module: neither it nor a makefile that it reaches has obj-m"},
	{"a name for the shell", map[string]string{"Kbuild": "obj-m := a`b`.o\n"}, "", "Kbuild:1: a`b`: a name of other characters than letters, digits and _.+~- is not written by dkms init"},
	{"twice", map[string]string{"Kbuild": "obj-m := a.o b/a.o\n"}, "", "Kbuild:1: another module is called a, too: a kernel has one module of a name"},
	{"only make knows", map[string]string{"Makefile": "obj-m := $(NAMES)\n"}, "", "Makefile:1: obj-m: only make knows what $(NAMES) is"},
}

func TestOf(t *testing.T) {
	for _, test := range drafts {
		dir := filepath.Join(t.TempDir(), "hello-2.0")
		for name, text := range test.files {
			testkit.Write(t, filepath.Join(dir, name), text)
		}
		d, err := Of(dir, func() string { return test.tag })
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			for _, f := range d.Files {
				got += f.Name + " " + strings.Join(strings.FieldsFunc(f.Text, func(r rune) bool { return r == '\n' }), " ") + "\n"
			}
			for _, n := range d.Notes {
				got += n + "\n"
			}
		}
		got = strings.ReplaceAll(strings.ReplaceAll(got, dir+"/", ""), dir, "hello-2.0")
		if got != test.want {
			t.Errorf("%s: Of = %q; want %q", test.name, got, test.want)
		}
	}
}
