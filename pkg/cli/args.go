package cli

import (
	"strings"

	"dkms/pkg/exit"
)

// option is a row of the table that turns every spelling that DKMS takes into
// the one that is parsed.
type option struct {
	// name is the canonical spelling, without dashes.
	name string
	// short is the one-letter spelling; it takes its value as the next word.
	short string
	// prefix makes every word that begins with --name one of this option,
	// with its value behind = or as the next word, as the original has it.
	prefix bool
	// value says that the option has one.
	value bool
	// gone is an option of former times: it is accepted and does nothing.
	gone bool
	// help is what --help says of it.
	help string
}

// options are tried from the top; the order is the original's, since prefixes
// overlap.
var options = []option{
	{name: "module", short: "m", prefix: true, value: true, help: "Module, or MODULE/VERSION."},
	{name: "modversion", short: "v", value: true, help: "Module version."},
	{name: "kernelver", short: "k", prefix: true, value: true, help: "Kernel release, or RELEASE/ARCH (repeatable)."},
	{name: "templatekernel", prefix: true, value: true, help: "Kernel whose modules match installs."},
	{name: "conf", short: "c", value: true, help: "The dkms.conf to read."},
	{name: "quiet", short: "q", help: "Say nothing but warnings and errors."},
	{name: "version", short: "V", help: "Print the version."},
	{name: "no-initrd", gone: true},
	{name: "no-clean-kernel", gone: true},
	{name: "no-prepare-kernel", gone: true},
	{name: "binaries-only", help: "mktarball: leave out the sources."},
	{name: "source-only", help: "mktarball: leave out the builds."},
	{name: "force", help: "Do it again, or over what stands in the way."},
	{name: "force-version-override", help: "Install whatever version the kernel has."},
	{name: "all", help: "Every kernel that the module is built for."},
	{name: "verbose", help: "Say more."},
	{name: "rpm_safe_upgrade", help: "Guard against rpm removing what it has just upgraded."},
	{name: "dkmstree", prefix: true, value: true, help: "Directory of the dkms tree."},
	{name: "sourcetree", prefix: true, value: true, help: "Directory of the module sources."},
	{name: "installtree", prefix: true, value: true, help: "Directory of the kernels' modules."},
	{name: "symlink-modules", help: "Install links into the dkms tree."},
	{name: "config", prefix: true, value: true, help: "Kernel configuration file."},
	{name: "archive", prefix: true, value: true, help: "Tarball to write or load."},
	{name: "arch", short: "a", prefix: true, value: true, help: "Architecture (repeatable)."},
	{name: "kernelsourcedir", prefix: true, value: true, help: "Kernel headers directory."},
	{name: "directive", prefix: true, value: true, help: "Set a directive of every dkms.conf."},
	{name: "no-depmod", help: "Leave depmod to the caller."},
	{name: "modprobe-on-install", help: "Load what devices ask for after installing."},
	{name: "debug", help: "Show every program that is started."},
	{name: "jobs", short: "j", value: true, help: "Parallel jobs of make; 0 is without limit."},
	{name: "dry-run", short: "n", help: "Show what would be done and why."},
	{name: "json", help: "Print JSON: status, check, why, doctor, mok status, rehearse; events: autoinstall."},
	{name: "fix", help: "doctor: do what is safe."},
	{name: "headers", prefix: true, value: true, help: "rehearse: the same."},
	{name: "password-file", prefix: true, value: true, help: "mok enroll: file with the password to confirm with."},
	{name: "hash-file", prefix: true, value: true, help: "mok enroll: file with its hash, as mokutil makes it."},
	{name: "format", prefix: true, value: true, help: "export: oci, a directory, or tar."},
	{name: "busybox", prefix: true, value: true, help: "export: static busybox for the image, or none."},
	{name: "certificate", prefix: true, value: true, help: "import: certificates that builds may be signed with."},
	{name: "insecure", help: "import: from a registry without TLS, or with any certificate."},
	{name: "help", short: "h", help: "Print this."},
}

// match tells whether word is a spelling of o, and the value it carries.
func (o option) match(word string) (value string, inline, ok bool) {
	if o.short != "" && word == "-"+o.short {
		return "", false, true
	}
	long := "--" + o.name
	switch {
	case !o.prefix:
		value, inline = strings.CutPrefix(word, long+"=")
		return value, inline, word == long || inline && o.value
	case !strings.HasPrefix(word, long):
		return "", false, false
	}
	_, value, inline = strings.Cut(word, "=")
	return value, inline, true
}

// clean is what the original makes of a value: blanks around it go, and
// everything behind the first line.
func clean(value string) string {
	value, _, _ = strings.Cut(value, "\n")
	return strings.Trim(value, " \t")
}

// normalize rewrites words so that every option is --NAME or --NAME=VALUE in
// its canonical spelling, and positional words come last. deprecated are the
// options that were dropped. Spellings outside the table, such as -kRELEASE,
// are as unknown as they are to the original.
func normalize(words []string) (args, deprecated []string, err error) {
	var positional []string
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") || word == "-" {
			positional = append(positional, word)
			continue
		}
		o, value, inline := find(word)
		switch {
		case o == nil:
			return nil, nil, exit.Errorf(exit.BadOption, "%s: unknown option", word).WithHint("dkms --help lists the options")
		case o.gone:
			deprecated = append(deprecated, word)
		case !o.value:
			args = append(args, "--"+o.name)
		default:
			if !inline && i+1 < len(words) {
				i++
				value = words[i]
			}
			args = append(args, "--"+o.name+"="+clean(value))
		}
	}
	return append(append(args, "--"), positional...), deprecated, nil
}

func find(word string) (o *option, value string, inline bool) {
	for i := range options {
		if value, inline, ok := options[i].match(word); ok {
			return &options[i], value, inline
		}
	}
	return nil, "", false
}
