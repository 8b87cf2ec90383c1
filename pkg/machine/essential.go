package machine

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/tree"
)

// set begins the reason of a module that the configuration calls essential.
const set = "ESSENTIAL=yes"

// Essential is why a kernel without a version is of no use, as a clause, or "".
// The configuration decides; without a word in it, the devices of this machine
// do.
func Essential(ctx context.Context, f *Facts, s Subject) string {
	if file := mentionsEssential(f, s); file != "" {
		if res := f.Conf(ctx, s); res.Err == nil && res.Conf.Essential != "" {
			if res.Conf.Essential == "yes" {
				return set + " in " + file
			}
			return ""
		}
	}
	return f.essential()[s.Name]
}

// mentionsEssential is the last configuration file of a version that may set
// ESSENTIAL, or "". Configurations are not evaluated for the question: most do
// not set it.
func mentionsEssential(f *Facts, s Subject) string {
	const word = "ESSENTIAL"
	base := f.mentions.get(s.ID, func() string { return conf.Mentions(word, f.m.ConfFile(s)) })
	if !slices.ContainsFunc(f.etc, func(name string) bool { return strings.HasPrefix(name, s.Name) }) {
		return base
	}
	if own := conf.Mentions(word, conf.OverrideFiles(f.m.Host.Root.Path("/etc/dkms"), s.Name, s.Version, s.Kernel, s.Arch)...); own != "" {
		return own
	}
	return base
}

// readEssential finds the packages whose installed modules drive what this
// machine cannot be without while the running kernel runs.
func readEssential(f *Facts) map[string]string {
	list := map[string]string{}
	if f.m.Host.Image || f.m.Host.InChroot() {
		return list // the devices are those of another system
	}
	running := targetOf(f.m, f.m.Host.Release)
	var drives map[string]string
	for _, p := range f.Packages() {
		names, installed := driving(f, p, running)
		if drives == nil && len(names) > 0 {
			drives = kernel.Essential(f.m.Host.Root)
		}
		for _, name := range names {
			why := drives[name]
			if why == "" || list[p.Name] != "" || !installed && kernel.Provides(f.m.Kernel(running).ModuleDir(), []string{name}) {
				continue
			}
			list[p.Name] = why
		}
	}
	// A kernel that was started without a module uses nothing of it: while the
	// guard holds, the module stays essential.
	if g, err := ReadBootGuard(f.m); err == nil && g.Holds() {
		for _, mod := range g.Modules {
			if list[mod.Module] == "" && !strings.HasPrefix(mod.Essential, set) {
				list[mod.Module] = mod.Essential
			}
		}
	}
	return list
}

// driving lists the modules of a package that the running kernel may use. If the
// package is not installed any more, the kernel may still use what was: then the
// modules are those of its newest version, of which the kernel may have some itself.
func driving(f *Facts, p *Package, running tree.Target) (names []string, installed bool) {
	if active := f.m.Tree.Active(p.Name, running); active != "" {
		return f.Module(Subject{tree.ID{Name: p.Name, Version: active}, running}).names(), true
	}
	id, ok := p.Newest()
	if !ok {
		return nil, false
	}
	res := f.Conf(context.Background(), Subject{id, running})
	if res.Err != nil {
		return nil, false
	}
	for _, r := range res.Conf.Records {
		names = append(names, kernel.Underscored(r.DestName))
	}
	return names, false
}

// targetOf is a kernel of this machine.
func targetOf(m *Machine, release string) tree.Target {
	return tree.Target{Kernel: release, Arch: kernel.Arch(archOf(m.Host, release), m.Host.Machine)}
}

// names lists the modules of the build, as the kernel spells them.
func (mod *Module) names() (list []string) {
	var files []string
	if mod.Manifest != nil {
		for _, file := range mod.Manifest.Files {
			files = append(files, file.Name)
		}
	} else {
		files, _ = mod.files() // a build of the original
	}
	for _, file := range files {
		if name, _, ok := module.ParseSuffix(filepath.Base(file)); ok {
			list = append(list, kernel.Underscored(name))
		}
	}
	return list
}
