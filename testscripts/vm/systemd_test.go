//go:build vm

package vm

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

const (
	demo   = "../demo/dkms-demo-1.0"
	edu    = "guest/src/vm-edu-1.0"
	idle   = "guest/src/vm-idle-1.0"
	broken = "guest/src/vm-broken-1.0"
)

// testSystemd boots a machine whose drivers are registered and not built,
// boots it again with nothing to do, installs another kernel and boots that.
func testSystemd(t *testing.T, i image) {
	m := newMachine(t, i)
	running, other := i.releases[0], i.releases[1]

	r := m.boot(boot{init: systemdInit, first: []string{demo, edu, idle}, job: "systemd_first.sh", limit: patience})
	judge(t, r.get("enable").status == 0, "first boot: systemctl can enable the service", r.get("enable").text)
	judge(t, r.field("unit", "Result") == "success" && r.field("unit", "ActiveState") == "active", "first boot: the service succeeds", r.get("unit").text, r.get("journal").text)
	installed(t, r, "first boot", running, "dkms-demo", "vm-edu", "vm-idle")
	judge(t, builds(r.get("journal").text) && !strings.Contains(r.get("journal").text, "not isolated"), "first boot: the builds are isolated", r.get("journal").text)
	for _, name := range []string{"dkms_demo", "vm_edu", "vm_idle"} {
		judge(t, r.get("signer "+name).text == "PKCS#7", "first boot: "+name+" is signed", r.get("signer "+name).text)
	}
	judge(t, r.loaded("dkms_demo"), "first boot: the module that modules-load.d names is loaded", r.get("modules").text, r.get("journal").text)
	judge(t, r.loaded("vm_edu") && strings.Contains(r.get("edu").text, "0000:"), "first boot: the module for a device without a driver is loaded and has the device", r.get("modules").text, r.get("edu").text)
	judge(t, !r.loaded("vm_idle"), "first boot: the module that nothing asks for is not loaded", r.get("modules").text)
	inOrder(t, r, "first boot")

	r = m.boot(boot{init: systemdInit, job: "systemd_second.sh", limit: patience})
	judge(t, r.field("unit", "ActiveState") == "active", "second boot: the service succeeds", r.get("unit").text, r.get("journal").text)
	judge(t, !builds(r.get("journal").text), "second boot: nothing is built", r.get("journal").text)
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu") && !r.loaded("vm_idle"), "second boot: the same modules are loaded, by the system itself", r.get("modules").text)
	inOrder(t, r, "second boot")
	judge(t, r.get("hooks").status == 0 && strings.Contains(r.get("hooks").text, "/etc/kernel/postinst.d/dkms"), "kernel hook: run-parts runs it and succeeds", r.get("hooks").text)
	for _, name := range []string{"dkms_demo", "vm_edu"} {
		judge(t, strings.HasPrefix(r.get("hook file "+name).text, "/lib/modules/"+other+"/") && strings.HasPrefix(r.get("hook vermagic "+name).text, other+" "),
			"kernel hook: "+name+" is installed for the new kernel", r.get("hook file "+name).text, r.get("hook vermagic "+name).text, r.get("hook status").text)
	}

	r = m.boot(boot{init: systemdInit, release: other, job: "systemd_first.sh", limit: patience})
	judge(t, !builds(r.get("journal").text), "boot of the new kernel: nothing is left to be built", r.get("journal").text)
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu"), "boot of the new kernel: the modules that the hook built are loaded", r.get("modules").text)
}

// testBroken boots a machine where one driver does not compile.
func testBroken(t *testing.T, i image) {
	m := newMachine(t, i)
	running := i.releases[0]
	r := m.boot(boot{init: systemdInit, first: []string{broken, demo}, job: "systemd_again.sh", limit: patience})
	judge(t, r.field("multi-user", "ActiveState") == "active", "a driver that does not compile: the system comes up", r.get("multi-user").text)
	judge(t, r.field("unit", "Result") == "exit-code" && r.field("unit", "ActiveState") == "failed", "a driver that does not compile: the service says so", r.get("unit").text)
	installed(t, r, "a driver that does not compile", running, "dkms-demo")
	judge(t, r.loaded("dkms_demo"), "a driver that does not compile: the other one is loaded", r.get("modules").text)
	judge(t, strings.Contains(r.get("journal").text, "vm-broken/1.0") && strings.Contains(r.get("journal").text, "vm_broken.c:4"), "a driver that does not compile: the journal has its name and the compiler's error", r.get("journal").text)
	judge(t, !strings.Contains(r.get("status").text, "vm-broken/1.0, "+running), "a driver that does not compile: status does not call it built", r.get("status").text)
	inOrder(t, r, "a driver that does not compile")
	again := r.get("again journal").text
	judge(t, strings.Count(again, "vm-broken/1.0: building") == 1 && strings.Count(again, "vm-broken/1.0: kernel "+running) == 2,
		"a driver that does not compile: the next time it is reported, not tried", again)
}

// installed wants modules to be installed, by dkms' word and by modinfo's.
func installed(t *testing.T, r report, when, release string, packages ...string) {
	t.Helper()
	journal := r.sections["journal"].text // OpenRC has none
	for _, p := range packages {
		judge(t, strings.Contains(r.get("status").text, p+"/1.0, "+release+", x86_64: installed"), when+": "+p+" is built and installed", r.get("status").text, journal)
		file := r.get("file " + strings.ReplaceAll(p, "-", "_")).text
		judge(t, strings.HasPrefix(file, "/lib/modules/"+release+"/updates/dkms/"), when+": kmod finds the module of "+p, file)
	}
}

// inOrder wants the service to have ended before the system was up, without a
// circle of units, and says how long it took.
func inOrder(t *testing.T, r report, when string) {
	t.Helper()
	start, end := r.seconds("unit", "ExecMainStartTimestampMonotonic"), r.seconds("unit", "ExecMainExitTimestampMonotonic")
	up := r.seconds("multi-user", "ActiveEnterTimestampMonotonic")
	judge(t, 0 < start && start < end && end <= up, fmt.Sprintf("%s: the service ran from %.2f s to %.2f s (%.2f s), the system was up at %.2f s", when, start, end, end-start, up), r.get("unit").text, r.get("multi-user").text)
	judge(t, r.get("cycles").text == "", when+": no units wait for each other in a circle", r.get("cycles").text)
}

var building = regexp.MustCompile(`(?m): (building|built|installed) for `)

func builds(journal string) bool { return building.MatchString(journal) }

// loaded looks for a module in /proc/modules.
func (r report) loaded(name string) bool {
	return regexp.MustCompile(`(?m)^` + name + ` .* Live `).MatchString(r.get("modules").text)
}
