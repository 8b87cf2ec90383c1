package pack

import (
	"fmt"
	"strings"
)

// refuse is the shell commands that refuse a package whose modules dkms has
// installed: the module would have two owners. prefix is the shell's word for
// the directory of the system.
func (p *Package) refuse(prefix string) string {
	return fmt.Sprintf(`link=%[1]s/var/lib/dkms/%[2]s/kernel-%[3]s-%[4]s
if [ -L "$link" ]; then
	version=$(readlink "$link")
	version=${version%%%%/*}
	echo "%[5]s: dkms has installed %[2]s/$version for %[3]s here" >&2
	echo "hint: dkms uninstall %[2]s/$version -k %[3]s" >&2
	exit 1
fi
`, prefix, p.Module, p.Kernel, p.Arch, p.Name())
}

// index is the shell commands that update the module index of the kernel, if
// that is installed. base is the shell's word for the directory of the system.
func (p *Package) index(base string) string {
	return fmt.Sprintf(`dir=%[1]s/%[2]s
if [ -e "$dir/modules.order" ] || [ -e "$dir/modules.builtin" ]; then
	depmod -b %[1]s %[3]s
fi
`, base, strings.TrimPrefix(p.Kernels+"/"+p.Kernel, "/"), p.Kernel)
}

// summary describes the package in a line.
func (p *Package) summary() string {
	return fmt.Sprintf("modules of %s %s for Linux %s", p.Module, p.Version, p.Kernel)
}

// line makes one line without control characters of a value from elsewhere.
func line(s string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s))
}
