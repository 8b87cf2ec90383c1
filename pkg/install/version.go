package install

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// files are the module files of a kernel by module name.
type files map[string][]string

// scan lists every module file below dir. It leaves out links: a link is an
// installation by symlink_modules, or a weak link.
func scan(dir string) files { return byModule(module.Files(dir)) }

func byModule(paths []string) files {
	list := files{}
	for _, path := range paths {
		if name, _, _ := module.ParseSuffix(path); !strings.HasPrefix(name, ".") {
			list[name] = append(list[name], path)
		}
	}
	return list
}

// present is [scan] for the modules that are to be installed.
func (in *Installer) present(ctx context.Context, k *kernel.Kernel, parts []part) files {
	var names []string
	for _, p := range parts {
		names = append(names, p.record.DestName)
	}
	return byModule(in.index(ctx, k).Files(names))
}

// refuse returns why a module must not be installed over what the kernel has,
// or "". The rules are those of DKMS, except that a file of another version of
// the same package with the same contents does not count.
func (in *Installer) refuse(s *Set, p part, present files) string {
	if why := obsolete(s); why != "" {
		return why
	}
	found := present[p.record.DestName]
	if len(found) == 0 || s.Force || s.ForceVersion {
		return ""
	}
	old := found[0]
	for _, f := range found { // compare with the file that would be replaced, if there is one
		if f == p.dest {
			old = f
		}
	}
	have, err := module.Read(old)
	if err != nil {
		in.Report.Warnf("%v; it is replaced", err)
		return ""
	}
	mine, err := module.Read(p.built)
	if err != nil {
		return err.Error()
	}
	own := in.isOwn(s, old)
	if own && in.Tree.Active(s.ID.Name, s.target()) == s.ID.Version {
		return "" // the same version was built again
	}
	return compare(have, mine, old, p.built, own)
}

func compare(have, mine *module.Info, old, built string, own bool) string {
	if have.Version == mine.Version && have.SrcVersion == mine.SrcVersion {
		if have.Version == "" && have.SrcVersion == "" {
			if same, err := module.Same(old, built); err == nil && same {
				return fmt.Sprintf("%s is already there (unversioned) and has the same contents", old)
			}
			return ""
		}
		if own {
			return ""
		}
		return fmt.Sprintf("%s is already there with the same version %s", old, shown(have))
	}
	if version.Compare(have.Version, mine.Version) > 0 {
		return fmt.Sprintf("%s is newer: version %s, against %s", old, shown(have), shown(mine))
	}
	return ""
}

func shown(i *module.Info) string {
	if i.Version == "" {
		return "none (srcversion " + i.SrcVersion + ")"
	}
	return i.Version
}

// isOwn tells whether a version of the package itself installed the file. Without
// a record of that, as for builds of the original, these are copies of what is
// built and, as the modules of others were archived before, what lies where only
// DKMS installs.
func (in *Installer) isOwn(s *Set, path string) bool {
	active := in.Tree.Active(s.ID.Name, s.target())
	if active == "" {
		return false
	}
	if m, _ := in.Tree.Manifest(tree.ID{Name: s.ID.Name, Version: active}, s.target()); m != nil && len(m.Installed) > 0 {
		for _, f := range m.Installed {
			if f.Path == path {
				return true
			}
		}
		return false
	}
	if slices.Contains(usual, strings.TrimPrefix(filepath.Dir(path), s.Kernel.ModuleDir()+"/")) {
		return true
	}
	built := filepath.Join(in.Tree.Modules(tree.ID{Name: s.ID.Name, Version: active}, s.target()), filepath.Base(path))
	same, err := module.Same(path, built)
	return err == nil && same
}

// obsolete applies OBSOLETE_BY: from that kernel on, the kernel contains the
// module.
func obsolete(s *Set) string {
	by := s.Conf.ObsoleteBy
	if by == "" || s.Force {
		return ""
	}
	plain := func(v string) string { return strings.ReplaceAll(v, "-", "") }
	if version.Compare(plain(s.Kernel.Release), plain(by)) >= 0 {
		return fmt.Sprintf("OBSOLETE_BY=%s: kernel %s has this module itself", by, s.Kernel.Release)
	}
	return ""
}
