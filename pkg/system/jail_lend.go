package system

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// userMapping returns a user namespace in which root is the user uid and all
// others are who they are. A mount with it shows files of root's as those of
// uid, see mount_setattr(2). A namespace needs a process to begin with.
func userMapping(uid int) (fd int, err error) {
	stdin, release, err := os.Pipe()
	if err != nil {
		return -1, err
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}, {ContainerID: 1, HostID: 1, Size: uid - 1}}
	cmd := &exec.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "-c", "read line"}, Stdin: stdin, Env: []string{},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
			Pdeathsig: syscall.SIGKILL,
		},
	}
	err = cmd.Start()
	stdin.Close()
	if err != nil {
		release.Close()
		return -1, fmt.Errorf("a user namespace: %w", cause(err))
	}
	defer cmd.Wait()
	defer io.Closer(release).Close()
	return unix.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// cause is err without the path of the program, which nobody asked for.
func cause(err error) error {
	if e, ok := err.(*os.PathError); ok {
		return e.Err
	}
	return err
}
