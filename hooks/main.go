// Command dkms-hook is what package managers and kernel installers call when
// a kernel comes or goes. It works under any name in any of their directories.
package main

import (
	"os"
	"syscall"

	"dkms/pkg/hook"
	"dkms/pkg/system"
)

func main() { os.Exit(run()) }

func run() int {
	syscall.Umask(0o022)
	ctx, stop := system.Interrupts()
	ctx.Done() // a hook that a signal ends says so, whatever it is at
	defer stop()
	return hook.Main(ctx, system.ThisHost(os.Environ()), os.Stdout, os.Stderr, os.Args[0], os.Args[1:])
}
