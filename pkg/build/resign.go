package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Resign signs the modules of a kept build with the signer of j, in place of
// the signatures that they have; nothing is compiled. The build changes as a
// whole, and undo brings back what it was until then; done forgets about that.
func (b *Builder) Resign(ctx context.Context, j Job) (undo, done func() error, err error) {
	w := &work{Builder: b, Job: j}
	dir := b.Tree.BuildDir(j.ID, w.target())
	manifest, err := b.Tree.Manifest(j.ID, w.target())
	if err != nil {
		return nil, nil, err
	}
	stage, err := os.MkdirTemp(filepath.Dir(dir), tree.StagePrefix+j.Kernel.Arch+"_")
	if err != nil {
		return nil, nil, err
	}
	if err := w.resign(ctx, dir, stage, manifest); err != nil {
		os.RemoveAll(stage)
		return nil, nil, err
	}
	if err := swapIn(stage, dir); err != nil {
		os.RemoveAll(stage)
		return nil, nil, err
	}
	done = func() error { return os.RemoveAll(stage) }
	undo = func() error {
		if err := swapIn(stage, dir); err != nil {
			return err
		}
		return done()
	}
	return undo, done, nil
}

func (w *work) resign(ctx context.Context, dir, stage string, m *tree.Manifest) error {
	if err := system.CopyTree(stage, dir, true); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(stage, "module"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, format, ok := module.ParseSuffix(e.Name())
		if !ok {
			continue
		}
		file := filepath.Join(stage, "module", e.Name())
		data, err := module.Load(file)
		if err != nil {
			return err
		}
		if data, err = w.sign(ctx, name, data); err != nil {
			return err
		}
		if data, err = w.compress(ctx, format, data); err != nil {
			return fmt.Errorf("%s: %s: %w", w.ID, name, err)
		}
		if err := system.WriteFile(file, data, 0o644); err != nil {
			return err
		}
		m.NoteFile(e.Name(), digest(data), int64(len(data)))
	}
	if m == nil {
		return nil
	}
	m.Signer = w.Signer.Name()
	return m.Save(stage)
}
