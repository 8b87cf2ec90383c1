//go:build vm

package vm

import (
	"strconv"
	"strings"
	"testing"
)

// testUndo boots a machine on which the upgrade of a module goes wrong, and
// undoes it without a compiler.
func testUndo(t *testing.T, i image) {
	m := newMachine(t, i)
	running := i.releases[0]

	r := m.boot(boot{init: systemdInit, first: []string{}, job: "undo_first.sh", limit: patience})
	judge(t, r.get("install").status == 0 && r.get("load before").status == 0, "undo: the first version of the package is installed, and its module loads", r.get("install").text, r.get("load before").text)
	judge(t, r.get("upgrade").status == 0 && r.get("version upgraded").text == "2.0", "undo: the upgrade is installed", r.get("upgrade").text, r.get("version upgraded").text)
	judge(t, r.get("load upgraded").status != 0, "undo: the module of the upgrade does not load", r.get("load upgraded").text)
	judge(t, r.get("compiler").status != 0 && r.get("compiler").text == "", "undo: the machine has no compiler", r.get("compiler").text)
	judge(t, strings.Contains(r.get("history").text, "vm-turn 1.0 -> none") && strings.Contains(r.get("history").text, "vm-turn none -> 2.0"), "undo: history has both halves of the upgrade", r.get("history").text)
	judge(t, r.get("undo").status == 0, "undo: it succeeds", r.get("undo").text)
	took, err := strconv.Atoi(r.get("took").text)
	judge(t, err == nil && took < 60, "undo: it took "+r.get("took").text+" s, on an emulated processor")
	judge(t, r.get("same").status == 0, "undo: the module is the one that was there before", r.get("same").text, r.get("undo").text)
	judge(t, r.get("load undone").status == 0, "undo: the module loads", r.get("load undone").text)
	judge(t, r.get("check").status == 0 && strings.Contains(r.get("check").text, "held back"), "undo: check says that the kernel is safe, and what is held back", r.get("check").text, r.get("status").text)

	r = m.boot(boot{init: systemdInit, job: "undo_second.sh", limit: patience})
	judge(t, r.field("unit", "ActiveState") == "active" && !builds(r.get("journal").text), "undo, after a restart: the boot service leaves it alone", r.get("unit").text, r.get("journal").text)
	judge(t, r.get("same").status == 0 && r.get("load").status == 0, "undo, after a restart: the module is still the one that works", r.get("load").text)
	judge(t, strings.Contains(r.get("status").text, "vm-turn/1.0, "+running+", x86_64: installed"), "undo, after a restart: status says so", r.get("status").text)
}
