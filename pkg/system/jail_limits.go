package system

import (
	"fmt"
	"os/exec"
	"slices"
)

// Limits belong to a process, not to a thread, so wrap makes bash set the
// limits before bash executes the program. A program that crashes in a jail
// writes no core file.
func (l Limits) wrap(cmd *exec.Cmd) error {
	if l == (Limits{}) {
		return nil
	}
	script := "ulimit -c 0"
	if l.FileSize > 0 {
		script += fmt.Sprintf(" -f %d", l.FileSize<<10)
	}
	if l.Processes > 0 {
		script += fmt.Sprintf(" -u %d", l.Processes)
	}
	if len(cmd.Args) > 2 && cmd.Args[0] == "bash" && cmd.Args[1] == "-c" {
		cmd.Args = slices.Clone(cmd.Args)
		cmd.Args[2] = script + " || exit; " + cmd.Args[2] // one bash is enough
		return nil
	}
	script += ` && exec -a "$0" -- "$@"`
	bash, err := lookPath("bash", programPath)
	if err != nil {
		return err
	}
	cmd.Args = append([]string{"bash", "-c", script, cmd.Args[0], cmd.Path}, cmd.Args[1:]...)
	cmd.Path = bash
	return nil
}
