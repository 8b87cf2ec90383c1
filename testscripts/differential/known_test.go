//go:build differential

package differential

import "strings"

// difference is one that is meant to be.
type difference struct {
	name   string
	reason string
	// lasting says that the machines can go on with it: what it leaves
	// behind decides nothing later.
	lasting bool
	// is tells whether an item is this difference. steps are the commands so
	// far, the last of which made it; o has what was said.
	is func(steps []step, o *outcome, it item) bool
}

// excuse finds the difference that an item is.
func excuse(steps []step, o *outcome, it item) *difference {
	for i, d := range differences {
		if d.is(steps, o, it) {
			return &differences[i]
		}
	}
	return nil
}

// differences are tried in order.
var differences = []difference{
	{
		name:    "copy of the kernel's .config",
		reason:  "3.0.10 keeps one beside make.log, 3.4.3 does not",
		lasting: true,
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == files && strings.HasSuffix(it.path, "/log/.config") && it.ours == ""
		},
	},
	{
		name:    "log of patches",
		reason:  "3.0.10 shows what patch says, 3.4.3 has it in make.log, which is there before make is started",
		lasting: true,
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == files && strings.HasSuffix(it.path, "/build/make.log") && it.theirs == ""
		},
	},
	{
		name:   "BUILD_DEPENDS",
		reason: "3.0.10 heeds it in autoinstall only, 3.4.3 builds nothing whose dependencies are not installed (13)",
		is: func(_ []step, o *outcome, _ item) bool {
			return o.ours.exit == 13 && o.theirs.exit == 0
		},
	},
	{
		name:   "no headers",
		reason: "3.0.10 ends with 1, 3.4.3 with 21",
		is: func(_ []step, o *outcome, it item) bool {
			return it.kind == exitStatus && it.theirs == "1" && it.ours == "21"
		},
	},
	{
		name:   "a build without its modules",
		reason: "3.0.10 takes it for no build, 3.4.3 for one whose modules are missing",
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == status && strings.Contains(it.ours, "(Built modules are missing")
		},
	},
	{
		name:   "autoinstall of what is not for the kernel",
		reason: "3.0.10 calls it a failure, 3.4.3 skips it",
		is: func(steps []step, o *outcome, it item) bool {
			return it.kind == exitStatus && last(steps).verb == "autoinstall" && it.theirs == "11" && it.ours == "0" &&
				strings.Contains(o.theirs.stderr, "BUILD_EXCLUSIVE")
		},
	},
	{
		name:   "originals anywhere",
		reason: "3.0.10 looks for modules to put aside in two directories, 3.4.3 in all",
		is: func(_ []step, o *outcome, it item) bool {
			return strings.Contains(o.ours.stderr, "kept the original /lib/modules/") && strings.Contains(o.ours.stderr, "/kernel/fs/") &&
				(strings.Contains(it.path, "original_module") || strings.Contains(it.path, "fakefs.ko") || strings.Contains(it.ours, "(Original modules exist)"))
		},
	},
}

func last(steps []step) step { return steps[len(steps)-1] }
