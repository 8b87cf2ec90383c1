package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Resign signs the modules of a kept build with the signer of j, and replaces
// their signatures; nothing is compiled. The build changes as a whole. undo
// restores the previous build, and done deletes the copy that undo needs.
func (b *Builder) Resign(ctx context.Context, j Job) (undo, done func() error, err error) {
	w := packing{&work{Builder: b, Job: j}}
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
		err = publish(stage)
	}
	if err != nil {
		return nil, nil, errors.Join(err, stage.Discard())
	}
	undo = func() error {
		if err := publish(stage); err != nil {
			return err
		}
		return stage.Discard()
	}
	return undo, stage.Discard, nil
}

// resign copies the build, and signs only the modules that the build is known
// to have made: a signature says that root vouches for a file.
func (w packing) resign(ctx context.Context, stage *tree.Stage, m *tree.Manifest) error {
	build, err := filepath.EvalSymlinks(w.Tree.BuildDir(w.ID, w.target()))
	if err != nil {
		return err
	}
	if log := w.Tree.Log(w.ID, w.target()); system.IsFile(log) {
		if err := cutLog(ctx, log); err != nil {
			return err
		}
	}
	if err := system.CopyTree(ctx, stage.Dir, build, true); err != nil {
		return err
	}
	names, err := w.signable(stage, m)
	if err != nil {
		return err
	}
	for _, file := range names {
		if err := w.resignFile(ctx, stage, m, file); err != nil {
			return err
		}
	}
	if m == nil {
		return nil
	}
	m.Signer, m.SignLater = w.Signer.Name(), false
	return m.Save(stage.Dir) // the manifest also lists what is installed
}

// signable lists the modules of a build: those of its manifest, if there is
// one.
func (w packing) signable(stage *tree.Stage, m *tree.Manifest) ([]string, error) {
	var names []string
	if m != nil {
		for _, f := range m.Files {
			names = append(names, filepath.Base(f.Name))
		}
		return names, nil
	}
	entries, err := os.ReadDir(stage.Modules())
	for _, e := range entries {
		if _, _, ok := module.ParseSuffix(e.Name()); ok {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (w packing) resignFile(ctx context.Context, stage *tree.Stage, m *tree.Manifest, file string) error {
	name, format, ok := module.ParseSuffix(file)
	if !ok {
		return fmt.Errorf("%s: %s is not the name of a module", w.ID, file)
	}
	packed, err := system.ReadPlain(filepath.Join(stage.Modules(), file), maxModule)
	if err != nil {
		return w.unlike(errors.New(strings.ReplaceAll(err.Error(), stage.Dir, w.Tree.BuildDir(w.ID, w.target()))))
	}
	if !m.Has(file, digest(packed)) {
		return w.unlike(fmt.Errorf("%s is not what was built: its digest is not that on record", file))
	}
	data, err := module.Load(filepath.Join(stage.Modules(), file))
	if err != nil {
		return err
	}
	if data, err = w.sign(ctx, stage, name, data); err != nil {
		return err
	}
	if data, err = w.compress(ctx, format, data); err != nil {
		return fmt.Errorf("%s: %s: %w", w.ID, name, err)
	}
	if err := stage.Module(file, data); err != nil {
		return err
	}
	m.NoteFile(file, digest(data), int64(len(data)))
	return nil
}

// unlike is the error of a build that differs from its record.
func (w packing) unlike(err error) error {
	return exit.Errorf(exit.NotBuilt, "%s: not signed: %w", w.ID, err).
		WithHint("dkms build --force %s -k %s builds it again", w.ID, w.Kernel.Release)
}
