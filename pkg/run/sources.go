package run

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Named is what the caller named: a module, a source directory, or an archive.
type Named struct {
	Name, Version string
	// Source is a directory with a dkms.conf.
	Source string
	// Archive is a tarball to load; "-" is read from Input.
	Archive string
	Input   io.Reader
	// Conf is the dkms.conf to read in place of the one in the sources.
	Conf string
	// Replace puts Source in the place of the registered sources.
	Replace bool
}

// word is the named module, for messages.
func (n Named) word() string { return strings.TrimSuffix(n.Name+"/"+n.Version, "/") }

// brought is a module version whose sources are on this machine.
type brought struct {
	tree.ID
	// sources is the directory of the sources: in a dry run, the directory that
	// they would be copied from.
	sources string
	// replaced says that the sources took, or would take, the place of registered
	// ones.
	replaced bool
	// loaded are the builds of an archive that a real run would load.
	loaded []tree.Target
	// announced says that the registration was already done, or shown, together
	// with the archive.
	announced bool
}

// verb is one running command.
type verb struct {
	*machine.Machine
	w      *machine.Writer // nil in a dry run
	name   string
	choice machine.Choice
	Options
}

// id is the named module version.
func (v *verb) id(n Named) (tree.ID, error) {
	id := tree.ID{Name: n.Name, Version: n.Version}
	if id.Name == "" || id.Version == "" {
		return id, needsVersion(v.name, v.versionHint(n.Name))
	}
	return id, id.Check()
}

// versionHint says how to name a module version, and lists the versions of the
// named module.
func (v *verb) versionHint(name string) string {
	general := fmt.Sprintf("dkms %s MODULE/VERSION; dkms status lists what is registered", v.name)
	if !system.PlainName(name) {
		return general
	}
	var found []string
	versions, _ := v.Tree.Known(name)
	for _, t := range versions {
		if t.State != tree.Absent {
			found = append(found, t.ID.Version)
		}
	}
	if v.name == "add" || v.name == "build" || v.name == "install" {
		found = append(found, v.unregistered(name)...)
	}
	if len(found) == 0 {
		if near := v.Nearest(name); near != "" && near != name {
			return v.again(near)
		}
		return general
	}
	slices.SortFunc(found, version.Compare)
	var lines []string
	for _, f := range slices.Compact(found) {
		lines = append(lines, v.again(name+"/"+f))
	}
	return strings.Join(lines, "\n")
}

// again is the same command with another module and the given options.
func (v *verb) again(word string) string {
	text := "dkms " + v.name + " " + word
	for _, k := range v.choice.Kernels {
		text += " -k " + k
	}
	for _, a := range v.choice.Arches {
		text += " -a " + a
	}
	for _, o := range []struct {
		set  bool
		name string
	}{{v.Force, "--force"}, {v.ForceVersion, "--force-version-override"}, {v.NoDepmod, "--no-depmod"}, {v.Modprobe, "--modprobe-on-install"}, {v.DryRun, "--dry-run"}} {
		if o.set {
			text += " " + o.name
		}
	}
	return text
}

// unregistered are the unregistered versions of a module in the source tree.
func (v *verb) unregistered(name string) []string {
	entries, _ := os.ReadDir(v.Host.Root.SourceTree())
	var list []string
	for _, e := range entries {
		version, ok := strings.CutPrefix(e.Name(), name+"-")
		if ok && version != "" && version[0] >= '0' && version[0] <= '9' &&
			system.IsFile(filepath.Join(v.Host.Root.SourceTree(), e.Name(), "dkms.conf")) {
			list = append(list, version)
		}
	}
	return list
}

// bring finds out which version is meant, and copies the sources of a directory
// or an archive into the source tree.
func (v *verb) bring(ctx context.Context, n Named) (brought, error) {
	switch {
	case n.Name != "":
		id, err := v.id(n)
		return brought{ID: id, sources: v.Tree.Sources(id)}, err
	case n.Archive != "":
		return v.load(ctx, n)
	case n.Source == "":
		_, err := v.id(n)
		return brought{}, err
	}
	b, err := v.bringDirectory(ctx, n)
	if exit.Status(err) == exit.AlreadyAdded && b.Name != "" && v.name != "add" {
		return b, exit.Errorf(exit.AlreadyAdded, "%w", err).
			WithHint("%s --replace takes those in the directory\n%s works on the registered ones", v.again(n.Source), v.again(b.ID.String()))
	}
	return b, err
}

// bringDirectory copies a source directory into the source tree.
func (v *verb) bringDirectory(ctx context.Context, n Named) (brought, error) {
	dir, err := filepath.EvalSymlinks(v.Host.Abs(n.Source))
	if err != nil {
		return brought{}, exit.Errorf(exit.NoConfInDir, "%w", err)
	}
	if !system.IsFile(filepath.Join(dir, "dkms.conf")) {
		return brought{}, exit.Errorf(exit.NoConfInDir, "%s holds no dkms.conf", dir)
	}
	id, err := v.identify(ctx, dir)
	if err != nil {
		return brought{}, err
	}
	known := v.Tree.State(id) == tree.Added
	from, err := v.copySource(ctx, id, dir, dir, v.Force || n.Replace)
	b := brought{ID: id, sources: from, replaced: known && err == nil && dir != v.Tree.Sources(id)}
	if b.replaced && v.w != nil {
		v.Report.Progressf("%s: its sources are now those in %s", id, dir)
	}
	return b, err
}

// identify reads the module and version that the dkms.conf in dir names.
func (v *verb) identify(ctx context.Context, dir string) (tree.ID, error) {
	target, err := v.AnyTarget(v.choice)
	if err != nil {
		return tree.ID{}, err
	}
	file := filepath.Join(dir, "dkms.conf")
	c, err := v.Conf(ctx, machine.Subject{Target: target}, file)
	if err != nil {
		return tree.ID{}, err
	}
	id := tree.ID{Name: c.Name, Version: c.Version}
	if err := id.Check(); err != nil {
		return id, fmt.Errorf("%s: %w", file, err)
	}
	return id, c.CheckStrict() // checked before anything is copied
}

// copySource copies the sources of a version into the source tree, and returns
// their directory: in a dry run, that is dir. A registered version keeps its
// sources unless replace is set. from is the caller's name for dir.
func (v *verb) copySource(ctx context.Context, id tree.ID, dir, from string, replace bool) (string, error) {
	to := v.Tree.Sources(id)
	if real, err := filepath.EvalSymlinks(to); err == nil && real == dir {
		return to, nil
	}
	if v.Tree.State(id) == tree.Added && !replace {
		return to, exit.Errorf(exit.AlreadyAdded, "%s is already added; its sources stay as they are", id).
			WithHint("--replace takes those in %s", from)
	}
	if v.w == nil {
		would(v.Machine, "copy %s to %s", from, to)
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return to, err
	}
	stage, err := os.MkdirTemp(filepath.Dir(to), machine.SourceStage)
	if err != nil {
		return to, err
	}
	defer os.RemoveAll(stage)
	if err := system.CopyTree(ctx, stage, dir, false); err != nil {
		return to, err
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return to, err
	}
	v.Report.Detailf("%s: copying %s to %s", id, dir, to)
	return to, system.SwapDir(to, stage)
}
