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
	judge(t, strings.Contains(r["log"].text, "dkms-demo/1.0: installed"), "OpenRC: the service says what it does", r["log"].text, r["again"].text, r["again status"].text)
	installed(t, r, "OpenRC", running, "dkms-demo", "vm-edu")
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu"), "OpenRC: the modules that are asked for are loaded", r["modules"].text)

	r = m.boot(boot{init: openrcInit, job: "openrc.sh", limit: patience})
	judge(t, r["service"].status == 0, "OpenRC, second boot: the service is started", r["service"].text)
	judge(t, !builds(afterLast(r["log"].text, "rc default logging started")), "OpenRC, second boot: nothing is built", r["log"].text)
	judge(t, r.loaded("dkms_demo") && r.loaded("vm_edu"), "OpenRC, second boot: the same modules are loaded", r["modules"].text)
}

// afterLast is what follows the last time that mark is in text.
func afterLast(text, mark string) string {
	return text[max(0, strings.LastIndex(text, mark)):]
}
