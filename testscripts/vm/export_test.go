//go:build vm

package vm

import (
	"strings"
	"testing"
)

// testExport boots a machine that exports what it has built, and takes it in
// again as an extension for systemd-sysext, by hand and by itself, and, without
// dkms, as packages.
func testExport(t *testing.T, i image) {
	m := newMachine(t, i)
	running := i.releases[0]
	r := m.boot(boot{init: systemdInit, first: []string{demo}, job: "export.sh", limit: patience})
	judge(t, r.get("uninstall").status == 0 && r.get("not there").status != 0, "export: the module is built, and not installed", r.get("uninstall").text)
	for _, format := range []string{"deb", "rpm", "sysext", "raw"} {
		judge(t, r.get("export "+format).status == 0, "export: it becomes a "+format, r.get("export "+format).text)
	}
	for _, form := range []string{"directory", "raw"} {
		judge(t, r.get("merge "+form).status == 0 && strings.Contains(r.get("status "+form).text, "zz-"), "export, "+form+": systemd-sysext merges it", r.get("merge "+form).text, r.get("status "+form).text)
		judge(t, r.get("read-only "+form).status == 0, "export, "+form+": /usr is what was merged", r.get("read-only "+form).text)
		cameIn(t, r, form, running)
		judge(t, r.get("index "+form).status == 0 && r.get("index "+form).text == "" && r.get("loop "+form).status == 0, "export, "+form+": modprobe finds the kernel's own modules", r.get("index "+form).text, r.get("loop "+form).text)
		judge(t, r.get("unmerge "+form).status == 0 && r.get("gone "+form).status != 0, "export, "+form+": it goes without a trace", r.get("gone "+form).text)
	}
	judge(t, !strings.Contains(r.get("status other").text, "zz-"), "export: systemd-sysext leaves it out on another version of the system", r.get("merge other").text, r.get("status other").text)
	judge(t, r.get("install own").status == 0 && strings.Contains(r.get("dkms own").text, "installed"), "export, own: dkms installs where /usr cannot be written", r.get("install own").text, r.get("dkms own").text)
	cameIn(t, r, "own", running)
	judge(t, r.get("refused own").status != 0 && r.get("dkms refused").status != 0, "export, own: after an upgrade it is not merged, and check says so", r.get("refused own").text, r.get("dkms refused").text)
	judge(t, r.get("service upgraded").status == 0 && r.get("dkms upgraded").status == 0, "export, own: the boot service makes it anew", r.get("service upgraded").text, r.get("dkms upgraded").text)
	cameIn(t, r, "upgraded", running)
	judge(t, r.get("uninstall own").status == 0 && r.get("gone own").status != 0 && r.get("left own").text == "", "export, own: it is uninstalled without a trace", r.get("uninstall own").text, r.get("left own").text)
	for _, form := range []string{"deb", "rpm"} {
		judge(t, r.get("install "+form).status == 0, "export, "+form+": it is installed without dkms", r.get("install "+form).text)
		cameIn(t, r, form, running)
		judge(t, r.get("remove "+form).status == 0 && r.get("gone "+form).status != 0, "export, "+form+": it is removed", r.get("remove "+form).text, r.get("gone "+form).text)
	}
	judge(t, r.get("left").text == "", "export: nothing of it is left", r.get("left").text)
}

// cameIn wants the module to be loaded, and to be the one that was built.
func cameIn(t *testing.T, r report, form, release string) {
	t.Helper()
	file := r.get("file " + form).text
	judge(t, r.get("load "+form).status == 0 && strings.HasPrefix(r.get("loaded "+form).text, "dkms_demo "), "export, "+form+": modprobe loads the module", r.get("load "+form).text)
	judge(t, r.get("same "+form).status == 0 && strings.HasSuffix(file, "/lib/modules/"+release+"/updates/dkms/dkms_demo.ko"), "export, "+form+": it is the one that was built, "+file, r.get("same "+form).text)
}
