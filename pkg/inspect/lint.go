package inspect

import (
	"context"
	"fmt"
	"path/filepath"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/lint"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Source names what lint checks: a directory, or the module that is registered
// from one; the working directory where both are empty.
type Source struct {
	Dir, Name, Version string
	// Conf is a dkms.conf to read instead of the one in the directory.
	Conf   string
	Choice machine.Choice
	// JSON prints the remarks as JSON.
	JSON bool
}

// lintSchema is the version of the JSON that lint prints.
const lintSchema = 1

// Lint checks a source directory. The status is 8 when there are errors.
func Lint(ctx context.Context, m *machine.Machine, s Source) (exit.Code, error) {
	file, err := s.file(m)
	if err != nil {
		return 0, err
	}
	target, err := m.AnyTarget(s.Choice)
	if err != nil {
		return 0, err
	}
	// The overrides of this machine are not part of the author's package.
	reader := m.AuthorsReader(filepath.Join(filepath.Dir(file), ".no-overrides"))
	p := lint.Package{Dir: filepath.Dir(file), File: file, Target: build.ConfTarget(m.Kernel(target), false), Run: m.Run, Tmp: m.Framework.TmpLocation}
	p.Result = reader.Modules(ctx, []conf.Ref{{File: file, Target: p.Target}})[0]
	if exit.Status(p.Result.Err) == exit.NoConf {
		return 0, p.Result.Err
	}
	remarks, err := lint.Check(ctx, p)
	if err != nil {
		return 0, err
	}
	errors := 0
	for _, r := range remarks {
		if r.Error {
			errors++
		}
		if !s.JSON {
			m.Report.Result(r.String())
		}
	}
	if s.JSON {
		if err := m.Report.JSON(map[string]any{"schema": lintSchema, "remarks": append([]lint.Remark{}, remarks...)}); err != nil {
			return 0, err
		}
	}
	if len(remarks) == 0 {
		m.Report.Progressf("%s: nothing to remark", file)
	} else {
		m.Report.Progressf("%s: %s, %s", file, count(errors, "error"), count(len(remarks)-errors, "warning"))
	}
	if errors > 0 {
		return exit.BadConf, nil
	}
	return exit.OK, nil
}

// count is a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// file returns the dkms.conf to check.
func (s Source) file(m *machine.Machine) (string, error) {
	id := tree.ID{Name: s.Name, Version: s.Version}
	dir := m.Host.Abs(s.Dir)
	switch {
	case s.Conf != "":
		return m.Host.Abs(s.Conf), nil
	case s.Dir != "" || s.Name == "":
	case id.Version != "" && m.Tree.State(id) == tree.Added:
		dir = m.Tree.SourceLink(id)
	default:
		word := filepath.Join(s.Name, s.Version)
		if dir = m.Host.Abs(word); !system.IsDir(dir) {
			return "", exit.Errorf(exit.NotAdded, "%s is neither a directory nor registered with dkms", word).
				WithHint("dkms lint DIRECTORY, or dkms lint MODULE/VERSION")
		}
	}
	file := filepath.Join(dir, "dkms.conf")
	if !system.IsFile(file) {
		return "", exit.Errorf(exit.NoConfInDir, "%s holds no dkms.conf", dir).WithHint("dkms init %s writes one", dir)
	}
	return file, nil
}
