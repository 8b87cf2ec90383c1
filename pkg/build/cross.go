package build

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// readyKernel makes sure that a kernel can be built for with the programs that
// there are: that the headers are for its architecture, that a compiler is
// there, and that the programs that came with the headers run. It makes the
// headers visible to the programs.
func (w *work) readyKernel(ctx context.Context) error {
	k := w.Kernel
	if err := k.CheckArch(); err != nil {
		return err
	}
	if err := w.tools.CheckCross(k.Arch); err != nil {
		return fmt.Errorf("kernel %s: %w", k.Release, err)
	}
	program, machine := k.HostPrograms()
	real, err := filepath.EvalSymlinks(program)
	if machine == elf.EM_NONE || err != nil || system.Runs(machine) {
		return w.Run.Share(k.Parts()...)
	}
	// Debian has these programs, and others, in a package of their own, for every
	// architecture and in the same place.
	if system.Runs(w.Run.ELFMachine(real)) {
		w.Report.Detailf("kernel %s: %s is that of this machine, as that of the headers is for %s", k.Release, real, machine)
		below, _ := filepath.Rel(k.Headers, program)
		programs := strings.TrimSuffix(real, below)
		return w.Run.Share(slices.DeleteFunc(k.Parts(), func(dir string) bool { return strings.HasPrefix(dir+"/", programs) })...)
	}
	if err := w.Run.Share(k.Parts()...); err != nil {
		return err
	}
	err = w.Run.Run(ctx, system.Cmd{Argv: []string{real}, Jail: &system.Jail{UID: system.BuildUser(0), Show: []string{k.Headers}}})
	if errors.Is(err, syscall.ENOEXEC) {
		return exit.Errorf(exit.NoHeaders, "kernel %s: %s came with the headers and is a program for %s, which does not run here", k.Release, real, machine).
			WithHint("install the same package for this machine (Debian: linux-kbuild), or an emulator: apt-get install qemu-user-static")
	}
	if err == nil {
		w.Report.Detailf("kernel %s: %s is a program for %s, and runs in an emulator", k.Release, real, machine)
	}
	return nil
}
