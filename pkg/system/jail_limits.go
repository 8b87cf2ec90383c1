package system

import (
	"fmt"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// Limits belong to a process, not to a thread, so wrap makes bash set the
// limits before bash, which is one of tools, executes the program. A program that crashes in a jail
// writes no core file.
func (l Limits) wrap(cmd *exec.Cmd, tools *Tools) error {
	if l == (Limits{}) {
		return nil
	}
	script := "ulimit -c 0"
	if lowers(unix.RLIMIT_FSIZE, int64(l.FileSize)<<20) {
		script += fmt.Sprintf(" -f %d", l.FileSize<<10)
	}
	if lowers(unix.RLIMIT_NPROC, int64(l.Processes)) {
		script += fmt.Sprintf(" -u %d", l.Processes)
	}
	if len(cmd.Args) > 2 && cmd.Args[0] == "bash" && cmd.Args[1] == "-c" {
		cmd.Args = slices.Clone(cmd.Args)
		cmd.Args[2] = script + " || exit; " + cmd.Args[2] // one bash is enough
		return nil
	}
	script += ` && exec -a "$0" -- "$@"`
	bash, err := tools.lookPath("bash", programPath)
	if err != nil {
		return err
	}
	cmd.Args = append([]string{"bash", "-c", script, cmd.Args[0], cmd.Path}, cmd.Args[1:]...)
	cmd.Path = bash
	return nil
}

// lowers tells whether limit is below what the system allows: a user other than
// root cannot raise a limit, and machines with little memory allow few
// processes. 0 is no limit.
func lowers(resource int, limit int64) bool {
	var now unix.Rlimit
	return limit > 0 && (unix.Getrlimit(resource, &now) != nil || uint64(limit) <= now.Max)
}
