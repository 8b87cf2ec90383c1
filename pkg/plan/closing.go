package plan

import (
	"slices"

	"dkms/pkg/tree"
)

// Closing says what a run does after its last module.
type Closing struct {
	// Index, Initramfs and Load ask for that step for each kernel whose modules
	// change; Command asks for the administrator's command.
	Index, Initramfs, Load, Command bool
	// Running is the kernel that modules can be loaded into.
	Running string
}

// Close adds the steps that end a run, for the kernels whose modules change.
func (p *Plan) Close(c Closing) {
	var changed, placed []tree.Target // placed are those with modules that are installed or signed
	for _, s := range p.Steps {
		switch s.Kind {
		case Install, Restore, Sign: // the kernel may have refused an unsigned module until now
			placed = appendNew(placed, s.Target)
			fallthrough
		case Uninstall:
			changed = appendNew(changed, s.Target)
		}
	}
	if len(p.Steps) == 0 {
		return
	}
	first := p.Steps[0].Target
	for _, t := range changed {
		if c.Index {
			p.Add(Step{Kind: Index, Target: t, Reason: "its modules change"})
		}
	}
	for _, t := range placed {
		if c.Initramfs {
			p.Add(Step{Kind: Initramfs, Target: t, Reason: "it may hold an old copy of a module"})
		}
	}
	for _, t := range placed {
		if c.Load && t.Kernel == c.Running {
			p.Add(Step{Kind: Load, Target: t, Reason: "devices without a driver may ask for a module"})
		}
	}
	if c.Command {
		p.Add(Step{Kind: Command, Target: first, Reason: "post_transaction is set"})
	}
}

func appendNew(list []tree.Target, t tree.Target) []tree.Target {
	if slices.Contains(list, t) {
		return list
	}
	return append(list, t)
}
