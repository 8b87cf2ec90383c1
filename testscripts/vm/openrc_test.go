//go:build vm

package vm

import (
	"strings"
	"testing"
)

// testOpenRC boots a machine with OpenRC twice.
func testOpenRC(t *testing.T, i image) {
	m := newMachine(t, i)
	running := i.releases[0]
	r := m.boot(boot{init: openrcInit, first: []string{demo, edu}, job: "openrc.sh", limit: patience})
	judge(t, r.get("enable").status == 0, "OpenRC: rc-update can enable the service", r.get("enable").text)
	judge(t, r.get("init").text == "init", "OpenRC: it is what booted", r.get("init").text)
	judge(t, r.get("service").status == 0, "OpenRC: the service is started", r.get("service").text, r.get("runlevel").text)
	installed(t, r, "OpenRC", running, "dkms-demo", "vm-edu")
	judge(t, strings.Count(r.get("new").text, ".ko") == 2, "OpenRC: the modules are new", r.get("new").text)
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu"), "OpenRC: the modules that are asked for are loaded", r.get("modules").text)

	r = m.boot(boot{init: openrcInit, job: "openrc.sh", limit: patience})
	judge(t, r.get("service").status == 0, "OpenRC, second boot: the service is started", r.get("service").text)
	judge(t, r.has("new") && r.get("new").text == "", "OpenRC, second boot: nothing is built", r.get("new").text)
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu"), "OpenRC, second boot: the same modules are loaded", r.get("modules").text)
}
