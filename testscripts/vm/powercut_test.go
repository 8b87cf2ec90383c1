//go:build vm

package vm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// defaultCuts is how often the power is cut; VM_CUTS asks for another number,
// VM_SEED for other moments.
const defaultCuts = 20

// testPowerCut cuts the power while modules are installed and removed, and
// looks after each boot whether the boot service has made the state whole.
func testPowerCut(t *testing.T, i image) {
	cuts, seed := number(t, "VM_CUTS", defaultCuts), number(t, "VM_SEED", 1)
	moments := rand.New(rand.NewPCG(uint64(seed), 0))
	m := newMachine(t, i)
	pairs := []string{"guest/src/vm-pair-1.0", "guest/src/vm-pair-2.0"}
	hurt := 0
	for n := range cuts + 1 {
		b := boot{init: systemdInit, job: "powercut.sh", pre: "powercut_pre.sh", limit: patience,
			files: map[string]string{"start": strconv.Itoa(moments.IntN(6))}}
		if n == 0 {
			b.first, b.files["first"] = pairs, ""
		}
		if n == cuts {
			b.files["last"] = ""
		} else {
			b.cut = time.Duration(200+moments.IntN(9000)) * time.Millisecond
		}
		r := m.boot(b)
		if n > 0 && r.has("verified") && !r.whole("before") && !r.without("before") {
			hurt++
			t.Logf("cut %d has left: status %q, left %q, right %q, empty %q, newer than modules.dep %q, journal %q", n, r.get("before status").text, r.get("before left").text,
				r.get("before right").text, r.get("before empty").text, r.get("before newer").text, r.get("before journal").text)
		}
		judgeHealed(t, r, fmt.Sprintf("power cut %d of seed %d", n, seed))
	}
	t.Logf("%d of %d power cuts left something that was neither the old nor the new", hurt, cuts)
}

// judgeHealed wants what a boot has found to be whole.
func judgeHealed(t *testing.T, r report, when string) {
	t.Helper()
	if !r.has("verified") {
		t.Errorf("FAIL %s: the system did not come up", when)
		return
	}
	// The first boot has no look before.
	evidence := fmt.Sprintf("before: %q %q %q %q\nafter: %q %q %q\n%s", r.sections["before status"].text, r.sections["before left"].text, r.sections["before right"].text,
		r.sections["before empty"].text, r.sections["after status"].text, r.sections["after left"].text, r.sections["after right"].text, r.sections["boot journal"].text)
	judge(t, r.field("unit", "ActiveState") == "active", when+": the boot service succeeds", r.get("unit").text, evidence)
	judge(t, r.get("after empty").text == "", when+": no module is empty", r.get("after empty").text, evidence)
	judge(t, r.get("after newer").text == "", when+": modules.dep is not older than the modules", r.get("after newer").text, evidence)
	judge(t, r.get("after journal").text == "" && r.get("after hidden").text == "", when+": no journal and no temporary file is left", r.get("after journal").text, r.get("after hidden").text, evidence)
	judge(t, r.whole("after"), when+": the kernel has one complete set, and status knows it", evidence)
	judge(t, r.get("load vm_left").status == 0 && r.get("load vm_right").status == 0, when+": the modules can be loaded", r.get("load vm_left").text, r.get("load vm_right").text, evidence)
	judge(t, r.get("filesystem").text == "", when+": the file system is not damaged", r.get("filesystem").text)
}

// whole tells whether status and the files agree on one version for both
// modules.
func (r report) whole(when string) bool {
	version := r.get(when + " left").text
	return version != "" && version == r.get(when+" right").text && r.get(when+" empty").text == "" && r.get(when+" newer").text == "" &&
		r.get(when+" journal").text == "" &&
		strings.Contains(r.get(when+" status").text, "vm-pair/"+version+", ") &&
		strings.Count(r.get(when+" status").text, ": installed") == 1 &&
		strings.Contains(afterPrefix(r.get(when+" status").text, "vm-pair/"+version+", "), "installed") &&
		!strings.Contains(r.get(when+" status").text, "WARNING")
}

// without tells whether neither status nor the files know of the modules.
func (r report) without(when string) bool {
	return r.get(when+" left").status != 0 && r.get(when+" right").status != 0 && !strings.Contains(r.get(when+" status").text, "installed") &&
		r.get(when+" empty").text == "" && r.get(when+" newer").text == "" && r.get(when+" journal").text == ""
}

// afterPrefix is the rest of the line that begins with prefix.
func afterPrefix(text, prefix string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest
		}
	}
	return ""
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is not a number", name, text)
	}
	return n
}
