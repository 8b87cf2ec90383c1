// Command dkms builds, signs and installs out-of-tree kernel modules: run by
// hand, and at boot for what is missing.
package main

import (
	"os"
	"syscall"

	"dkms/pkg/cli"
	"dkms/pkg/system"
)

func main() { os.Exit(run()) }

func run() int {
	syscall.Umask(0o022)
	ctx, stop := system.Interrupts()
	defer stop()
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, ErrFile: os.Stderr}
	return cli.Main(ctx, system.ThisHost(os.Environ()), streams, os.Args[1:])
}
