package machine

import (
	"path/filepath"
	"strings"

	"dkms/pkg/boot"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Choice holds the values of -k and -a in order; a kernel may have an
// architecture after a slash.
type Choice struct {
	Kernels, Arches []string
	// Every selects every kernel of the machine if none is named.
	Every bool
}

// Any tells whether nothing was chosen.
func (c Choice) Any() bool { return len(c.Kernels)+len(c.Arches) == 0 }

// Targets are the kernels of a choice or, if the choice names none, the kernels
// that discover finds.
func (m *Machine) Targets(c Choice, discover func() ([]string, error)) ([]tree.Target, error) {
	var list []tree.Target
	for i, k := range c.Kernels {
		release, arch, _ := strings.Cut(k, "/")
		switch {
		case arch != "":
		case len(c.Arches) == 1:
			arch = c.Arches[0]
		case i < len(c.Arches):
			arch = c.Arches[i]
		default:
			arch = archOf(m.Host, release)
		}
		list = append(list, tree.Target{Kernel: release, Arch: arch})
	}
	if len(c.Kernels) > 0 && c.Every {
		return nil, exit.Errorf(exit.Usage, "-k and --all-kernels exclude each other").
			WithHint("-k names kernels, --all-kernels means every kernel of this machine")
	}
	if len(c.Kernels) == 0 {
		if c.Every {
			discover = m.every
		}
		releases, err := discover()
		if err != nil {
			return nil, err
		}
		for _, r := range releases {
			arch := archOf(m.Host, r)
			if len(c.Arches) > 0 {
				arch = c.Arches[0]
			}
			list = append(list, tree.Target{Kernel: r, Arch: arch})
		}
	}
	for i, t := range list {
		if err := t.Check(); err != nil {
			return nil, err
		}
		list[i].Arch = kernel.Arch(t.Arch, m.Host.Machine)
	}
	return list, nil
}

// archOf is the architecture of a kernel that was given without one: that of
// the machine. In an image, the kernel can have another one than the programs
// beside it, so that its configuration decides.
func archOf(h system.Host, release string) string {
	if h.Image && system.PlainName(release) {
		if arch := kernel.New(h.Root, release, "", kernel.Options{}).Config().Arch(); arch != "" {
			return arch
		}
	}
	return h.Machine
}

// Discover finds the kernels to build for if none was named, and reports a
// choice that is not the obvious one.
func (m *Machine) Discover() ([]string, error) {
	releases, why, err := kernel.Select(m.Host)
	if why != "" {
		m.Report.Progressf("%s", why)
	}
	return releases, err
}

// every lists the kernels of the machine, oldest first. If none can be booted,
// as in a container that builds for others, every lists the kernels with a link
// to headers.
func (m *Machine) every() ([]string, error) {
	var list []string
	for _, k := range boot.Kernels(m.Host.Root) {
		list = append(list, k.Release)
	}
	if len(list) == 0 {
		list = kernel.Installed(m.Host.Root)
	}
	if len(list) == 0 {
		return nil, exit.Errorf(exit.NoHeaders, "no kernel is installed in %s", m.Host.Root.InstallTree()).
			WithHint("name a kernel with -k, or install one with its headers")
	}
	return list, nil
}

// Running is the running kernel, for verbs that remove something: such verbs
// never guess a kernel. In an image, where no kernel runs, it is the only one.
func (m *Machine) Running() ([]string, error) {
	if !m.Host.Image {
		return []string{m.Host.Release}, nil
	}
	list, err := m.every()
	if err == nil && len(list) > 1 {
		err = exit.Errorf(exit.Usage, "no kernel of this system runs, and it has %d: %s", len(list), strings.Join(list, ", ")).
			WithHint("name one with -k")
	}
	return list, err
}

// AnyTarget is a kernel for reading a dkms.conf if the choice matters little:
// the first named kernel, or the running one; in an image, the newest.
func (m *Machine) AnyTarget(c Choice) (tree.Target, error) {
	if m.Host.Image && len(c.Kernels) == 0 {
		return newest(m, c)
	}
	list, err := m.Targets(c, m.Running)
	if err != nil {
		return tree.Target{}, err
	}
	return list[0], nil
}

// newest is the newest kernel of an image, or none where it has no kernel yet.
func newest(m *Machine, c Choice) (tree.Target, error) {
	releases, err := m.every()
	if err != nil {
		return tree.Target{Arch: m.Host.Machine}, nil
	}
	list, err := m.Targets(Choice{Arches: c.Arches}, func() ([]string, error) { return releases[len(releases)-1:], nil })
	if err != nil {
		return tree.Target{}, err
	}
	return list[0], nil
}

// Filters are the kernels and architectures that a query is limited to; an
// empty part matches everything.
func (c Choice) Filters() []tree.Target {
	var list []tree.Target
	for i := range max(len(c.Kernels), len(c.Arches)) {
		var t tree.Target
		if i < len(c.Kernels) {
			t.Kernel, t.Arch, _ = strings.Cut(c.Kernels[i], "/")
		}
		switch {
		case t.Arch != "":
		case len(c.Arches) == 1:
			t.Arch = c.Arches[0]
		case i < len(c.Arches):
			t.Arch = c.Arches[i]
		}
		list = append(list, t)
	}
	return list
}

// MatchesTarget tells whether a target matches a filter.
func MatchesTarget(filter, t tree.Target) bool {
	return Matches(filter.Kernel, t.Kernel) && (Matches(filter.Arch, t.Arch) || kernel.SameArch(filter.Arch, t.Arch))
}

// Matches tells whether s matches a shell pattern; an empty pattern matches
// everything.
func Matches(pattern, s string) bool {
	if pattern == "" || pattern == s {
		return true
	}
	ok, err := filepath.Match(pattern, s)
	return err == nil && ok
}

// KernelArg is a target in the form of -k.
func (m *Machine) KernelArg(t tree.Target) string {
	if t.Arch == m.Host.Machine {
		return t.Kernel
	}
	return t.Kernel + "/" + t.Arch
}
