package engine

import (
	"context"
	"path/filepath"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/lint"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// lint judges a source directory, by path or by the module that is registered
// from it. The status is 8 when there are errors.
func (e *Engine) lint(ctx context.Context, req *Request) (exit.Code, error) {
	file, err := e.lintFile(req)
	if err != nil {
		return 0, err
	}
	target, err := e.anyTarget(req)
	if err != nil {
		return 0, err
	}
	reader := *e.reader
	// The overrides of this machine are not the author's.
	reader.Host.Root.Dir = filepath.Join(filepath.Dir(file), ".no-overrides")
	p := lint.Package{Dir: filepath.Dir(file), File: file, Target: build.ConfTarget(e.kernel(target), false)}
	p.Result = reader.Modules(ctx, []conf.Ref{{File: file, Target: p.Target}})[0]
	if exit.Status(p.Result.Err) == exit.NoConf {
		return 0, p.Result.Err
	}
	remarks, err := lint.Check(p)
	if err != nil {
		return 0, err
	}
	errors := 0
	for _, r := range remarks {
		if r.Error {
			errors++
		}
		e.report.Result(r.String())
	}
	e.report.Progressf("%s: %d errors, %d warnings", file, errors, len(remarks)-errors)
	if errors > 0 {
		return exit.BadConf, nil
	}
	return exit.OK, nil
}

// lintFile is the dkms.conf that a request is about: the one in the working
// directory where it names nothing.
func (e *Engine) lintFile(req *Request) (string, error) {
	id := tree.ID{Name: req.Name, Version: req.Version}
	dir := e.host.Abs(req.Source)
	switch {
	case req.Conf != "":
		return e.host.Abs(req.Conf), nil
	case req.Source != "" || req.Name == "":
	case e.tree.State(id) == tree.Added && id.Version != "":
		dir = e.tree.SourceLink(id)
	default:
		dir = e.host.Abs(filepath.Join(req.Name, req.Version))
		if !system.IsDir(dir) {
			return "", exit.Errorf(exit.NotAdded, "%s is neither a directory nor registered with dkms", filepath.Join(req.Name, req.Version)).
				WithHint("dkms lint DIRECTORY, or dkms lint MODULE/VERSION")
		}
	}
	file := filepath.Join(dir, "dkms.conf")
	if !system.IsFile(file) {
		return "", exit.Errorf(exit.NoConfInDir, "%s holds no dkms.conf", dir)
	}
	return file, nil
}
