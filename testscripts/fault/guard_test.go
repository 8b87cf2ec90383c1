package fault

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"dkms/pkg/boot"
	"dkms/pkg/system"
)

const (
	newer = "6.9.2-fake"
	// middle is a kernel that the guard prefers as soon as it can be started.
	middle = "6.9.1.1-fake"
)

// grubMenu takes its default from saved_entry; its first entry is the newer kernel.
const grubMenu = `set default="${saved_entry}"
menuentry New --id new { linux /boot/vmlinuz-` + newer + ` }
menuentry Old --id old-` + release + ` { linux /boot/vmlinuz-` + release + ` }
`

const middleEntry = "menuentry Middle --id mid-" + middle + " { linux /boot/vmlinuz-" + middle + " }\n"

// What the guard does in a test.
const (
	holds = "holds"
	lifts = "lifts"
	moves = "moves" // to a better kernel
)

// TestBootGuard interferes with the boot guard at every point of its way there, to
// another kernel, and back: after each, the boot loader starts the kernel from before or the one that
// the guard wants, and the next run makes everything whole.
func TestBootGuard(t *testing.T) {
	if !tracing {
		t.Skip("no tracer for this architecture")
	}
	for name, errno := range map[string]syscall.Errno{"kill": 0, "ENOSPC": syscall.ENOSPC, "EIO": syscall.EIO} {
		for _, does := range []string{holds, lifts, moves} {
			t.Run(name+", "+does, func(t *testing.T) {
				t.Parallel()
				guardGround(t, does).interfere(t, errno)
			})
		}
	}
}

// guarding is a machine whose guard is about to hold or to be lifted.
type guarding struct {
	*ground
	does string
	// kept is the kernel that the guard keeps, and may are the defaults that may be
	// found after a fault, each with its kernel.
	kept string
	may  map[string]string
}

// The commands that have the guard hold, or lift it. The failure of the build is on
// record, so that nothing is built.
var (
	holding = []string{"autoinstall", "-k", newer}
	lifting = []string{"autoinstall"}
)

func guardGround(t *testing.T, does string) guarding {
	m := newMachine(t, release, middle, newer)
	g := guarding{ground: &ground{machine: m}, does: does, kept: release, may: map[string]string{"0": newer, "old-" + release: release}}
	m.sources("foo", "1.0", []string{"foo"}, "ESSENTIAL=yes")
	m.write("usr/src/foo-1.0/Makefile", "obj-m := foo.o\nifeq ($(KERNELRELEASE),"+newer+")\n$(error not for this kernel)\nendif\n")
	m.write("boot/vmlinuz-"+release, "x")
	m.write("boot/vmlinuz-"+newer, "x")
	m.write("boot/grub/grub.cfg", grubMenu)
	text := "# GRUB Environment Block\nother=word\nsaved_entry=0\n"
	m.write("boot/grub/grubenv", text+strings.Repeat("#", 1024-len(text)))
	m.must(os.MkdirAll(m.path("etc/apt/apt.conf.d"), 0o755))
	m.want("add", "foo/1.0")
	m.want("autoinstall")
	m.want("autoinstall", "-k", middle)
	g.guard(false)
	g.exits(11, holding...)
	g.guard(true)
	if does != holds {
		g.exits(11, holding...)
		g.wantHeld(t.Errorf)
	}
	switch does {
	case lifts:
		g.guard(false)
	case moves:
		m.write("boot/vmlinuz-"+middle, "x")
		m.write("boot/grub/grub.cfg", grubMenu+middleEntry)
		g.kept, g.may = middle, map[string]string{"old-" + release: release, "mid-" + middle: middle}
	}
	g.save("before")
	return g
}

// guard switches the guard on or off.
func (g guarding) guard(on bool) {
	g.write("etc/dkms/framework.conf", map[bool]string{true: "boot_guard=yes\n", false: "boot_guard=no\n"}[on])
}

func (g guarding) exits(code int, args ...string) ran {
	g.Helper()
	r := g.dkms(args...)
	if r.code != code {
		g.Errorf("dkms %v = %d; want %d\n%s", args, r.code, code, r.stderr)
	}
	return r
}

// next is the kernel that GRUB starts, and what its environment says.
func (g guarding) next() (release, value string) {
	d, err := boot.FindDefault(system.Host{Root: system.Root{Dir: g.root}})
	if err != nil {
		return "", err.Error()
	}
	return d.Release, d.Value
}

func (g guarding) interfere(t *testing.T, errno syscall.Errno) {
	command := holding
	if g.does == lifts {
		command = lifting
	}
	tried := 0
	for at := 1; ; at += guardStride {
		g.back("before")
		r, said := g.under(injection{Below: g.root, At: at, Errno: errno}, command...)
		if r.Hit == "" {
			break
		}
		tried++
		fail := func(format string, args ...any) {
			t.Helper()
			t.Errorf("point %d, %s: "+format, append([]any{at, r.Hit}, args...)...)
		}
		g.afterFault(fail, said)
		g.save("fault")
		g.guard(true)
		g.exits(11, holding...)
		g.wantHeld(fail)
		g.back("fault")
		g.guard(false)
		g.exits(0, lifting...)
		g.wantLifted(fail)
		if t.Failed() && tried > maxFailures {
			t.Fatal("enough")
		}
	}
	t.Logf("%d points tried", tried)
	if tried*guardStride < 20 {
		t.Error("those are too few")
	}
}

// afterFault wants one of the two defaults in a whole file.
func (g guarding) afterFault(fail func(string, ...any), said string) {
	if kernel, value := g.next(); kernel == "" || g.may[value] != kernel {
		fail("GRUB starts %q (%q)\n%s", kernel, value, said)
	}
	if data, err := os.ReadFile(g.path("boot/grub/grubenv")); err != nil || len(data) != 1024 || !strings.Contains(string(data), "\nother=word\n") {
		fail("grubenv is %q, %v", data, err)
	}
}

func (g guarding) wantHeld(fail func(string, ...any)) {
	if kernel, value := g.next(); kernel != g.kept || !strings.HasSuffix(value, "-"+g.kept) {
		fail("then GRUB starts %q (%q)", kernel, value)
	}
	if kept, err := os.ReadFile(g.path("etc/apt/apt.conf.d/71dkms-boot-guard")); err != nil || !strings.Contains(string(kept), regexp.QuoteMeta(g.kept)) {
		fail("then apt is told %q, %v", kept, err)
	}
	if data, err := os.ReadFile(g.tree(".boot-guard.json")); err != nil || !strings.Contains(string(data), `"phase":"holding"`) || !strings.Contains(string(data), `"before":"0"`) {
		fail("then the record is %q, %v", data, err)
	}
	if left := g.leftovers(); len(left) > 0 {
		fail("then left behind: %v", left)
	}
}

func (g guarding) wantLifted(fail func(string, ...any)) {
	if kernel, value := g.next(); kernel != newer || value != "0" {
		fail("lifted, GRUB starts %q (%q)", kernel, value)
	}
	for _, file := range []string{"etc/apt/apt.conf.d/71dkms-boot-guard", "var/lib/dkms/.boot-guard.json"} {
		if _, err := os.Stat(g.path(file)); !errors.Is(err, fs.ErrNotExist) {
			fail("lifted, %s is there", file)
		}
	}
	if left := g.leftovers(); len(left) > 0 {
		fail("lifted, left behind: %v", left)
	}
}
