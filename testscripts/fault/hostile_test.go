package fault

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// victims are files that nothing may ever touch, whatever state files say.
var victims = []string{
	"etc/victim.ko", "usr/src/victim.ko", "boot/victim.ko", "lib/modules/victim.ko",
	"usr/src/linux-headers-" + release + "/victim.ko", // behind the link "build" of the kernel
	"var/lib/victim.ko", "var/lib/dkms/other/victim.ko",
}

// besieged is a machine with an installed package and files that must stay.
func besieged(t *testing.T) *machine {
	m := newMachine(t)
	m.sources("foo", "1.0", pair)
	m.want("install", "foo/1.0")
	for _, v := range victims {
		m.write(v, "victim "+v)
	}
	return m
}

func (m *machine) unharmed() {
	m.Helper()
	for _, v := range victims {
		if data, err := os.ReadFile(m.path(v)); string(data) != "victim "+v {
			m.Errorf("%s was touched: %q, %v", v, data, err)
		}
	}
}

// special makes something at path that is no regular file, or a large one.
var special = map[string]func(path string) error{
	"a pipe":          func(path string) error { return unix.Mkfifo(path, 0o644) },
	"a directory":     func(path string) error { return os.Mkdir(path, 0o755) },
	"a loop of links": func(path string) error { return os.Symlink(filepath.Base(path), path) },
	"a device":        func(path string) error { return os.Symlink("/dev/zero", path) },
	"a large file":    func(path string) error { return truncated(path, 1<<30) },
	"an empty file":   func(path string) error { return truncated(path, 0) },
}

func truncated(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// journal is the journal of an interrupted run, as hostile hands have it.
type journal map[string]any

func hostileJournals(m *machine) map[string]journal {
	base := func(active string, rest journal) journal {
		j := journal{
			"schema": 1, "id": journal{"Name": "foo", "Version": "1.0"}, "target": journal{"Kernel": release, "Arch": arch},
			"before": "", "active": active,
		}
		for k, v := range rest {
			j[k] = v
		}
		return j
	}
	own := m.module("updates/dkms/left.ko")
	archive := m.tree("foo/original_module/" + release + "/" + arch + "/left.ko")
	list := map[string]journal{}
	for _, v := range append(victims, "lib/modules/"+release+"/build/victim.ko", "lib/modules/"+release+"/../victim.ko") {
		victim := m.root + "/" + v
		sum := sha256.Sum256([]byte("victim " + v))
		hidden := filepath.Dir(victim) + "/.dkms-victim.ko.1"
		for _, active := range []string{"", "1.0", "2.0"} {
			name := func(what string) string { return fmt.Sprintf("%s %s, towards %q", what, v, active) }
			for what, c := range map[string]journal{
				"delete":              {"path": victim, "backup": hidden},
				"put back":            {"path": victim, "staged": hidden, "contents": hex.EncodeToString(sum[:])},
				"replace by":          {"path": own, "staged": victim},
				"replace, keeping as": {"path": own, "backup": victim},
			} {
				list[name(what)] = base(active, journal{"changes": []journal{c}})
			}
			list[name("archive")] = base(active, journal{"moves": []journal{{"from": victim, "to": archive}}})
			list[name("restore from")] = base(active, journal{"moves": []journal{{"from": archive, "to": victim}}})
			list[name("archive in")] = base(active, journal{"moves": []journal{{"from": own, "to": victim}}})
		}
	}
	for _, bad := range []string{"..", "../..", "/", "", ".", "a/b", "original_module"} {
		list["package "+bad] = base("1.0", journal{"id": journal{"Name": bad, "Version": "1.0"}})
		list["version "+bad] = base(bad, journal{"id": journal{"Name": "foo", "Version": bad}})
		list["kernel "+bad] = base("1.0", journal{"target": journal{"Kernel": bad, "Arch": arch}})
	}
	list["the index"] = base("1.0", journal{"before": "1.0", "changes": []journal{{"path": m.module("modules.dep"), "backup": m.module(".dkms-modules.dep.1")}}})
	list["of a later program"] = journal{"schema": 99}
	return list
}

// A journal decides what recovery does. One that leads anywhere else than to
// the modules of its kernel and their archive does nothing, and stops nobody.
func TestHostileJournal(t *testing.T) {
	t.Parallel()
	m := besieged(t)
	m.save("besieged")
	whole := m.modules()
	n := 0
	try := func(name string, put func(path string) error) {
		if n++; n%stride != 0 {
			return
		}
		m.back("besieged")
		m.must(put(m.tree(".journal.json")))
		if r := m.dkms("autoinstall"); r.code != 0 {
			t.Errorf("%s: dkms = %d\n%s", name, r.code, r.stderr)
		}
		m.unharmed()
		if got := m.modules(); got != whole {
			t.Errorf("%s: the kernel has\n%s\nwant\n%s", name, got, whole)
		}
		if _, err := os.Lstat(m.tree(".journal.json")); err == nil {
			t.Errorf("%s: the journal is still there", name)
		}
	}
	for name, j := range hostileJournals(m) {
		data, err := json.Marshal(j)
		m.must(err)
		try(name, func(path string) error { return os.WriteFile(path, data, 0o644) })
	}
	for name, make := range special {
		try(name, make)
	}
	for _, text := range []string{"{", "null", "[]", `"`, "\x00", `{"schema":1}`, strings.Repeat("[", 1<<20)} {
		try(fmt.Sprintf("%.10q", text), func(path string) error { return os.WriteFile(path, []byte(text), 0o644) })
	}
	t.Logf("%d journals tried", n/stride)
}

// What a manifest says was installed is only believed below its kernel.
func TestHostileManifest(t *testing.T) {
	t.Parallel()
	m := besieged(t)
	m.save("besieged")
	path := m.tree("foo/1.0/" + release + "/" + arch + "/.manifest.json")
	data, err := os.ReadFile(path)
	m.must(err)
	for _, v := range victims {
		m.back("besieged")
		var manifest map[string]any
		m.must(json.Unmarshal(data, &manifest))
		sum := sha256.Sum256([]byte("victim " + v))
		manifest["installed"] = []journal{{"path": m.root + "/" + v, "sha256": hex.EncodeToString(sum[:]), "size": m.size(v)}}
		manifest["files"] = []journal{{"name": "../../../../../../../" + v, "location": "../../../..", "sha256": hex.EncodeToString(sum[:])}}
		text, err := json.Marshal(manifest)
		m.must(err)
		m.must(os.WriteFile(path, text, 0o644))
		m.dkms("status")
		m.dkms("sign")
		m.dkms("uninstall", "foo/1.0")
		m.dkms("remove", "foo/1.0", "--all")
		m.unharmed()
	}
	for name, make := range special {
		m.back("besieged")
		m.must(os.Remove(path))
		m.must(make(path))
		if r := m.dkms("status"); r.code != 0 {
			t.Errorf("%s: status = %d\n%s", name, r.code, r.stderr)
		}
		if r := m.dkms("autoinstall"); r.code != 0 {
			t.Errorf("%s: autoinstall = %d\n%s", name, r.code, r.stderr)
		}
		if r := m.dkms("remove", "foo/1.0", "--all"); r.code != 0 || strings.Contains(m.modules(), "left.ko") {
			t.Errorf("%s: remove = %d, and the kernel has\n%s\n%s", name, r.code, m.modules(), r.stderr)
		}
		m.unharmed()
	}
}

// Originals only go back below their kernel, and not through links out of it.
func TestHostileOrigin(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.sources("foo", "1.0", pair)
	m.foreign("kernel/drivers/left.ko")
	m.want("install", "foo/1.0")
	for _, v := range victims {
		m.write(v, "victim "+v)
	}
	m.save("besieged")
	origin := m.tree("foo/original_module/" + release + "/" + arch + "/left.ko.origin")
	try := func(name string, put func() error) {
		m.back("besieged")
		m.must(os.Remove(origin))
		m.must(put())
		if r := m.dkms("uninstall", "foo/1.0"); r.code != 0 {
			t.Errorf("%s: uninstall = %d\n%s", name, r.code, r.stderr)
		}
		m.unharmed()
	}
	for _, v := range append(victims, "lib/modules/"+release+"/build/victim.ko", "lib/modules/"+release+"/build/new.ko") {
		try(v, func() error { return os.WriteFile(origin, []byte(m.root+"/"+v+"\n"), 0o644) })
	}
	if _, err := os.Lstat(m.path("usr/src/linux-headers-" + release + "/new.ko")); err == nil {
		t.Error("an original was restored through a link into the headers")
	}
	for name, make := range special {
		try(name, func() error { return make(origin) })
	}
}

// Marks of outdated indexes name kernels. Others are nothing to anybody.
func TestHostileMarks(t *testing.T) {
	t.Parallel()
	m := besieged(t)
	m.save("besieged")
	mark := m.tree("depmod-pending-x")
	for _, text := range []string{"", "\n", "../../etc\nx86_64\n", release + "\n../..\n", "/\n/\n", "-o\nx86_64\n", release, strings.Repeat("a", 1<<20), "no-such-kernel\n" + arch + "\n"} {
		m.must(os.WriteFile(mark, []byte(text), 0o644))
		if r := m.dkms("autoinstall"); r.code != 0 {
			t.Errorf("%.20q: autoinstall = %d\n%s", text, r.code, r.stderr)
		}
		m.unharmed()
	}
	for name, make := range special {
		m.back("besieged")
		m.must(make(mark))
		if r := m.dkms("autoinstall"); r.code != 0 {
			t.Errorf("%s: autoinstall = %d\n%s", name, r.code, r.stderr)
		}
	}
}

// A lock that cannot be taken is an error, at once.
func TestHostileLock(t *testing.T) {
	t.Parallel()
	m := besieged(t)
	for name, make := range special {
		m.must(os.RemoveAll(m.tree(".lock")))
		m.must(make(m.tree(".lock")))
		start := time.Now()
		r := m.dkms("uninstall", "foo/1.0")
		if elapsed := time.Since(start); elapsed > 20*time.Second {
			t.Errorf("%s: dkms took %v", name, elapsed)
		}
		if r.code != 0 && !strings.Contains(r.stderr, ".lock: ") && !strings.Contains(r.stderr, ".lock is ") {
			t.Errorf("%s: dkms = %d\n%s", name, r.code, r.stderr)
		}
		m.dkms("install", "foo/1.0")
		m.unharmed()
	}
}

// confs are configurations that nobody has written to be of use.
func confs(m *machine) map[string]string {
	head := "PACKAGE_NAME=bad\nPACKAGE_VERSION=1.0\nAUTOINSTALL=yes\nBUILT_MODULE_NAME=bad\nDEST_MODULE_LOCATION=/extra\n"
	list := map[string]string{
		"huge":               head + strings.Repeat("# nothing\n", 1<<18),
		"binary":             head + "\x00\x01\x7fELF\xff\xfe",
		"ends":               head + "exit 3\n",
		"ends well":          "exit 0\n" + head,
		"background":         head + "sleep 4321 &\nsleep 4321 & disown\n(setsid sleep 4321 &)\n",
		"kills":              head + "kill -9 $$; kill -9 -1; kill -9 $PPID\n",
		"writes":             head + ": >" + m.root + "/etc/written; mkdir " + m.tree("written") + "; rm -rf " + m.tree("foo") + " " + m.path("lib") + "\n",
		"unclosed":           head + "A=\"\n",
		"many records":       head + "for i in {1..20000}; do BUILT_MODULE_NAME[i]=m$i; done\n",
		"closes descriptors": head + "exec 0<&- 1>&- 2>&- 3>&- 4>&-\n",
		"answers":            head + "echo ok; echo end; printf 'ok\\nok\\nend\\n' >&1\n",
		"redefines":          head + "__dkms_serve() { :; }; builtin() { :; }; read() { :; }; printf() { :; }; declare() { :; }; unset() { :; }\n",
	}
	if stride == 1 { // each takes the time that a configuration may take
		list["flood"] = head + "for f in /proc/$$/fd/*; do cat /dev/zero >$f & done; wait\n"
		list["endless loop"] = head + "while :; do :; done\n"
		list["endless sleep"] = head + "trap '' TERM INT HUP; sleep infinity\n"
		list["endless output"] = head + "yes\n"
		list["replaces itself"] = head + "exec cat /dev/zero\n"
		list["read-only"] = head + "readonly MAKE PACKAGE_NAME; trap 'while :; do :; done' EXIT DEBUG ERR\nset -e; set -u; set -o noexec\n"
		list["values of 8 MiB"] = head + "MAKE=$(head -c 8388608 /dev/zero | tr '\\0' x)\n"
		list["endless recursion"] = head + "f() { f; }; f\n"
	}
	return list
}

// A configuration is program text. Whatever it does, it does so with no
// privilege and for a while, and the other modules do not suffer from it.
func TestHostileConf(t *testing.T) {
	m := newMachine(t)
	m.sources("foo", "1.0", pair)
	m.sources("bad", "1.0", []string{"bad"})
	m.want("build", "foo/1.0")
	m.want("add", "bad/1.0")
	m.save("before")
	for name, text := range confs(m) {
		m.back("before")
		m.write("usr/src/bad-1.0/dkms.conf", text)
		start := time.Now()
		r := m.dkms("autoinstall")
		elapsed := time.Since(start)
		t.Logf("%s: autoinstall = %d after %v", name, r.code, elapsed.Round(time.Second/10))
		if elapsed > 100*time.Second {
			t.Errorf("%s: autoinstall took %v", name, elapsed)
		}
		if r.code != 0 && r.code != 11 {
			t.Errorf("%s: autoinstall = %d\n%s", name, r.code, r.stderr)
		}
		if r := m.dkms("status"); r.code != 0 || !strings.Contains(r.stdout, "foo/1.0, "+release+", "+arch+": installed\n") {
			t.Errorf("%s: status = %d\n%s%s", name, r.code, r.stdout, r.stderr)
		}
		for _, path := range []string{m.path("etc/written"), m.tree("written")} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s: it has written %s", name, path)
			}
		}
		if left := append(m.leftovers(), m.wrongIndex()...); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	m.noProcess("4321")
}

// noProcess wants no process to be left that has a word in its arguments.
func (m *machine) noProcess(word string) {
	m.Helper()
	if left := processes(word); len(left) > 0 {
		m.Errorf("left running: %v", left)
	}
}

// Whatever lies in the place of an installed module, or of a file of the
// kernel's headers that is read, is nothing to wait for and no trouble for
// other modules.
func TestHostileKernel(t *testing.T) {
	t.Parallel()
	m := besieged(t)
	m.sources("bar", "1.0", []string{"bar"})
	m.want("add", "bar/1.0")
	m.want("build", "bar/1.0")
	m.save("besieged")
	headers := "usr/src/linux-headers-" + release + "/"
	installed := "lib/modules/" + release + "/updates/dkms/left.ko"
	tried := 0
	for _, path := range []string{
		installed, "lib/modules/" + release + "/modules.dep", headers + "Module.symvers", headers + "include/config/auto.conf",
		headers + ".config", headers + "include/config/kernel.release", headers + "include/generated/utsrelease.h", headers + "Makefile",
		"var/lib/dkms/foo/1.0/" + release + "/" + arch + "/module/left.ko", "etc/dkms/framework.conf", "etc/os-release",
	} {
		for name, make := range special {
			if tried++; tried%max(1, stride/8) != 0 {
				continue
			}
			m.back("besieged")
			m.must(os.RemoveAll(m.path(path)))
			m.must(os.MkdirAll(filepath.Dir(m.path(path)), 0o755))
			m.must(make(m.path(path)))
			for _, args := range []string{"status", "check", "doctor", "autoinstall", "why foo/1.0", "install --force foo/1.0", "uninstall foo/1.0", "remove foo/1.0 --all"} {
				start := time.Now()
				r := m.dkms(strings.Fields(args)...)
				if elapsed := time.Since(start); elapsed > 20*time.Second {
					t.Errorf("%s at %s: dkms %s took %v", name, path, args, elapsed)
				}
				if r.code < 0 || strings.Contains(r.stderr, "goroutine ") {
					t.Errorf("%s at %s: dkms %s = %d\n%s", name, path, args, r.code, r.stderr)
				}
			}
			m.unharmed()
			if path == installed && name != "a directory" {
				if r := m.dkms("autoinstall"); r.code != 0 || !strings.Contains(m.modules(), "bar.ko") {
					t.Errorf("%s at %s: autoinstall = %d, and the kernel has\n%s\n%s", name, path, r.code, m.modules(), r.stderr)
				}
			}
		}
	}
}
