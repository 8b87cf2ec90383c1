package system

import (
	"fmt"
	"os/exec"
)

// wrap has bash set the limits before it becomes the program: they belong to a
// process, and not to the thread that starts it. A program that crashes in a
// jail leaves no image of its memory.
func (l Limits) wrap(cmd *exec.Cmd) error {
	if l == (Limits{}) {
		return nil
	}
	bash, err := lookPath("bash", programPath)
	if err != nil {
		return err
	}
	script := "ulimit -c 0"
	if l.FileSize > 0 {
		script += fmt.Sprintf(" -f %d", l.FileSize<<10)
	}
	if l.Processes > 0 {
		script += fmt.Sprintf(" -u %d", l.Processes)
	}
	script += ` && exec -a "$0" -- "$@"`
	cmd.Args = append([]string{"bash", "-c", script, cmd.Args[0], cmd.Path}, cmd.Args[1:]...)
	cmd.Path = bash
	return nil
}
