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
}
