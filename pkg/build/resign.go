package build

import (
	"context"
	"errors"
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
	manifest, err := b.Tree.Manifest(j.ID, w.target())
	if err != nil {
		return nil, nil, err
	}
	stage, err := b.Tree.Stage(j.ID, w.target())
	if err != nil {
		return nil, nil, err
	}
	err = w.resign(ctx, stage, manifest)
	if err == nil {
		err = swapIn(stage)
	}
	if err != nil {
		return nil, nil, errors.Join(err, stage.Discard())
	}
	undo = func() error {
		if err := swapIn(stage); err != nil {
			return err
		}
		return stage.Discard()
	}
	return undo, stage.Discard, nil
}

func (w *work) resign(ctx context.Context, stage *tree.Stage, m *tree.Manifest) error {
	if err := system.CopyTree(stage.Dir, w.Tree.BuildDir(w.ID, w.target()), true); err != nil {
		return err
	}
	entries, err := os.ReadDir(stage.Modules())
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, format, ok := module.ParseSuffix(e.Name())
		if !ok {
			continue
		}
		data, err := module.Load(filepath.Join(stage.Modules(), e.Name()))
		if err != nil {
			return err
		}
		if data, err = w.sign(ctx, name, data); err != nil {
			return err
		}
		if data, err = w.compress(ctx, format, data); err != nil {
			return fmt.Errorf("%s: %s: %w", w.ID, name, err)
		}
		if err := stage.Module(e.Name(), data); err != nil {
			return err
		}
		m.NoteFile(e.Name(), digest(data), int64(len(data)))
	}
	if m == nil {
		return nil
	}
	m.Signer = w.Signer.Name()
	return m.Save(stage.Dir) // which has what is installed
}
