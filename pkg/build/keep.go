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

// maxModule bounds how many bytes of a built file are read.
const maxModule = 512 << 20

// finish keeps the build and its log.
func (w packing) finish(ctx context.Context) (*tree.Manifest, error) {
	manifest, err := w.keep(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.keepLog(ctx); err != nil {
		w.Report.Warnf("%s: the build log could not be kept: %v", w.ID, err)
	}
	return manifest, nil
}

// keep finishes the modules, moves them into the tree and runs POST_BUILD,
// which finds them there. If POST_BUILD fails, the package does not consider
// the build finished: the tree gets its earlier content back.
func (w *work) keep(ctx context.Context) (*tree.Manifest, error) {
	stage, err := w.Tree.Stage(w.ID, w.target())
	if err != nil {
		return nil, err
	}
	defer stage.Discard()
	if err := stage.Lay(); err != nil {
		return nil, err
	}
	manifest, err := packing{w}.stage(ctx, stage)
	if err != nil {
		return nil, err
	}
	if err := stage.Save(manifest); err != nil {
		return nil, err
	}
	// The log is kept with the build from the start, while it is still written.
	os.Link(w.scratch.log, stage.Log())
	if err := publish(stage); err != nil {
		return nil, err
	}
	if err := w.postBuild(ctx, manifest); err != nil {
		return nil, errors.Join(err, w.rollBack(stage))
	}
	return manifest, nil
}

// keepLog makes sure that the log is with the build, whatever POST_BUILD has
// put in its place, and that the log is small enough to keep.
func (w *work) keepLog(ctx context.Context) error {
	log := w.Tree.Log(w.ID, w.target())
	st, err := os.Lstat(w.scratch.log)
	if err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no file any more", w.scratch.log)
	}
	if there, err := os.Lstat(log); err != nil || !os.SameFile(st, there) {
		if err := os.RemoveAll(log); err != nil {
			return err
		}
		if err := os.Rename(w.scratch.log, log); err != nil {
			return err
		}
	}
	return cutLog(ctx, log)
}

// postBuild runs POST_BUILD, which may change the kept files and add others. It
// cannot write beside the build: the previous build waits there, to be kept or
// to come back.
func (w *work) postBuild(ctx context.Context, m *tree.Manifest) error {
	if w.Conf.PostBuild == "" {
		return nil
	}
	dir := w.Tree.BuildDir(w.ID, w.target())
	if w.scratch.private != "" {
		if err := own(dir, w.scratch.user); err != nil {
			return err
		}
	}
	err := w.hook(ctx, "POST_BUILD", w.Conf.PostBuild, dir)
	if w.scratch.private != "" {
		err = errors.Join(err, own(dir, 0), os.Lchown(w.scratch.log, 0, 0)) // POST_BUILD may have moved the log out of the directory
	}
	if err != nil {
		return err
	}
	return packing{w}.recheck(m, dir)
}

// rollBack undoes publish.
func (w *work) rollBack(stage *tree.Stage) error {
	if system.IsDir(stage.Dir) {
		return publish(stage)
	}
	return w.Tree.DropBuild(w.ID, w.target())
}

func publish(stage *tree.Stage) error {
	if err := stage.Swap(); err != nil {
		return exit.Errorf(exit.NoModule, "%w", err)
	}
	return nil
}

func (w packing) stage(ctx context.Context, stage *tree.Stage) (*tree.Manifest, error) {
	headers, fingerprint := w.inputs()
	if w.StandsFor == nil {
		w.Kernel.KeepDigest() // without it, the next build reads the headers again
	}
	m := &tree.Manifest{
		Module: w.ID.Name, Version: w.ID.Version, Kernel: w.Kernel.Release, Arch: w.Kernel.Arch,
		Built: w.Host.Now().UTC(), Compiler: w.tools.CC,
		Fingerprint: fingerprint, SourceDigest: w.source, Headers: headers, HeadersStamp: w.stamp,
		Sources: w.local, SourcesStamp: w.localStamp, Fits: true,
		PostRemove: w.Conf.PostRemove, NoWeakModules: w.Conf.NoWeakModules, Unfinished: w.Conf.PostBuild != "",
	}
	if symvers, err := w.outside(filepath.Join(w.scratch.dir, "Module.symvers")); err == nil && system.IsFile(symvers) {
		data, err := system.ReadRegular(symvers, maxModule)
		if err != nil {
			return nil, w.failed(exit.NoModule, err)
		}
		if err := stage.Module("Module.symvers", data); err != nil {
			return nil, err
		}
	}
	if w.StandsFor == nil {
		w.format = w.Kernel.Suffix()
	}
	if w.format != module.None && !w.readable() {
		w.Report.Warnf("%s: kernel %s has its modules compressed by %s, which the module tools of this system cannot read; leaving this one uncompressed",
			w.ID, w.Kernel.Release, w.format)
		w.format = module.None
	}
	for _, r := range w.records {
		file, err := w.finishModule(ctx, stage, r)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, file)
	}
	if w.Signer != nil {
		m.Signer = w.Signer.Name()
	}
	m.SignLater = w.SignLater && m.Signer == ""
	return m, nil
}

// finishModule strips, signs and compresses the module of one record, in that
// order: a signature covers the file that the kernel sees after decompression.
func (w packing) finishModule(ctx context.Context, stage *tree.Stage, r conf.Record) (tree.File, error) {
	path := filepath.Join(w.scratch.dir, built(r))
	if r.Strip {
		if err := module.Strip(ctx, w.Run, w.tools.Strip(), path, w.jail()); err != nil {
			w.Report.Warnf("%s: %v", w.ID, err)
		}
	}
	path, err := w.outside(path)
	if err != nil {
		return tree.File{}, err
	}
	data, err := system.ReadRegular(path, maxModule)
	if err != nil {
		return tree.File{}, err
	}
	data, err = w.signOrNot(ctx, stage, r.DestName, data)
	if err != nil {
		return tree.File{}, err
	}
	format := w.format
	if data, err = w.compress(ctx, format, data); err != nil {
		return tree.File{}, fmt.Errorf("%s: %s: %w", w.ID, r.DestName, err)
	}
	name := r.DestName + ".ko" + format.Suffix()
	if err := stage.Module(name, data); err != nil {
		return tree.File{}, err
	}
	return tree.File{Name: name, Location: r.DestLocation, SHA256: digest(data), Size: int64(len(data))}, nil
}

// signOrNot signs a module. If signing fails and the kernel would load the
// module unsigned, this module and the later ones stay unsigned.
func (w packing) signOrNot(ctx context.Context, stage *tree.Stage, name string, data []byte) ([]byte, error) {
	signed, err := w.sign(ctx, stage, name, data)
	if err == nil || ctx.Err() != nil || w.Unsigned == nil {
		return signed, err
	}
	if err := w.Unsigned(err); err != nil {
		return nil, err
	}
	w.Signer = nil
	return w.sign(ctx, stage, name, data)
}

func (w packing) sign(ctx context.Context, stage *tree.Stage, name string, data []byte) ([]byte, error) {
	payload, _, _ := module.CutSignature(data)
	if w.Signer == nil {
		return payload, nil
	}
	signature, err := w.Signer.SignModule(ctx, stage.Dir, name, payload)
	if err != nil {
		return nil, fmt.Errorf("%s: signing %s: %w", w.ID, name, err)
	}
	return module.AppendSignature(payload, signature), nil
}

// compress compresses data in the format of the kernel's own modules, with the
// options of the administrator.
func (w packing) compress(ctx context.Context, format module.Compression, data []byte) ([]byte, error) {
	options, err := module.ParseOptions(format, w.compressOptions(format))
	var packed []byte
	bad := err != nil
	if !bad {
		packed, err = module.Compress(ctx, w.Run, format, options, data)
		_, bad = errors.AsType[*module.OptionsError](err)
	}
	if bad {
		name := "compress_" + format.String() + "_opts"
		return nil, exit.Errorf(exit.BadConf, "%s: %s: %w", w.Framework.Where(name), name, err)
	}
	return packed, err
}

func (w packing) compressOptions(format module.Compression) string {
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
