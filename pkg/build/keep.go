package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// keep makes the finished modules, moves them into the tree and runs
// POST_BUILD, which finds them there. When that fails the tree gets back what
// it had: what its own package does not call finished is not built.
func (w *work) keep(ctx context.Context) (*tree.Manifest, error) {
	parent := filepath.Dir(w.Tree.BuildDir(w.ID, w.target()))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	// What interrupted builds have left; nobody else writes to the tree now.
	if old, err := filepath.Glob(filepath.Join(parent, tree.StagePrefix+"*")); err == nil {
		for _, dir := range old {
			os.RemoveAll(dir)
		}
	}
	stage, err := os.MkdirTemp(parent, tree.StagePrefix+w.Kernel.Arch+"_")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(stage)
	for _, dir := range []string{"log", "module"} {
		if err := os.Mkdir(filepath.Join(stage, dir), 0o755); err != nil {
			return nil, err
		}
	}
	manifest, err := w.stage(ctx, stage)
	if err != nil {
		return nil, err
	}
	if err := manifest.Save(stage); err != nil {
		return nil, err
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return nil, err
	}
	dir := w.Tree.BuildDir(w.ID, w.target())
	if err := swapIn(stage, dir); err != nil {
		return nil, err
	}
	if err := w.hook(ctx, "POST_BUILD", w.Conf.PostBuild); err != nil {
		return nil, errors.Join(err, w.takeBack(stage, dir))
	}
	return manifest, nil
}

// takeBack undoes swapIn.
func (w *work) takeBack(stage, dir string) error {
	if system.IsDir(stage) {
		return swapIn(stage, dir)
	}
	return w.Tree.DropBuild(w.ID, w.target())
}

// swapIn puts the directory stage in the place of dir. What was there before
// ends up at stage, for the caller to delete.
func swapIn(stage, dir string) error {
	if err := system.SwapDir(dir, stage); err != nil {
		return exit.Errorf(exit.NoModule, "%w", err)
	}
	return nil
}

func (w *work) stage(ctx context.Context, stage string) (*tree.Manifest, error) {
	m := &tree.Manifest{
		Module: w.ID.Name, Version: w.ID.Version, Kernel: w.Kernel.Release, Arch: w.Kernel.Arch,
		Built: w.Host.Now().UTC(), Compiler: w.tools.CC,
		Fingerprint: w.fingerprint, SourceDigest: w.source, Headers: KernelInputs(w.Kernel, w.Run), HeadersStamp: HeadersStamp(w.Kernel),
		PostRemove: w.Conf.PostRemove, NoWeakModules: w.Conf.NoWeakModules,
	}
	if w.Signer != nil {
		m.Signer = w.Signer.Name()
	}
	if old, err := w.Tree.Manifest(w.ID, w.target()); err == nil && old != nil {
		m.Installed = old.Installed // a build over an installed one leaves that in place
	}
	if symvers := filepath.Join(w.dir, "Module.symvers"); system.IsFile(symvers) {
		data, err := os.ReadFile(symvers)
		if err != nil {
			return nil, err
		}
		if err := system.WriteFile(filepath.Join(stage, "module", "Module.symvers"), data, 0o644); err != nil {
			return nil, err
		}
	}
	if w.format = w.Kernel.Suffix(); !module.Readable(ctx, w.Run, w.format) {
		w.Report.Warnf("%s: kernel %s has its modules compressed by %s, which the module tools of this system cannot read; leaving this one uncompressed",
			w.ID, w.Kernel.Release, w.format)
		w.format = module.None
	}
	for _, r := range w.records {
		file, err := w.finishModule(ctx, filepath.Join(stage, "module"), r)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, file)
	}
	return m, nil
}

// finishModule strips, signs and compresses the module of one record, in that
// order: a signature covers what the kernel sees after decompression.
func (w *work) finishModule(ctx context.Context, dir string, r conf.Record) (tree.File, error) {
	built := w.built(r)
	if r.Strip {
		if err := module.Strip(ctx, w.Run, built, w.tools.CC == "clang"); err != nil {
			w.Report.Warnf("%s: %v", w.ID, err)
		}
	}
	data, err := os.ReadFile(built)
	if err != nil {
		return tree.File{}, err
	}
	data, err = w.sign(ctx, r.DestName, data)
	if err != nil {
		return tree.File{}, err
	}
	format := w.format
	if data, err = w.compress(ctx, format, data); err != nil {
		return tree.File{}, fmt.Errorf("%s: %s: %w", w.ID, r.DestName, err)
	}
	name := r.DestName + ".ko" + format.Suffix()
	if err := system.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		return tree.File{}, err
	}
	return tree.File{Name: name, Location: r.DestLocation, SHA256: digest(data), Size: int64(len(data))}, nil
}

func (w *work) sign(ctx context.Context, name string, data []byte) ([]byte, error) {
	payload, _, _ := module.CutSignature(data)
	if w.Signer == nil {
		return payload, nil
	}
	signature, err := w.Signer.Sign(ctx, payload)
	if err != nil {
		return nil, fmt.Errorf("%s: signing %s: %w", w.ID, name, err)
	}
	return module.AppendSignature(payload, signature), nil
}

// compress makes the file format that the kernel's modules have, with the
// admin's options.
func (w *work) compress(ctx context.Context, format module.Compression, data []byte) ([]byte, error) {
	options, err := module.ParseOptions(format, w.compressOptions(format))
	if err != nil {
		name := "compress_" + format.String() + "_opts"
		return nil, exit.Errorf(exit.BadConf, "%s: %s: %w", w.Framework.Where(name), name, err)
	}
	return module.Compress(ctx, w.Run, format, options, data)
}

func (w *work) compressOptions(format module.Compression) string {
	switch format {
	case module.Gzip:
		return w.Framework.CompressGzip
	case module.XZ:
		return w.Framework.CompressXZ
	case module.Zstd:
		return w.Framework.CompressZstd
	}
	return ""
}

// finish keeps the log with the build and clears the scratch directory.
func (w *work) finish() error {
	log := w.Tree.Log(w.ID, w.target())
	if err := os.Rename(w.Tree.ScratchLog(w.ID), log); err != nil {
		w.Report.Warnf("%s: the build log could not be kept: %v", w.ID, err)
	}
	return os.RemoveAll(w.dir)
}
