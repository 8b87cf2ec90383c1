package system

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// userMapping returns a user namespace that maps root to the user uid, and
// every other user to itself. A mount with this mapping shows files of root as
// files of uid, see mount_setattr(2). A process is needed to make a namespace.
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

// cause is err without the path of the program.
func cause(err error) error {
	if e, ok := err.(*os.PathError); ok {
		return e.Err
	}
	return err
}
