package module

import (
	"context"
	"fmt"
	"path/filepath"

	"dkms/pkg/system"
)

// Strip removes debug information from the module file path in place, as
// strip -g does; llvm takes llvm-strip, for modules that clang made. The
// program runs in jail, if there is one, and path is what it finds there. A
// signature does not survive, so it comes before signing.
func Strip(ctx context.Context, run *system.Runner, path string, llvm bool, jail *system.Jail) error {
	program := "strip"
	if llvm {
		program = "llvm-strip"
	}
	// Programs run in "/", and a name must not look like an option.
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := run.Run(ctx, system.Cmd{Argv: []string{program, "-g", abs}, Jail: jail}); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
