package inspect

import (
	"cmp"
	"context"
	"errors"

	"dkms/pkg/boot"
	"dkms/pkg/machine"
)

// bootGuard says what the boot guard has changed, and what keeps it from working.
func (d *doctor) bootGuard(context.Context) {
	const check = "boot guard"
	guard, err := machine.ReadBootGuard(d.Machine)
	switch {
	case err != nil:
		d.add(check, "rm it if the default of the boot loader is as you want it", nil, "%v", err)
	case guard.Holds():
		d.add(check, "dkms why "+guard.Modules[0].Module+" -k "+guard.Instead, nil, "%s", guard.Line())
	case guard != nil:
		d.add(check, "set the default to "+guard.Kernel+", or mend the module: dkms why "+guard.Modules[0].Module+" -k "+guard.Instead, nil, "%s", guard.Line())
	}
	if !d.Framework.BootGuard || d.Host.Image || d.Host.InChroot() || !d.registered() || d.Host.UID != 0 { // only root may read every menu
		return
	}
	if _, err := boot.FindDefault(d.Host); err != nil {
		fixed, _ := errors.AsType[*boot.Fixed](err)
		d.add(check, cmp.Or(fixed.Cure, "boot_guard=no in framework.conf does without it"), nil, "boot_guard=yes has no effect: %v", err)
	}
}
