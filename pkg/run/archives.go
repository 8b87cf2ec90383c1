package run

import (
	"context"
	"fmt"
	"os"
	"strings"

	"dkms/pkg/archive"
	"dkms/pkg/exit"
	"dkms/pkg/fleet"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Tarball is the request of mktarball.
type Tarball struct {
	Named
	Choice machine.Choice
	// All includes the builds for every kernel.
	All                      bool
	BinariesOnly, SourceOnly bool
}

// Mktarball writes the sources and builds of a version into an archive.
func Mktarball(ctx context.Context, m *machine.Machine, t Tarball, o Options) error {
	v := &verb{m, nil, "mktarball", t.Choice, o}
	id, err := v.id(t.Named)
	if err != nil {
		return err
	}
	return transact(ctx, m, v.name, o, func(*machine.Writer) error {
		target, err := m.AnyTarget(t.Choice)
		if err != nil {
			return err
		}
		builds, err := takeOutTargets(m, id, t.Choice, t.All)
		if err != nil {
			return err
		}
		return fleet.WriteTarball(ctx, m, fleet.Tarball{
			ID: id, Builds: builds, Conf: t.Conf, Target: target, Path: t.Archive, BinariesOnly: t.BinariesOnly, SourceOnly: t.SourceOnly,
		}, o.DryRun)
	})
}

// Ldtarball loads an archive: it puts the sources into the source tree and the
// builds into the dkms tree, and registers the version.
func Ldtarball(ctx context.Context, m *machine.Machine, n Named, choice machine.Choice, o Options) error {
	return transact(ctx, m, "ldtarball", o, func(w *machine.Writer) error {
		v := &verb{m, w, "ldtarball", choice, o}
		_, err := v.load(ctx, n)
		return err
	})
}

// load loads an archive and registers the version in it.
func (v *verb) load(ctx context.Context, n Named) (brought, error) {
	path := n.Archive
	if path != "-" && path != "" {
		path = v.Host.Abs(path)
	}
	switch {
	case path == "" && n.Name != "":
		return brought{}, exit.Errorf(exit.NoSource, "%s: no such file", n.word())
	case path == "":
		return brought{}, exit.Errorf(exit.NoSource, "%s needs an archive", v.name).WithHint("dkms %s FILE", v.name)
	case path != "-" && !system.IsFile(path):
		return brought{}, exit.Errorf(exit.NoSource, "%s: no such file", path)
	case strings.HasSuffix(path, ".rpm"):
		return brought{announced: true}, v.upgradeRPM(ctx, n.Archive)
	}
	u, err := fleet.OpenTarball(ctx, v.Machine, path, n.Input)
	if err != nil {
		return brought{}, err
	}
	defer u.Close()
	b, err := v.loadSources(ctx, u.Layout, n.Archive)
	if err != nil {
		return b, err
	}
	if b.loaded, err = v.loadBuilds(ctx, b.ID, u.Layout); err != nil {
		return b, err
	}
	b.announced = true
	switch {
	case v.Tree.State(b.ID) != tree.Added:
	case v.w == nil:
		return b, nil
	default:
		v.Report.Progressf("%s: loaded again", b.ID)
		return b, nil
	}
	return b, v.register(ctx, b, n.Conf)
}

// loadSources puts the sources of an archive into the source tree. An archive
// with builds only uses existing sources; if there are none, its dkms.conf
// takes their place.
func (v *verb) loadSources(ctx context.Context, l archive.Layout, name string) (brought, error) {
	source := l.Source
	if source == "" {
		source = l.BinariesOnly
	}
	id, err := v.identify(ctx, source)
	if err != nil {
		return brought{ID: id}, err
	}
	if v.Tree.State(id) == tree.Added && !v.Force {
		code := exit.ArchiveAdded
		if l.Plain {
			code = exit.AlreadyAdded
		}
		return brought{ID: id}, exit.Errorf(code, "%s is already added", id).WithHint("--force replaces its sources and builds")
	}
	if l.Source == "" && system.IsDir(v.Tree.Sources(id)) {
		return brought{ID: id, sources: v.Tree.Sources(id)}, nil
	}
	from, err := v.copySource(ctx, id, source, "the sources in "+name, v.Force)
	return brought{ID: id, sources: from}, err
}

// loadBuilds puts the builds of an archive into the dkms tree. In a dry run, it
// returns the builds that a real run would load.
func (v *verb) loadBuilds(ctx context.Context, id tree.ID, l archive.Layout) (loaded []tree.Target, err error) {
	for _, b := range l.Builds {
		t := tree.Target{Kernel: b.Kernel, Arch: kernel.Arch(b.Arch, v.Host.Machine)}
		if err := t.Check(); err != nil {
			return nil, err
		}
		if _, err := os.Lstat(v.Tree.BuildDir(id, t)); err == nil && !v.Force {
			v.Report.Warnf("%s: the build for %s is already there and stays", id, t)
			continue
		}
		if v.w == nil {
			would(v.Machine, "load the build of %s for %s", id, t)
			loaded = append(loaded, t)
			continue
		}
		if err := fleet.LoadBuild(ctx, v.w, id, t, b.Dir, l.Source != ""); err != nil {
			return nil, err
		}
		v.Report.Emit(report.Event{Kind: report.Done, Module: id.String(), Kernel: t.Kernel, Arch: t.Arch, Step: "ldtarball",
			Text: fmt.Sprintf("%s: loaded the build for %s", id, t)})
	}
	return loaded, nil
}

// upgradeRPM installs an rpm package whose scripts register modules, and then
// installs those of its modules that are still missing.
func (v *verb) upgradeRPM(ctx context.Context, file string) error {
	if v.w == nil {
		would(v.Machine, "install the package %s with rpm, and then what is missing of its modules", file)
		return nil
	}
	if err := v.Run.Run(ctx, system.Cmd{Argv: []string{"rpm", "-Uvh", v.Host.Abs(file)}}); err != nil {
		return exit.Errorf(exit.RPMFailed, "%s: %w", file, err)
	}
	targets, err := v.Targets(machine.Choice{}, v.Discover)
	if err != nil {
		return err
	}
	code, err := autoinstall(ctx, v.Machine, v.w, targets, Options{}, job{command: true})
	if err == nil && code != exit.OK {
		err = exit.Errorf(code, "%s is installed, but not all of its modules are", file)
	}
	return err
}
