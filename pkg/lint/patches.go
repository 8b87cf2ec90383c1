package lint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/system"
)

// patches checks that the patches exist, and then tries them.
func (l *linter) patches(ctx context.Context, m *conf.Module) {
	whole := true
	for _, i := range m.Patch.Indexes() {
		name := m.Patch[i]
		line := l.assignedAt("PATCH", fmt.Sprint(i))
		switch {
		case name == "" || filepath.IsLocal(name) && system.IsFile(filepath.Join(l.Dir, "patches", name)):
			continue
		case !filepath.IsLocal(name):
			l.errorf(line, "PATCH[%d]=%s leads out of patches/", i, name)
		default:
			l.errorf(line, "PATCH[%d]: there is no patches/%s", i, name)
		}
		whole = false
	}
	if whole && l.Run != nil && l.Run.Has("patch") {
		l.tryPatches(ctx, m)
	}
}

// mostTries bounds the sets of patches that are tried.
const mostTries = 20

// tryPatches applies each set of patches that some kernel gets to a copy of the
// sources, as a build would. It reports a patch once.
func (l *linter) tryPatches(ctx context.Context, m *conf.Module) {
	tried, said := map[string]bool{}, map[string]bool{}
	for _, release := range append([]string{l.Target.Release}, kernels()...) {
		set := m.Patches(release)
		key := strings.Join(set, "\x00")
		if len(set) == 0 || tried[key] || len(tried) == mostTries {
			continue
		}
		tried[key] = true
		bad, why, err := l.try(ctx, set)
		if err != nil || bad == "" || said[bad] {
			continue
		}
		said[bad] = true
		for _, i := range m.Patch.Indexes() {
			if m.Patch[i] == bad {
				l.errorf(l.assignedAt("PATCH", fmt.Sprint(i)), "PATCH[%d]=%s does not apply for a kernel %s: %s", i, bad, release, why)
				break
			}
		}
	}
}

// try applies patches in order to a copy of the sources. It returns the first
// that does not apply, and what patch(1) says.
func (l *linter) try(ctx context.Context, set []string) (bad, why string, err error) {
	sources, err := filepath.EvalSymlinks(l.Dir)
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp(l.Tmp, "dkms-lint.")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "src")
	if err := system.CopyTree(ctx, dir, sources, false); err != nil {
		return "", "", err
	}
	jail, err := l.jail(dir)
	if err != nil {
		return "", "", err
	}
	for _, name := range set {
		var out strings.Builder
		// A build has nobody to ask, either.
		cmd := system.Cmd{
			Argv: []string{"patch", "-p1", "--forward", "--batch", "--input=patches/" + name},
			Dir:  dir, Stdout: &out, Stderr: &out, Jail: jail,
		}
		err := l.Run.Run(ctx, cmd)
		if _, refused := errors.AsType[*system.JailError](err); refused {
			cmd.Jail, jail = nil, nil
			err = l.Run.Run(ctx, cmd)
		}
		if _, failed := errors.AsType[*system.ExitError](err); failed {
			return name, said(out.String()), nil
		}
		if err != nil {
			return "", "", err
		}
	}
	return "", "", nil
}

// jail is the isolation of patch(1) in dir, which only root can have.
func (l *linter) jail(dir string) (*system.Jail, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	user := system.BuildUser(0)
	err = system.Walk(root, func(name string, _ fs.FileInfo) error { return root.Lchown(name, user, user) })
	return &system.Jail{UID: user, Writable: []system.Mount{{From: dir, At: dir}}}, err
}

// said is the reason in the output of patch(1), with the file that it is about.
func said(out string) string {
	file, last := "", ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "patching file "); ok {
			file = name + ": "
			continue
		}
		for _, mark := range []string{"FAILED at ", "Reversed (or previously applied)", "can't find file", "malformed patch", "Only garbage"} {
			if strings.Contains(line, mark) {
				return file + strings.TrimSuffix(line, "  Skipping patch.")
			}
		}
		if line != "" {
			last = line
		}
	}
	return file + last
}
