package conf

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dkms/pkg/exit"
)

var kernel = Target{
	Release: "6.1.0-56-amd64", Arch: "x86_64",
	SourceDir: "/lib/modules/6.1.0-56-amd64/build", ConfigFile: "/boot/config",
}

// read reads one conf of the text for kernel.
func read(t *testing.T, r *Reader, text string) (*Module, error) {
	t.Helper()
	file := write(t, filepath.Join(r.Host.Root.Dir, "src", "dkms.conf"), text)
	res := r.Modules(t.Context(), []Ref{{Name: "demo", Version: "1.0", File: file, Target: kernel}})[0]
	return res.Conf, res.Err
}

func mustRead(t *testing.T, r *Reader, text string) *Module {
	t.Helper()
	m, err := read(t, r, text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDirectives(t *testing.T) {
	r := newReader(t)
	r.Distribution = "debian"
	m := mustRead(t, r, `
PACKAGE_NAME="demo"
PACKAGE_VERSION="1.0"
BUILT_MODULE_NAME[0]="first"
BUILT_MODULE_LOCATION[0]="src"
BUILT_MODULE_NAME[1]="second"
BUILT_MODULE_LOCATION[1]="src/"
DEST_MODULE_NAME[1]="2nd"
DEST_MODULE_LOCATION[0]="/kernel/drivers"
DEST_MODULE_LOCATION[1]="/updates/"
STRIP[1]="No"
MAKE[0]="make all KVER=${kernelver}"
MAKE_MATCH[1]='^6\.'
MAKE[1]="make six"
PATCH[0]=a.patch
PATCH[4]=b.patch
PATCH_MATCH[4]='^5\.'
BUILD_DEPENDS[0]=spl
BUILD_DEPENDS[2]="icp lua"
BUILD_DEPENDS_REBUILD=Yes
AUTOINSTALL=YES
NO_WEAK_MODULES=no
POST_ADD="add.sh $module $module_version"
PRE_BUILD="$kernelver $arch $kernel_source_dir"
POST_BUILD="$kernel_config $dkms_tree"
PRE_INSTALL="$source_tree $install_tree"
POST_INSTALL="$running_distribution $current_os"
POST_REMOVE="j${parallel_jobs+-j$parallel_jobs} $tmp_location"
BUILD_EXCLUSIVE_KERNEL='^6'
BUILD_EXCLUSIVE_KERNEL_MIN=5.0
BUILD_EXCLUSIVE_KERNEL_MAX[1]=7.0
BUILD_EXCLUSIVE_ARCH=x86
BUILD_EXCLUSIVE_CONFIG="CONFIG_A !CONFIG_B"
`)
	root := r.Host.Root
	want := &Module{
		File: filepath.Join(root.Dir, "src/dkms.conf"), Files: []string{filepath.Join(root.Dir, "src/dkms.conf")},
		Name: "demo", Version: "1.0",
		Records: []Record{
			{Index: 0, BuiltName: "first", BuiltLocation: "src/", DestName: "first", DestLocation: "/kernel/drivers", Strip: true},
			{Index: 1, BuiltName: "second", BuiltLocation: "src/", DestName: "2nd", DestLocation: "/updates/"},
		},
		Make:         Array{0: "make all KVER=6.1.0-56-amd64", 1: "make six"},
		MakeMatch:    Array{1: `^6\.`},
		Patch:        Array{0: "a.patch", 4: "b.patch"},
		PatchMatch:   Array{4: `^5\.`},
		BuildDepends: []string{"spl", "icp", "lua"}, BuildDependsRebuild: true, Autoinstall: true,
		PostAdd:     "add.sh demo 1.0",
		PreBuild:    "6.1.0-56-amd64 x86_64 /lib/modules/6.1.0-56-amd64/build",
		PostBuild:   "/boot/config " + root.StateTree(),
		PreInstall:  root.SourceTree() + " " + root.InstallTree(),
		PostInstall: "debian Linux",
		PostRemove:  "j-j" + new(Framework).Jobs(r.Host) + " /tmp",
		Exclusive: Exclusive{
			Kernel: Array{0: "^6"}, KernelMin: Array{0: "5.0"}, KernelMax: Array{1: "7.0"},
			Arch: Array{0: "x86"}, Config: Array{0: "CONFIG_A !CONFIG_B"},
		},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("conf = %+v; want %+v", m, want)
	}
	if err := m.CheckStrict(); err != nil {
		t.Errorf("CheckStrict() = %v", err)
	}
}

func TestRecordDefaults(t *testing.T) {
	r := newReader(t)
	base := "PACKAGE_NAME=demo\nPACKAGE_VERSION=1.0\n"
	tests := []struct {
		name, text string
		want       []Record
	}{
		{"no record", "", nil},
		{"one record is called as the package", "DEST_MODULE_LOCATION=/extra", []Record{
			{BuiltName: "demo", DestName: "demo", DestLocation: "/extra", Strip: true}}},
		{"strip of record 0 is the default", "STRIP=n\nSTRIP[1]=y\nBUILT_MODULE_NAME=(a b c)\nDEST_MODULE_LOCATION=(/extra /extra /extra)", []Record{
			{Index: 0, BuiltName: "a", DestName: "a", DestLocation: "/extra"},
			{Index: 1, BuiltName: "b", DestName: "b", DestLocation: "/extra", Strip: true},
			{Index: 2, BuiltName: "c", DestName: "c", DestLocation: "/extra"}}},
		{"strip in small letters", "strip=no\nDEST_MODULE_LOCATION=/extra", []Record{{BuiltName: "demo", DestName: "demo", DestLocation: "/extra"}}},
		{"strip in other words", "STRIP=maybe\nDEST_MODULE_LOCATION=/extra", []Record{{BuiltName: "demo", DestName: "demo", DestLocation: "/extra", Strip: true}}},
		{"carriage returns", "DEST_MODULE_LOCATION=\"/extra\"\r\nBUILT_MODULE_NAME=x\r\n", []Record{{BuiltName: "x", DestName: "x", DestLocation: "/extra", Strip: true}}},
		{"a path in the name", "BUILT_MODULE_NAME=sub/x\nDEST_MODULE_NAME=x\nDEST_MODULE_LOCATION=/extra", []Record{{BuiltName: "sub/x", DestName: "x", DestLocation: "/extra", Strip: true}}},
		{"the build directory's path", "BUILT_MODULE_LOCATION=$dkms_tree/demo/1.0/build\nDEST_MODULE_LOCATION=/extra", []Record{
			{BuiltName: "demo", BuiltLocation: r.Host.Root.StateTree() + "/demo/1.0/build/", DestName: "demo", DestLocation: "/extra", Strip: true}}},
	}
	for _, test := range tests {
		m, err := read(t, r, base+test.text)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if !slices.Equal(m.Records, test.want) {
			t.Errorf("%s: records = %+v; want %+v", test.name, m.Records, test.want)
		}
		if warned := len(m.Warnings) > 0; warned != (test.want == nil) {
			t.Errorf("%s: warnings = %q", test.name, m.Warnings)
		}
	}
}

func TestInvalid(t *testing.T) {
	r := newReader(t)
	tests := []struct {
		name, text string
		want       []string // after the path
	}{
		{"empty", "", []string{": PACKAGE_NAME is not set", ": PACKAGE_VERSION is not set"}},
		{"names that leave the trees", "PACKAGE_NAME=../x\nPACKAGE_VERSION=a/b", []string{
			": PACKAGE_NAME=../x cannot be a directory name", ": PACKAGE_VERSION=a/b cannot be a directory name"}},
		{"everything", "BUILT_MODULE_NAME[0]=a.ko\nDEST_MODULE_NAME[0]=b.o\nDEST_MODULE_LOCATION[0]=/lib\nAUTOINSTALL=true\nNO_WEAK_MODULES=1\nBUILD_DEPENDS_REBUILD=x", []string{
			": PACKAGE_NAME is not set", ": PACKAGE_VERSION is not set",
			": BUILT_MODULE_NAME[0]=a.ko ends in .o or .ko", ": DEST_MODULE_NAME[0]=b.o ends in .o or .ko",
			": DEST_MODULE_LOCATION[0]=/lib does not begin with /kernel, /updates or /extra",
			": AUTOINSTALL=true is neither yes nor no", ": NO_WEAK_MODULES=1 is neither yes nor no",
			": BUILD_DEPENDS_REBUILD=x is neither yes nor no"}},
		{"holes", "PACKAGE_NAME=x\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME[1]=a\nDEST_MODULE_LOCATION[1]=/extra\nDEST_MODULE_LOCATION[2]=/extra", []string{
			": BUILT_MODULE_NAME[0] is not set", ": DEST_MODULE_LOCATION[0] is not set", ": BUILT_MODULE_NAME[2] is not set"}},
		{"paths", "PACKAGE_NAME=x\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=(a b c)\nBUILT_MODULE_LOCATION=(../.. /etc .)\nDEST_MODULE_NAME[2]=x/y\nDEST_MODULE_LOCATION=(/kernel/../.. /extra /extra)", []string{
			": BUILT_MODULE_LOCATION[0]=../../ leads out of the build directory", ": DEST_MODULE_LOCATION[0]=/kernel/../.. leads out of the kernel's module directory",
			": BUILT_MODULE_LOCATION[1]=/etc/ leads out of the build directory", ": DEST_MODULE_NAME[2]=x/y cannot be a file name"}},
		{"syntax", "PACKAGE_NAME=x\nfi\nPACKAGE_VERSION=1\n", []string{
			":2: syntax error near unexpected token `fi'; the rest of the file is left out", ":2: `fi'", ": PACKAGE_VERSION is not set", ": no modules are specified before the syntax error"}},
		{"unterminated quote", "\nPACKAGE_NAME=\"x\n", []string{
			":2: unexpected EOF while looking for matching `\"'; the rest of the file is left out", ": PACKAGE_NAME is not set", ": PACKAGE_VERSION is not set", ": no modules are specified before the syntax error"}},
		{"second evaluation", "PACKAGE_NAME=x\nPOST_ADD='\"a b\"'\nPACKAGE_VERSION='$(nothing_here)'\n", []string{
			":3: PACKAGE_VERSION[0]: nothing_here: command not found", ":2: POST_ADD[0]: `POST_ADD[0]': not a valid identifier",
			":2: POST_ADD[0]: b: command not found", ": PACKAGE_VERSION is not set"}},
		{"exit", "PACKAGE_NAME=x\nPACKAGE_VERSION=1\nexit 0\n", []string{
			": ends the shell before its values can be read", ": PACKAGE_NAME is not set", ": PACKAGE_VERSION is not set"}},
		{"index", plainConf + "BUILT_MODULE_NAME[99999999]=x", []string{": record #99999999 is beyond the limit of 10000"}},
		{"binary", "PACKAGE_NAME=x\n\x00", []string{":2: not a text file"}},
		{"huge", strings.Repeat("#\n", 1<<20), []string{": larger than 1 MiB"}},
	}
	for _, test := range tests {
		_, err := read(t, r, test.text)
		if exit.Status(err) != exit.BadConf {
			t.Errorf("%s: error %v has status %d; want %d", test.name, err, exit.Status(err), exit.BadConf)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		for i, line := range got {
			got[i] = strings.TrimPrefix(line, filepath.Join(r.Host.Root.Dir, "src/dkms.conf"))
		}
		// Older shells add a line for text that ends too early.
		got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "unexpected end of file") })
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: problems %q; want %q", test.name, got, test.want)
		}
	}
}

// TestHalfRead is a file that bash gives up on after all that matters: the
// original takes what it has, and so does this, but not without a word.
func TestHalfRead(t *testing.T) {
	m, err := read(t, newReader(t), plainConf+"fi\nMAKE=lost\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Broken) != 1 || !strings.Contains(m.Broken[0], "dkms.conf:4: syntax error") || len(m.Make) > 0 {
		t.Errorf("Broken = %q, MAKE = %v; want the syntax error and nothing behind it", m.Broken, m.Make)
	}
	if !slices.Contains(m.Warnings, m.Broken[0]) || !strings.HasSuffix(m.Broken[0], "; the rest of the file is left out") {
		t.Errorf("Warnings = %q; want the syntax error and what comes of it", m.Warnings)
	}
}

// TestBroken names what bash cannot read, and where.
func TestBroken(t *testing.T) {
	r := newReader(t)
	for _, test := range []struct{ name, text, want string }{
		{"second evaluation", plainConf + "MAKE=\"make X=\\$(echo (a))\"\n", ":4: MAKE[0]: second evaluation: syntax error near unexpected token `a'"},
		{"byte order mark", "\ufeff" + plainConf, ":1: begins with a byte order mark, which makes this line unreadable: save the file as UTF-8 without one"},
		{"byte order mark before a comment", "\ufeff# text\n" + plainConf, ":1: begins with a byte order mark, which makes this line unreadable: save the file as UTF-8 without one"},
	} {
		m, err := read(t, r, test.text)
		var said []string
		if err != nil {
			said = strings.Split(err.Error(), "\n")
		} else {
			said = m.Warnings
		}
		if want := filepath.Join(r.Host.Root.Dir, "src/dkms.conf") + test.want; !slices.Contains(said, want) {
			t.Errorf("%s: %q; want %q among them", test.name, said, want)
		}
	}
}

// TestInside has paths with .. that stay where they belong.
func TestInside(t *testing.T) {
	m := mustRead(t, newReader(t), plainConf+`
BUILT_MODULE_NAME=(a b c)
BUILT_MODULE_LOCATION=(../build/b sub/../../build/./c ..//build)
DEST_MODULE_LOCATION=(/kernel/../updates/ /extra/x/.. /extra)
POST_INSTALL="sub/../p.sh a"
PRE_BUILD=../build/pre.sh
POST_ADD=/post.sh
`)
	var got []string
	for _, r := range m.Records {
		got = append(got, r.BuiltLocation+" "+r.DestLocation)
	}
	if want := []string{"b/ /updates", "c/ /extra", " /extra"}; !slices.Equal(got, want) {
		t.Errorf("locations %q; want %q", got, want)
	}
	for _, line := range []string{
		"POST_INSTALL=../../../tmp/b.sh", "PRE_BUILD=../source/x", "POST_REMOVE='a/../../b c'", "POST_ADD=/../x",
		"DEST_MODULE_LOCATION=/kernel/../build", "DEST_MODULE_LOCATION=/kernel/../../6.2/updates", "BUILT_MODULE_LOCATION=../source",
		"BUILT_MODULE_NAME=../x",
	} {
		if _, err := read(t, newReader(t), plainConf+line+"\n"); exit.Status(err) != exit.BadConf {
			t.Errorf("%s: %v; want it refused", line, err)
		}
	}
}

// TestAdministrators are directives that count from /etc/dkms only.
func TestAdministrators(t *testing.T) {
	r := newReader(t)
	own := plainConf + "BUILD_SANDBOX=no\nBUILD_ENV=A=package\nBUILD_OPTIONAL=demo\nMAKE=\"make $A $B\"\nif [ \"$B\" ]; then PATCH=$(printenv B).patch; fi\n"
	m := mustRead(t, r, own)
	if m.NoSandbox || m.Records[0].Optional || len(m.Env) > 0 || len(m.Warnings) != 3 || m.Make.At(0) != "make" {
		t.Errorf("%+v: the package has a say in what is the administrator's", m)
	}
	override := filepath.Join(r.Host.Root.Dir, "etc/dkms/demo.conf")
	write(t, override, "BUILD_SANDBOX=no\nBUILD_ENV[0]='A=of etc'\nBUILD_ENV[1]=B=\nBUILD_OPTIONAL[0]='x demo'\n")
	m = mustRead(t, r, own)
	if !m.NoSandbox || !m.Records[0].Optional || m.Make.At(0) != "make of etc" || !maps.Equal(m.Env, map[string]string{"A": "of etc", "B": ""}) {
		t.Errorf("%+v: the administrator has no say", m)
	}
	r.Env = map[string]string{"B": "option"}
	if m = mustRead(t, r, own); m.Env["B"] != "option" || m.Patch.At(0) != "option.patch" || m.Env["A"] != "of etc" {
		t.Errorf("Env = %q, PATCH = %v; want that of --env", m.Env, m.Patch)
	}
	write(t, override, "BUILD_ENV=(A MAKE=x PATH=/ kernelver=6 1=2)\n")
	_, err := read(t, r, own)
	for _, want := range []string{"BUILD_ENV[0]: A: not NAME=VALUE", "MAKE is a directive", "PATH is set by", "kernelver is set by", "BUILD_ENV[4]: 1=2: not NAME"} {
		if err == nil || strings.Count(err.Error(), want) != 1 {
			t.Errorf("error %v; want %q in it once", err, want)
		}
	}
	os.Remove(override)
	r.Env, r.Directives = nil, []string{"BUILD_SANDBOX=no"}
	if m = mustRead(t, r, own); !m.NoSandbox {
		t.Error("--directive BUILD_SANDBOX=no does not count")
	}
}

// TestFunctions calls the functions of the original.
func TestFunctions(t *testing.T) {
	for _, test := range []struct{ distribution, addon, want string }{
		{"debian", "", "/updates/dkms"}, {"rhel fedora", "", "/extra"}, {"opensuse suse", "", "/updates"}, {"gentoo", "", "/kernel/x"}, {"arch", "addon", "/addon"},
	} {
		r := newReader(t)
		r.Distribution, r.Host.Env = test.distribution, map[string]string{"ADDON_MODULES_DIR": test.addon}
		m := mustRead(t, r, plainConf+`POST_INSTALL="p.sh $(override_dest_module_location /kernel/x)"`+"\n"+
			`[[ $(VER "$kernelver") > $(VER 5.10) ]] && MAKE="$(VER '6.1 0-rc12-1234')"`+"\n")
		want := Record{DestLocation: "/kernel/x"}.Destination(test.distribution, test.addon)
		if m.PostInstall != "p.sh "+test.want || want != test.want {
			t.Errorf("%q: override_dest_module_location prints %q, Destination is %q; want %q", test.distribution, m.PostInstall, want, test.want)
		}
		if got := m.Make.At(0); got != "006.001000-rc012-1234" {
			t.Errorf("VER prints %q", got)
		}
	}
}

func TestUnreadable(t *testing.T) {
	r := newReader(t)
	dir := r.Host.Root.Dir
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "missing"), dir, pipe} {
		res := r.Modules(t.Context(), []Ref{{File: file}})[0]
		if exit.Status(res.Err) != exit.NoConf || !strings.HasPrefix(res.Err.Error(), file+": ") {
			t.Errorf("Modules(%s) = %v; want status %d and the path", file, res.Err, exit.NoConf)
		}
		if strings.Count(res.Err.Error(), file) != 1 {
			t.Errorf("Modules(%s) = %v; want the path once", file, res.Err)
		}
	}
}

func TestStrict(t *testing.T) {
	r := newReader(t)
	m := mustRead(t, r, plainConf+"BUILT_MODULE_NAME=(a a b)\nBUILT_MODULE_LOCATION=(x x/ y)\nDEST_MODULE_NAME=(k l k)\nDEST_MODULE_LOCATION=(/extra /extra /extra)")
	err := m.CheckStrict()
	want := m.File + ": records #0 and #1 are both built as x/a\n" + m.File + ": records #0 and #2 are both installed as k"
	if exit.Status(err) != exit.BadConf || err.Error() != want {
		t.Errorf("CheckStrict() = %v; want %s", err, want)
	}
}

func TestDeprecated(t *testing.T) {
	r := newReader(t)
	override := write(t, r.Host.Root.Path("/etc/dkms/demo.conf"), "MODULES_CONF=\n")
	m := mustRead(t, r, plainConf+"REMAKE_INITRD=\"\"\nCLEAN=true\nOBSOLETE_BY=6.0\n")
	want := []string{
		m.File + ": OBSOLETE_BY is deprecated, use BUILD_EXCLUSIVE_KERNEL_MAX",
		m.File + ": REMAKE_INITRD is deprecated and has no effect",
		override + ": MODULES_CONF is deprecated and has no effect",
	}
	if !slices.Equal(m.Deprecated, want) {
		t.Errorf("Deprecated = %q; want %q", m.Deprecated, want)
	}
	if out, why := m.Excluded(kernel, nil); !out || why != "OBSOLETE_BY=6.0 and the kernel is 6.1.0-56-amd64" {
		t.Errorf("Excluded() = %v, %q", out, why)
	}
	m = mustRead(t, r, plainConf+"OBSOLETE_BY=6.0\nBUILD_EXCLUSIVE_KERNEL_MAX=7\n")
	if out, why := m.Excluded(kernel, nil); out {
		t.Errorf("Excluded() = true, %q; want OBSOLETE_BY to give way", why)
	}
}

func TestOverrides(t *testing.T) {
	r := newReader(t)
	names := []string{
		"demo", "demo-1.0", "demo-1.0-6.1.0-56-amd64", "demo-1.0-6.1.0-56-amd64-x86_64",
		"demo--6.1.0-56-amd64", "demo--6.1.0-56-amd64-x86_64",
	}
	base := write(t, filepath.Join(r.Host.Root.Dir, "dkms.conf"), plainConf+"MAKE=base\nSTRIP=no\n")
	want, files := "base", []string{base}
	for i, name := range names {
		digit := string(rune('1' + i))
		files = append(files, write(t, r.Host.Root.Path("/etc/dkms/"+name+".conf"), "MAKE=\"${MAKE} "+digit+"\"\nunset STRIP\n"))
		want += " " + digit
	}
	write(t, r.Host.Root.Path("/etc/dkms/.conf"), "MAKE=wrong")
	write(t, r.Host.Root.Path("/etc/dkms/demo-2.0.conf"), "MAKE=wrong")
	for _, ref := range []Ref{{Name: "demo", Version: "1.0", File: base, Target: kernel}, {File: base, Target: kernel}} {
		res := r.Modules(t.Context(), []Ref{ref})[0]
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		if got := res.Conf.Make.At(0); got != want {
			t.Errorf("MAKE of %q = %q; want %q", ref.Name, got, want)
		}
		if !slices.Equal(res.Conf.Files, files) {
			t.Errorf("Files = %q; want %q", res.Conf.Files, files)
		}
		if res.Conf.Records[0].Strip {
			t.Error("an override has unset STRIP; only an empty value counts")
		}
	}
	if err := os.Mkdir(r.Host.Root.Path("/etc/dkms/other.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	res := r.Modules(t.Context(), []Ref{{Name: "other", File: base}})[0]
	if exit.Status(res.Err) != exit.NoConf {
		t.Errorf("override that is a directory: %v; want status %d", res.Err, exit.NoConf)
	}
}

func TestDirectiveOptions(t *testing.T) {
	r := newReader(t)
	r.Directives = []string{"MAKE=a $b \"c\"", "UNKNOWN=x", "PATCH[1]=x", "nothing"}
	r.Host.Env = map[string]string{
		"DKMS_DIRECTIVE_1": "POST_ADD=from env $(id)", "DKMS_DIRECTIVE": "PATCH[2]=p=q",
		"POST_BUILD": "leak", "DKMS_DIRECTIVE_BAD": "x y=z",
	}
	m := mustRead(t, r, plainConf+"MAKE=conf\nDKMS_DIRECTIVE_X=PRE_BUILD=inner\nPOST_ADD=conf\n")
	for _, test := range []struct{ what, got, want string }{
		{"--directive", m.Make.At(0), `a $b "c"`},
		{"DKMS_DIRECTIVE_1 of the environment", m.PostAdd, "from env $(id)"},
		{"DKMS_DIRECTIVE of the environment", m.Patch.At(2), "p=q"},
		{"DKMS_DIRECTIVE_X of the conf", m.PreBuild, "inner"},
		{"other environment", m.PostBuild, ""},
		{"--directive with an index", m.Patch.At(1), ""},
		{"warnings", strings.Join(m.Warnings, "|"), "--directive PATCH[1]=x: not NAME=VALUE|--directive nothing: not NAME=VALUE"},
	} {
		if test.got != test.want {
			t.Errorf("%s = %q; want %q", test.what, test.got, test.want)
		}
	}
}

// TestKernelConfig sources the kernel's configuration, as many confs do.
func TestKernelConfig(t *testing.T) {
	r := newReader(t)
	dir := t.TempDir()
	config := write(t, filepath.Join(dir, ".config"), "# x\nCONFIG_A=y\nCONFIG_MODULES=y\n# CONFIG_C is not set\nCONFIG_B=\"text\"\n")
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755) // headers are readable by everybody
	}
	file := write(t, filepath.Join(r.Host.Root.Dir, "dkms.conf"), plainConf+". $kernel_config\nPOST_ADD=$CONFIG_A\nsource ${kernel_source_dir}/.config\nPRE_BUILD=$CONFIG_B\nDKMS_DIRECTIVE_X=POST_BUILD=$CONFIG_MODULES\n")
	res := r.Modules(t.Context(), []Ref{{File: file, Target: Target{SourceDir: dir, ConfigFile: config}}})[0]
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	if got := res.Conf.PostAdd + res.Conf.PreBuild + res.Conf.PostBuild; got != "ytexty" {
		t.Errorf("values from the kernel's configuration = %q; want %q", got, "ytexty")
	}
	if len(res.Conf.Warnings) > 0 {
		t.Errorf("warnings are %q", res.Conf.Warnings)
	}
}

func TestArray(t *testing.T) {
	a := Array{3: "x", 0: ""}
	if a.Len() != 4 || a.At(3) != "x" || a.At(7) != "" || !slices.Equal(a.Indexes(), []int{0, 3}) {
		t.Errorf("Len, At, Indexes = %d, %q, %q, %v", a.Len(), a.At(3), a.At(7), a.Indexes())
	}
	if none := Array(nil); none.Len() != 0 || none.At(0) != "" || none.Indexes() != nil {
		t.Error("the nil array has elements")
	}
}
