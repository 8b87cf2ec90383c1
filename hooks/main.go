// Command dkms-hook is what package managers and kernel installers call when
// a kernel comes or goes. It works under any name in any of their directories.
package main

import (
	"os"

	"dkms/pkg/hook"
	"dkms/pkg/system"
)

func main() { os.Exit(hook.Main(system.ThisProcess())) }
