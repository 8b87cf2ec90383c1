package module

import (
	"context"
	"fmt"
	"path/filepath"

	"dkms/pkg/system"
)

// Strip removes debug information from the module file path in place, as strip
// -g does; program is the strip of the compiler that made the module. If jail is not
// nil, the program runs in jail, and path is the path there. Stripping destroys
// a signature, so it comes before signing.
func Strip(ctx context.Context, run *system.Runner, program, path string, jail *system.Jail) error {
	// Programs run in "/", and a name must not look like an option, so the path
	// must be absolute.
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := run.Run(ctx, system.Cmd{Argv: []string{program, "-g", abs}, Jail: jail}); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
