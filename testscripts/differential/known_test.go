//go:build differential

package differential

// difference is one that is meant to be.
type difference struct {
	name   string
	reason string
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
var differences = []difference{}
