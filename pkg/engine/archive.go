package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/archive"
	"dkms/pkg/exit"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// mktarball writes the sources and builds of a version into an archive that
// ldtarball, ours or the original's, can load elsewhere.
func (e *Engine) mktarball(ctx context.Context, req *Request) error {
	id, err := e.id(req)
	if err != nil {
		return err
	}
	switch e.tree.State(id) {
	case tree.Broken:
		return e.broken(id)
	case tree.Absent:
		return exit.Errorf(exit.NotAdded, "%s is not registered with dkms", id).WithHint("dkms status lists what is")
	}
	content, err := e.archiveContent(ctx, req, id)
	if err != nil {
		return err
	}
	path := filepath.Join(e.tree.VersionDir(id), "tarball", archive.FileName(content))
	if req.Archive != "" {
		path = filepath.Join(filepath.Dir(path), req.Archive)
		if strings.Contains(req.Archive, "/") {
			path = e.host.Abs(req.Archive)
		}
	}
	if req.DryRun {
		e.report.Result(fmt.Sprintf("would write %s: %s", path, contents(content)))
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return exit.Errorf(exit.ArchiveDest, "%w", err)
	}
	if unix.Access(filepath.Dir(path), unix.W_OK) != nil {
		return exit.Errorf(exit.ArchiveDest, "%s is not writable", filepath.Dir(path))
	}
	if err := archive.Write(ctx, e.run, path, content); err != nil {
		return err
	}
	e.report.Emit(report.Event{Kind: report.Done, Module: id.String(), Step: "mktarball", Text: fmt.Sprintf("%s: written to %s", id, path)})
	return nil
}

// contents says what goes into an archive.
func contents(c archive.Content) string {
	var list []string
	if c.SourceDir != "" {
		list = append(list, "the sources")
	}
	for _, b := range c.Builds {
		list = append(list, "the build for "+tree.Target{Kernel: b.Kernel, Arch: b.Arch}.String())
	}
	return strings.Join(list, ", ")
}

func (e *Engine) archiveContent(ctx context.Context, req *Request, id tree.ID) (archive.Content, error) {
	c := archive.Content{Name: id.Name, Version: id.Version}
	target, err := e.anyTarget(req)
	if err != nil {
		return c, err
	}
	file := e.tree.Conf(id)
	if req.Conf != "" {
		file = e.host.Abs(req.Conf)
	}
	if res := e.confs(ctx, []subject{{id, target}}, func(subject) string { return file })[0]; res.Err != nil {
		return c, res.Err
	}
	if !req.BinariesOnly {
		c.SourceDir = e.tree.SourceLink(id)
	} else if c.Conf, err = os.ReadFile(file); err != nil {
		return c, exit.Errorf(exit.NoConf, "%w", err)
	}
	if req.SourceOnly {
		return c, nil
	}
	targets, err := e.takeOutTargets(req, id)
	if err != nil {
		return c, err
	}
	for _, t := range targets {
		if !e.tree.IsBuilt(id, t) {
			return c, exit.Errorf(exit.NotBuilt, "%s is not built for %s", id, t).
				WithHint("dkms build %s -k %s, or use --source-only", id, t.Kernel)
		}
		c.Builds = append(c.Builds, archive.Build{Kernel: t.Kernel, Arch: t.Arch, Dir: e.tree.BuildDir(id, t)})
	}
	return c, nil
}

// ldtarball loads an archive: its sources into the source tree, its builds
// into the dkms tree, and registers the version.
func (e *Engine) ldtarball(ctx context.Context, req *Request) error {
	path := req.Archive
	if path != "-" && path != "" {
		path = e.host.Abs(path)
	}
	switch {
	case path == "" && req.Name != "":
		return exit.Errorf(exit.NoSource, "%s: no such file", strings.TrimSuffix(req.Name+"/"+req.Version, "/"))
	case path == "":
		return exit.Errorf(exit.NoSource, "%s needs an archive", req.Verb).WithHint("dkms %s FILE", req.Verb)
	case path != "-" && !system.IsFile(path):
		return exit.Errorf(exit.NoSource, "%s: no such file", path)
	case strings.HasSuffix(path, ".rpm"):
		return e.upgradeRPM(ctx, req)
	}
	dir, err := os.MkdirTemp(e.framework.TmpLocation, "dkms.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	content := filepath.Join(dir, "content")
	if err := archive.Unpack(ctx, e.run, path, req.Input, content); err != nil {
		return err
	}
	layout, err := archive.Inspect(content)
	if err != nil {
		return err
	}
	if err := e.loadSources(ctx, req, layout); err != nil {
		return err
	}
	id := tree.ID{Name: req.Name, Version: req.Version}
	if err := e.loadBuilds(ctx, req, id, layout.Builds); err != nil {
		return err
	}
	switch {
	case e.tree.State(id) != tree.Added:
	case req.DryRun:
		return nil
	default:
		e.report.Progressf("%s: loaded again", id)
		return nil
	}
	return e.register(ctx, req, id)
}

// loadSources puts the sources of an archive into the source tree. An archive
// of binaries only makes do with the sources that are there or, where there
// are none, with its dkms.conf in their place.
func (e *Engine) loadSources(ctx context.Context, req *Request, l archive.Layout) error {
	source := l.Source
	if source == "" {
		source = l.BinariesOnly
	}
	id, err := e.identify(ctx, req, source)
	if err != nil {
		return err
	}
	if e.tree.State(id) == tree.Added && !req.Force {
		code := exit.ArchiveAdded
		if l.Plain {
			code = exit.AlreadyAdded
		}
		return exit.Errorf(code, "%s is already added", id).WithHint("--force replaces its sources and builds")
	}
	req.Name, req.Version = id.Name, id.Version
	if l.Source == "" && system.IsDir(e.tree.Sources(id)) {
		return nil
	}
	return e.copySource(ctx, req, id, source, "the sources in "+req.Archive)
}

// loadBuilds puts the builds of an archive into the dkms tree.
func (e *Engine) loadBuilds(ctx context.Context, req *Request, id tree.ID, builds []archive.Build) error {
	for _, b := range builds {
		t := tree.Target{Kernel: b.Kernel, Arch: b.Arch}
		if err := t.Check(); err != nil {
			return err
		}
		if _, err := os.Lstat(e.tree.BuildDir(id, t)); err == nil && !req.Force {
			e.report.Warnf("%s: the build for %s is already there and stays", id, t)
			continue
		}
		if req.DryRun {
			e.report.Result(fmt.Sprintf("would load the build of %s for %s", id, t))
			req.unloaded = append(req.unloaded, t)
			continue
		}
		if err := e.loadBuild(ctx, id, t, b.Dir); err != nil {
			return err
		}
		e.report.Emit(report.Event{Kind: report.Done, Module: id.String(), Kernel: t.Kernel, Arch: t.Arch, Step: "ldtarball",
			Text: fmt.Sprintf("%s: loaded the build for %s", id, t)})
	}
	return nil
}

// loadBuild copies a build into the tree. Its manifest then tells of this
// machine: what the build that it replaces has installed here, if anything.
func (e *Engine) loadBuild(ctx context.Context, id tree.ID, t tree.Target, dir string) error {
	stage, err := e.tree.Stage(id, t)
	if err != nil {
		return err
	}
	defer stage.Discard()
	if err := system.CopyTree(ctx, stage.Dir, dir, false); err != nil {
		return err
	}
	if err := os.Chmod(stage.Dir, 0o755); err != nil {
		return err
	}
	m, err := stage.Manifest()
	if err == nil && m != nil {
		err = stage.Save(m)
	}
	if err != nil {
		return err
	}
	return stage.Swap()
}

// upgradeRPM installs an rpm package whose scripts register modules, and then
// what is missing of them.
func (e *Engine) upgradeRPM(ctx context.Context, req *Request) error {
	if req.DryRun {
		e.report.Result(fmt.Sprintf("would install the package %s with rpm, and then what is missing of its modules", req.Archive))
		return nil
	}
	err := e.run.Run(ctx, system.Cmd{Argv: []string{"rpm", "-Uvh", e.host.Abs(req.Archive)}})
	if err != nil {
		return exit.Errorf(exit.RPMFailed, "%s: %w", req.Archive, err)
	}
	code, err := e.autoinstall(ctx, &Request{Verb: Autoinstall})
	if err == nil && code != exit.OK {
		err = exit.Errorf(code, "%s is installed, but not all of its modules are", req.Archive)
	}
	return err
}
