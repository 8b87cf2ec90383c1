package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"dkms/pkg/exit"
	"dkms/pkg/image"
	"dkms/pkg/machine"
	"dkms/pkg/prebuilt"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// writeImage writes the builds as an OCI image.
func (e Export) writeImage(ctx context.Context, m *machine.Machine, t tree.Target, ids []tree.ID, out *exported) (err error) {
	for i, id := range ids {
		out.Modules[i].Tag = prebuilt.Tag(id, t)
	}
	if out.Path, err = e.path(m, out); err != nil {
		return err
	}
	if e.DryRun {
		m.Report.Result(fmt.Sprintf("would export %s for %s to %s", joined(ids), t, out.Path))
		return nil
	}
	img, err := e.pack(ctx, m, t, ids)
	if err != nil {
		return err
	}
	if out.Digest, err = writeImage(img, out.Path, out.Format); err != nil {
		return failed(out.Path, err)
	}
	e.done(m, joined(ids), t, out.Path)
	if e.JSON {
		return m.Report.JSON(out)
	}
	m.Report.Result(out.Digest)
	return nil
}

// path returns where the image goes: the path of --archive, or a generated name
// in the caller's working directory.
func (e Export) path(m *machine.Machine, out *exported) (string, error) {
	path := e.Path
	if path == "" {
		path = out.Modules[0].Tag
		if len(out.Modules) > 1 {
			path = fmt.Sprintf("dkms_%s_%s", out.Kernel, out.Arch)
		}
		if out.Format == "tar" {
			path += ".tar"
		}
	}
	path = m.Host.Abs(path)
	switch st, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", exit.Errorf(exit.ArchiveDest, "%w", err)
	case !e.Force:
		return "", exit.Errorf(exit.ArchiveDest, "%s exists", path).WithHint("--force replaces it")
	case out.Format == "tar" && st.Mode().IsRegular(), out.Format == "oci" && system.IsFile(filepath.Join(path, "oci-layout")):
		return path, nil
	}
	return "", exit.Errorf(exit.ArchiveDest, "%s exists and is no image: it stays", path)
}

// pack makes the image.
func (e Export) pack(ctx context.Context, m *machine.Machine, t tree.Target, ids []tree.ID) (*image.Image, error) {
	p, confs, err := e.packer(ctx, m, t, ids)
	if err != nil {
		return nil, err
	}
	if p.Sign == nil {
		m.Report.Warnf("there is no key to sign with: no machine will import this image")
	}
	if p.Busybox, err = e.busybox(m, t); err != nil {
		return nil, err
	}
	return p.Pack(ctx, m.Kernel(t), ids, func(id tree.ID) []string { return dependNames(m, confs[id]) })
}

// busybox returns the shell for an image. Only Kubernetes needs a shell, so a
// missing busybox does not prevent the export.
func (e Export) busybox(m *machine.Machine, t tree.Target) (string, error) {
	switch e.Busybox {
	case "none":
		return "", nil
	case "":
	default:
		path := m.Host.Abs(e.Busybox)
		if err := prebuilt.Busybox(path, t.Arch); err != nil {
			return "", exit.Errorf(exit.Usage, "--busybox: %w", err)
		}
		return path, nil
	}
	for _, path := range []string{"/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/sbin/busybox"} {
		if path = m.Host.Root.Path(path); prebuilt.Busybox(path, t.Arch) == nil {
			return path, nil
		}
	}
	m.Report.Progressf("there is no static busybox here: Kubernetes cannot copy modules out of this image (install busybox-static, or use --busybox)")
	return "", nil
}

// writeImage writes an image to path, completely or not at all.
func writeImage(img *image.Image, path, format string) (digest string, err error) {
	if path, err = system.Resolve(path); err != nil {
		return "", err
	}
	parent := filepath.Dir(path)
	stage, err := os.MkdirTemp(parent, system.StagePrefix+"export.")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(stage)
	layout := filepath.Join(stage, "layout")
	if digest, err = image.Write(layout, img); err != nil {
		return "", err
	}
	if format == "tar" {
		file := filepath.Join(stage, "tar")
		if err := writeArchive(file, layout); err != nil {
			return "", err
		}
		if err := os.Rename(file, path); err != nil {
			return "", err
		}
		return digest, system.SyncDir(parent)
	}
	return digest, system.SwapDir(path, layout)
}

func writeArchive(file, layout string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := image.Archive(f, layout); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}
