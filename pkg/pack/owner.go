package pack

import (
	"context"
	"strings"

	"dkms/pkg/system"
)

// database asks the databases of installed packages of the system below root.
type database struct {
	run  *system.Runner
	root string
}

// ask returns what a program prints; ok says that the program was found and
// has succeeded.
func (d database) ask(ctx context.Context, argv ...string) (text string, ok bool) {
	if !d.run.Has(argv[0]) {
		return "", false
	}
	data, err := d.run.Output(ctx, system.Cmd{Argv: argv})
	return strings.TrimSpace(string(data)), err == nil && len(data) > 0
}

// Kernel returns the package of a format to which a kernel belongs on the system
// below root, as what a package for the kernel depends on. The kernel's image
// tells, wherever the distribution has it, or the list of what is built in.
func Kernel(ctx context.Context, run *system.Runner, format, root, kernel string) (need Need, ok bool) {
	d := database{run, root}
	for _, file := range []string{
		"/boot/vmlinuz-" + kernel, "/lib/modules/" + kernel + "/vmlinuz", "/usr/lib/modules/" + kernel + "/vmlinuz",
		"/lib/modules/" + kernel + "/modules.builtin", "/usr/lib/modules/" + kernel + "/modules.builtin",
	} {
		if need, ok = formats[format].owner(ctx, d, file, kernel); ok {
			return need, true
		}
	}
	return Need{}, false
}
