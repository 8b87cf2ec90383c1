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
	judge(t, r["enable"].status == 0, "OpenRC: rc-update can enable the service", r["enable"].text)
	judge(t, r["init"].text == "init", "OpenRC: it is what booted", r["init"].text)
	judge(t, r["service"].status == 0, "OpenRC: the service is started", r["service"].text, r["runlevel"].text)
	installed(t, r, "OpenRC", running, "dkms-demo", "vm-edu")
	judge(t, strings.Count(r["new"].text, ".ko") == 2, "OpenRC: the modules are new", r["new"].text)
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu"), "OpenRC: the modules that are asked for are loaded", r["modules"].text)

	r = m.boot(boot{init: openrcInit, job: "openrc.sh", limit: patience})
	judge(t, r["service"].status == 0, "OpenRC, second boot: the service is started", r["service"].text)
	judge(t, r.has("new") && r["new"].text == "", "OpenRC, second boot: nothing is built", r["new"].text)
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu"), "OpenRC, second boot: the same modules are loaded", r["modules"].text)
}
