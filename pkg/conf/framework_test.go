package conf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// framework puts framework.conf and files of framework.conf.d in place.
func framework(t *testing.T, r *Reader, texts ...string) {
	t.Helper()
	write(t, r.Host.Root.Path("/etc/dkms/framework.conf"), texts[0])
	for i, text := range texts[1:] {
		write(t, r.Host.Root.Path(fmt.Sprintf("/etc/dkms/framework.conf.d/%d.conf", i)), text)
	}
}

func TestFrameworkDefaults(t *testing.T) {
	r := newReader(t)
	r.Host.CPUs = 3
	got, err := r.ReadFramework(t.Context())
	root := r.Host.Root
	want := &Framework{
		SourceTree: root.SourceTree(), DKMSTree: root.StateTree(), InstallTree: root.InstallTree(), TmpLocation: "/tmp",
		CompressXZ: "--check=crc32 --lzma2=dict=1MiB", CompressZstd: "-q --rm -T0", TrySign: "not_in_chroot", ContinueOnError: true, BuildTimeLimit: 30 * time.Minute, FileLimit: 8192, DiskLimit: 32768, ProcessLimit: 8192, PrebuiltTimeout: 30 * time.Second, KeepBuilds: 1, UpgradeGuard: "warn", UpgradeGuardTime: 2 * time.Minute,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ReadFramework() = %+v, %v; want %+v", got, err, want)
	}
}

func TestJobs(t *testing.T) {
	for _, test := range []struct {
		asked, want string
		memory      int64
	}{
		{"", "3", 0}, {"", "3", 1 << 40}, {"", "2", 2*jobMemory + 1}, {"", "1", 1}, {"many", "3", 0}, {"-1", "3", 0},
		{"0", "", 1}, {"5", "5", 1},
	} {
		h := system.Host{CPUs: 3, Memory: func() int64 { return test.memory }}
		if got := (&Framework{ParallelJobs: test.asked}).Jobs(h); got != test.want {
			t.Errorf("Jobs with %q and %d bytes = %q; want %q", test.asked, test.memory, got, test.want)
		}
	}
	if got := new(Framework).Jobs(system.Host{CPUs: 2}); got != "2" {
		t.Errorf("Jobs without a word on memory = %q; want 2", got)
	}
}

func TestFrameworkOptions(t *testing.T) {
	r := newReader(t)
	framework(t, r, `# a comment
source_tree="/src"
dkms_tree='/state'
  install_tree=/modules	# trailing comment
tmp_location=/var/tmp
verbose="1"
symlink_modules=yes
autoinstall_all_kernels=y
modprobe_on_install="true"
parallel_jobs=0
compress_gzip_opts="-9 -n"
compress_xz_opts="--lzma2=dict=2MiB"
compress_zstd_opts=
build_environment="/etc/dkms/env"
post_transaction="update-initramfs -u"
continue_on_error=true
hook_errors=fail
build_sandbox=no
build_sandbox_allow="network sockets /cache"
build_priority=idle
compiler_launcher="ccache"
build_time_limit=45
build_file_limit=1
build_disk_limit=0
build_process_limit=3
refresh_initramfs=yes
keep_builds=3
upgrade_guard=refuse
upgrade_guard_time=60
prebuilt_source=docker://registry.example/dkms
prebuilt_certificate="/etc/dkms/fleet"
prebuilt_timeout=5
prebuilt_insecure=1
sign_file="/lib/modules/${kernelver}/sign"
mok_signing_key='/keys/$x'
unknown=fine
`, "verbose=\"\"\r\ntmp_location=\"/other\"\r\n")
	write(t, r.Host.Root.Path("/etc/dkms/framework.conf.d/z.off"), "tmp_location=/wrong")
	var trace bytes.Buffer
	r.Run.Trace = &trace
	got, err := r.ReadFramework(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := r.Host.Root
	want := &Framework{
		SourceTree: root.Path("/src"), DKMSTree: root.Path("/state"), InstallTree: root.Path("/modules"), TmpLocation: "/other",
		SymlinkModules: true, AutoinstallAllKernels: true, ModprobeOnInstall: true, ParallelJobs: "0", ContinueOnError: true,
		CompressGzip: "-9 -n", CompressXZ: "--lzma2=dict=2MiB",
		BuildEnvironment: "/etc/dkms/env", PostTransaction: "update-initramfs -u", TrySign: "not_in_chroot",
		HookErrors: "fail", BuildSandbox: "no", SandboxAllow: []string{"network", "sockets", "/cache"}, IdleBuilds: true, CompilerLauncher: []string{"ccache"}, BuildTimeLimit: 45 * time.Minute, FileLimit: 1, DiskLimit: 0, ProcessLimit: 3, RefreshInitramfs: true, KeepBuilds: 3, UpgradeGuard: "refuse", UpgradeGuardTime: time.Minute,
		PrebuiltSource: "docker://registry.example/dkms", PrebuiltCertificate: "/etc/dkms/fleet", PrebuiltInsecure: true, PrebuiltTimeout: 5 * time.Second,
		Files: []string{root.Path("/etc/dkms/framework.conf"), root.Path("/etc/dkms/framework.conf.d/0.conf")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ReadFramework() = %+v; want %+v", got, want)
	}
	if trace.Len() > 0 {
		t.Errorf("reading literal options starts a process: %s", trace.String())
	}
}

// TestFrameworkLate are options that only count when they are used.
func TestFrameworkLate(t *testing.T) {
	r := newReader(t)
	framework(t, r, `sign_file="/lib/modules/${kernelver}/sign"
mok_signing_key="/keys/$kernelver.key"
mok_certificate='/keys/\$kernelver.der'
try_sign_modules=true
post_transaction="rebuild $kernelver $(echo x)"
build_environment="/etc/env${kernelver}"
`)
	var trace bytes.Buffer
	r.Run.Trace = &trace
	fw, err := r.ReadFramework(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if trace.Len() > 0 || fw.PostTransaction == "" || fw.BuildEnvironment == "" {
		t.Errorf("ReadFramework() = %+v and starts %q; want raw options and no process", fw, trace.String())
	}
	r.Framework = fw
	signing, err := r.Signing(t.Context(), "6.1")
	if err != nil {
		t.Fatal(err)
	}
	post, err := r.PostTransaction(t.Context(), "6.1")
	if err != nil {
		t.Fatal(err)
	}
	env, err := r.BuildEnvironment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ what, got, want string }{
		{"sign_file", signing.SignFile, "/lib/modules/6.1/sign"},
		{"mok_signing_key", signing.SigningKey, "/keys/6.1.key"},
		{"mok_certificate", signing.Certificate, "/keys/$kernelver.der"},
		{"try_sign_modules", signing.TrySign, "true"},
		{"parallel_jobs", signing.ParallelJobs, fw.ParallelJobs},
		{"post_transaction", post, "rebuild 6.1 x"},
		{"build_environment", env, "/etc/env"},
	} {
		if test.got != test.want {
			t.Errorf("%s = %q; want %q", test.what, test.got, test.want)
		}
	}
}

func TestFrameworkEvaluated(t *testing.T) {
	r := newReader(t)
	framework(t, r, `dkms_tree="$dkms_tree-2"
if true; then verbose=1; fi
quit() { exit 1; }
parallel_jobs=$((3 + 4))
compress_xz_opts="$compress_xz_opts -T2"
post_transaction=$(echo)
`, "parallel_jobs=5\n")
	fw, err := r.ReadFramework(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := r.Host.Root.StateTree() + "-2"; fw.DKMSTree != want {
		t.Errorf("DKMSTree = %q; want %q", fw.DKMSTree, want)
	}
	if fw.SourceTree != r.Host.Root.SourceTree() || !fw.Verbose || fw.ParallelJobs != "5" ||
		fw.CompressXZ != "--check=crc32 --lzma2=dict=1MiB -T2" || fw.PostTransaction != "" || len(fw.Warnings) > 0 {
		t.Errorf("ReadFramework() = %+v", fw)
	}
}

func TestFrameworkErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"verbose=1\nif\n", "framework.conf.d/0.conf:3: syntax error: unexpected end of file"},
		{"x=\"$(\n", "framework.conf.d/0.conf:"},
		{"parallel_jobs=many\n", "framework.conf.d/0.conf:1: parallel_jobs=many is not a number"},
		{"prebuilt_source=registry.example/x\n", "framework.conf.d/0.conf:1: prebuilt_source=registry.example/x is neither docker://REGISTRY/REPOSITORY nor an absolute path"},
		{"prebuilt_source=docker://registry.example:5000\n", "framework.conf.d/0.conf:1: prebuilt_source=docker://registry.example:5000 is neither docker://REGISTRY/REPOSITORY nor an absolute path"},
		{"prebuilt_source=docker://registry.example/x:latest\n", "framework.conf.d/0.conf:1: prebuilt_source=docker://registry.example/x:latest is neither docker://REGISTRY/REPOSITORY nor an absolute path"},
		{"prebuilt_certificate=here\n", "framework.conf.d/0.conf:1: prebuilt_certificate=here is not an absolute path"},
		{"prebuilt_timeout=0\n", "framework.conf.d/0.conf:1: prebuilt_timeout=0 is not a number of seconds"},
		{"prebuilt_timeout=1m\n", "framework.conf.d/0.conf:1: prebuilt_timeout=1m is not a number of seconds"},
		{"prebuilt_timeout=9223372037\n", "framework.conf.d/0.conf:1: prebuilt_timeout=9223372037 is not a number of seconds"},
		{"build_time_limit=153722868\n", "framework.conf.d/0.conf:1: build_time_limit=153722868 is not a number of minutes"},
		{"build_time_limit=307445735\n", "framework.conf.d/0.conf:1: build_time_limit=307445735 is not a number of minutes"},
		{"hook_errors=loud\n", "framework.conf.d/0.conf:1: hook_errors=loud is neither empty nor fail"},
		{"hook_errors=$(echo loud)\n", "framework.conf.d/0.conf:1: hook_errors=loud is neither empty nor fail"},
		{"verbose=1\n\x00", "framework.conf.d/0.conf:2: not a text file"},
	} {
		r := newReader(t)
		framework(t, r, "verbose=\n", test.text)
		fw, err := r.ReadFramework(t.Context())
		if fw != nil || exit.Status(err) != exit.BadConf || !strings.Contains(err.Error(), "/etc/dkms/"+test.want) {
			t.Errorf("ReadFramework(%q) = %v; want %q and status %d", test.text, err, test.want, exit.BadConf)
		}
	}
}

// TestFrameworkUnreadable has something else in the place of the directory.
func TestFrameworkUnreadable(t *testing.T) {
	r := newReader(t)
	path := write(t, r.Host.Root.Path("/etc/dkms/framework.conf.d"), "verbose=1\n")
	if _, err := r.ReadFramework(t.Context()); exit.Status(err) != exit.NoConf || !strings.Contains(err.Error(), path+": not a directory") {
		t.Errorf("ReadFramework() = %v; want that %s is no directory", err, path)
	}
}

// TestPostTransaction has a kernel whose name a shell takes for more.
func TestPostTransaction(t *testing.T) {
	r := newReader(t)
	framework(t, r, "post_transaction=\"echo \\$kernelver\"\n")
	if got, err := r.PostTransaction(t.Context(), "6.1+x"); err != nil || got != "echo 6.1+x" {
		t.Errorf("PostTransaction = %q, %v", got, err)
	}
	if got, err := r.PostTransaction(t.Context(), "6.1;id"); err == nil {
		t.Errorf("PostTransaction = %q; want an error", got)
	}
}

func TestFrameworkEnvironment(t *testing.T) {
	r := newReader(t)
	r.Host.Env = map[string]string{
		"parallel_jobs": "1", "post_transaction": "evil", "sign_file": "/evil", "build_environment": "/evil",
		"dkms_tree": "/evil", "DKMS_DIRECTIVE": "dkms_tree=/evil", "TMPDIR": "/scratch",
	}
	for _, text := range []string{"", "verbose=${nothing}\n"} {
		framework(t, r, text)
		fw, err := r.ReadFramework(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if fw.ParallelJobs != "1" || fw.TmpLocation != "/scratch" {
			t.Errorf("ParallelJobs, TmpLocation = %q, %q; want those of the environment", fw.ParallelJobs, fw.TmpLocation)
		}
		fw.Files = nil
		if s := fmt.Sprintf("%+v", fw); strings.Contains(s, "evil") {
			t.Errorf("the environment sets options: %s", s)
		}
	}
}

func TestLiterals(t *testing.T) {
	for _, test := range []struct {
		text string
		want string // name=value, name~raw
	}{
		{"", ""}, {"\n# x\n \t# y\n\r\n", ""},
		{"a=b", "a=b"}, {"a=\n", "a="}, {"a='b c' # d", "a=b c"}, {"a=\"b\"\r\n", "a=b"}, {"a=b\nc=d", "a=b c=d"},
		{"a=b#c", "none"}, {"a='x  y'", "a~x  y"}, {"a=$b", "a~$b"}, {"a=\"$(b c)\"", "a~$(b c)"}, {"a=\"${b}c\"", "a~${b}c"},
		{"a=b c", "none"}, {"a =b", "none"}, {"a+=b", "none"}, {"a[0]=b", "none"}, {"A=b", "none"}, {"export a=b", "none"},
		{"a=\"b", "none"}, {"a=\"$(b\"", "none"}, {"a=\"$(echo ')')\"", "none"}, {"a=\"${b-\\\"}\"", "none"}, {"a=b;c=d", "none"},
		{"a=`b`", "none"}, {"a=b\\", "none"}, {"a=\"b\\\nc\"", "none"}, {"a=b \r", "none"}, {"\ufeffa=b", "none"}, {"1=2", "none"}, {"=", "none"},
		{"a=\"$(case x in)\"", "none"}, {"a=(b)", "none"}, {"a=$'b'", "none"}, {"a=\"b\"c", "none"}, {"histchars=abc", "none"},
	} {
		list, ok := literals([]byte(test.text))
		var got []string
		for _, a := range list {
			sign := map[bool]string{true: "~", false: "="}[a.raw]
			got = append(got, a.name+sign+a.value)
		}
		s := strings.Join(got, " ")
		if !ok {
			s = "none"
		}
		if s != test.want {
			t.Errorf("literals(%q) = %q; want %q", test.text, s, test.want)
		}
	}
}

// FuzzLiterals compares what is read without a shell with what bash reads.
func FuzzLiterals(f *testing.F) {
	for _, seed := range []string{
		"a=b\n", "a=\"b c\"\nb='d'\r\n", "# x\n a=b # c\n", "a=$b\nb=c", "a=\"$(echo x)\"\nb=y", "a=-x,y:z@%+=\n", "a=\nb=\"\"", "a=\"it's\"\nb=x\n",
		"a=\"${x}$y$\"\nc=1", "a='$(('\nb=1", "a=\"$((1))\"\nb=2\n", "a=$ \nb=1", "a=b\\\nb=1", "a=\"\r\"\nb=\"x\r\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, ok := literals([]byte(text))
		if !ok || strings.ContainsRune(text, 0) || len(list) == 0 || len(text) > 1000 {
			t.Skip("read by bash anyway")
		}
		want, raw := map[string]string{}, map[string]bool{}
		var names []string
		for _, a := range list {
			want[a.name], raw[a.name] = a.value, a.raw
			names = append(names, a.name)
		}
		r := newReader(t)
		// The first line leaves it to bash.
		ev, err := r.shell(names).read(t.Context(), setting{}, once("/nowhere/conf", ":\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		for name := range want {
			got, set := ev.values[name]
			// A value that only a shell knows may break in the second
			// evaluation, and all after it.
			if !set && len(raw) > 0 && anyRaw(raw) {
				continue
			}
			if !set || !raw[name] && got.At(0) != want[name] && !anyRaw(raw) {
				t.Errorf("literals(%q): %s=%q; bash has %v", text, name, want[name], got)
			}
		}
	})
}

func anyRaw(raw map[string]bool) bool {
	for _, r := range raw {
		if r {
			return true
		}
	}
	return false
}

func TestDistribution(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"ID=debian\n", "debian"},
		{"ID=ubuntu\nID_LIKE=debian\n", "ubuntu"},
		{"ID=\"ol\"\nID_LIKE=\"fedora\"\n", "fedora"},
		{"ID='rocky'\nID_LIKE='rhel centos fedora' # x\n", "rhel centos fedora"},
		{"ID=alpine\nID_LIKE=\n", ""},
		{"# ID=x\nNAME=\"a \\\"b\\\"\"\nID=gentoo", "gentoo"},
		{"ID=a\nID=b\r\n", "b"},
		{"ID=a\\ b", "a b"},
		{"", ""},
	} {
		root := system.Root{Dir: t.TempDir()}
		write(t, root.Path("/usr/lib/os-release"), test.text)
		if got, err := Distribution(root); err != nil || got != test.want {
			t.Errorf("Distribution(%q) = %q, %v; want %q", test.text, got, err, test.want)
		}
	}
	root := system.Root{Dir: t.TempDir()}
	if _, err := Distribution(root); exit.Status(err) != exit.NoOSRelease {
		t.Errorf("Distribution() = %v; want status %d", err, exit.NoOSRelease)
	}
	write(t, root.Path("/usr/lib/os-release"), "ID=inside")
	if err := os.Mkdir(root.Path("/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/os-release", filepath.Join(root.Dir, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	if got, err := Distribution(root); err != nil || got != "inside" {
		t.Errorf("Distribution() = %q, %v; want that of the root", got, err)
	}
}
