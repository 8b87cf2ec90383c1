// Command dkms builds, signs and installs out-of-tree kernel modules: run by
// hand, and at boot for what is missing.
package main

import (
	"os"

	"dkms/pkg/cli"
	"dkms/pkg/system"
)

func main() { os.Exit(cli.Main(system.ThisProcess())) }
