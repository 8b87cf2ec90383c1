package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/image"
	"dkms/pkg/prebuilt"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// exported is what export tells of an image. The JSON names are an interface;
// see dkms(8).
type exported struct {
	Schema  int        `json:"schema"`
	Path    string     `json:"path"`
	Format  string     `json:"format"`
	Digest  string     `json:"digest"`
	Kernel  string     `json:"kernel"`
	Arch    string     `json:"arch"`
	Modules []exportID `json:"modules"`
}

type exportID struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	Tag     string `json:"tag"`
}

const exportSchema = 1

// export writes what is built of some modules for a kernel as an OCI image.
func (e *Engine) export(ctx context.Context, req *Request) error {
	targets, err := e.targets(req, e.running)
	if err != nil {
		return err
	}
	if len(targets) != 1 {
		return exit.Errorf(exit.KernelCount, "export takes exactly one kernel")
	}
	t := targets[0]
	ids, err := e.exportIDs(req, t)
	if err != nil {
		return err
	}
	out := exported{Schema: exportSchema, Format: req.Format, Kernel: t.Kernel, Arch: t.Arch}
	for _, id := range ids {
		out.Modules = append(out.Modules, exportID{id.Name, id.Version, prebuilt.Tag(id, t)})
	}
	if out.Format == "" {
		out.Format = "oci"
	}
	if out.Path, err = e.exportPath(req, out); err != nil {
		return err
	}
	if req.DryRun {
		e.report.Result(fmt.Sprintf("would export %s for %s to %s", joined(ids), t, out.Path))
		return nil
	}
	img, err := e.pack(ctx, req, t, ids)
	if err != nil {
		return err
	}
	if out.Digest, err = writeImage(img, out.Path, out.Format); err != nil {
		if _, ok := errors.AsType[*exit.Error](err); ok {
			return err
		}
		return exit.Errorf(exit.ArchiveDest, "%s: %w", out.Path, err)
	}
	e.report.Emit(report.Event{Kind: report.Done, Kernel: t.Kernel, Arch: t.Arch, Step: "export",
		Text: fmt.Sprintf("%s: exported for %s to %s", joined(ids), t, out.Path)})
	if req.JSON {
		return e.resultJSON(out)
	}
	e.report.Result(out.Digest)
	return nil
}

func joined(ids []tree.ID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = id.String()
	}
	return strings.Join(words, ", ")
}

// exportIDs are the versions that a request names, each of which is built for
// the kernel; without a version it is the one that others see.
func (e *Engine) exportIDs(req *Request, t tree.Target) ([]tree.ID, error) {
	if req.Name == "" {
		return nil, exit.Errorf(exit.Usage, "export needs a module").WithHint("dkms export MODULE[/VERSION]... -k KERNEL")
	}
	words := append([]string{strings.TrimSuffix(req.Name+"/"+req.Version, "/")}, req.Others...)
	var ids []tree.ID
	for _, w := range words {
		name, version, _ := strings.Cut(w, "/")
		if version == "" && system.PlainName(name) {
			version = e.tree.Newest(name, t)
		}
		id := tree.ID{Name: name, Version: version}
		if version == "" || id.Check() == nil && !e.tree.IsBuilt(id, t) {
			return nil, exit.Errorf(exit.NotBuilt, "%s is not built for %s", w, t).WithHint("dkms build %s -k %s", w, t.Kernel)
		}
		if err := id.Check(); err != nil {
			return nil, err
		}
		if e.tree.State(id) != tree.Added {
			return nil, exit.Errorf(exit.NotAdded, "%s is not registered with dkms", id).WithHint("dkms status lists what is")
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// exportPath is where the image goes: what --archive says, or a name of its own
// where the caller stands.
func (e *Engine) exportPath(req *Request, out exported) (string, error) {
	path := req.Archive
	if path == "" {
		path = out.Modules[0].Tag
		if len(out.Modules) > 1 {
			path = fmt.Sprintf("dkms_%s_%s", out.Kernel, out.Arch)
		}
		if out.Format == "tar" {
			path += ".tar"
		}
	}
	path = e.host.Abs(path)
	switch st, err := os.Lstat(path); {
	case out.Format != "oci" && out.Format != "tar":
		return "", exit.Errorf(exit.Usage, "--format %s: there are oci and tar", out.Format)
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", exit.Errorf(exit.ArchiveDest, "%w", err)
	case !req.Force:
		return "", exit.Errorf(exit.ArchiveDest, "%s exists", path).WithHint("--force replaces it")
	case out.Format == "tar" && st.Mode().IsRegular(), out.Format == "oci" && system.IsFile(filepath.Join(path, "oci-layout")):
		return path, nil
	}
	return "", exit.Errorf(exit.ArchiveDest, "%s exists and is no image: it stays", path)
}

// pack makes the image.
func (e *Engine) pack(ctx context.Context, req *Request, t tree.Target, ids []tree.ID) (*image.Image, error) {
	subjects := make([]subject, len(ids))
	for i, id := range ids {
		subjects[i] = subject{id, t}
	}
	depends := map[tree.ID][]string{}
	for i, res := range e.confs(ctx, subjects, e.confFile) {
		if res.Err != nil {
			return nil, fmt.Errorf("%s: %w", ids[i], res.Err)
		}
		depends[ids[i]] = e.dependNames(res.Conf)
	}
	p := &prebuilt.Packer{Tree: e.tree, Run: e.run, Temp: e.framework.TmpLocation}
	signer, err := e.signer(ctx, t)
	if err != nil {
		return nil, err
	}
	if signer != nil {
		p.Sign = signer.Sign
	} else {
		e.report.Warnf("there is no key to sign with: no machine will import this image")
	}
	if p.Busybox, err = e.busybox(req, t); err != nil {
		return nil, err
	}
	return p.Pack(ctx, e.kernel(t), ids, func(id tree.ID) []string { return depends[id] })
}

// dependNames are the registered modules that a module builds on.
func (e *Engine) dependNames(c *conf.Module) []string {
	names, _ := e.tree.Names()
	return slices.DeleteFunc(names, func(n string) bool {
		return !slices.ContainsFunc(c.BuildDepends, func(pattern string) bool { return matches(pattern, n) })
	})
}

// busybox is the shell for an image. That one cannot be found is no reason not
// to export: only Kubernetes needs it.
func (e *Engine) busybox(req *Request, t tree.Target) (string, error) {
	switch req.Busybox {
	case "none":
		return "", nil
	case "":
	default:
		path := e.host.Abs(req.Busybox)
		if err := prebuilt.Busybox(path, t.Arch); err != nil {
			return "", exit.Errorf(exit.Usage, "--busybox: %w", err)
		}
		return path, nil
	}
	for _, path := range []string{"/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/sbin/busybox"} {
		if path = e.host.Root.Path(path); prebuilt.Busybox(path, t.Arch) == nil {
			return path, nil
		}
	}
	e.report.Progressf("there is no static busybox here: Kubernetes cannot copy modules out of this image (install busybox-static, or use --busybox)")
	return "", nil
}

// writeImage writes an image to path, whole or not at all.
func writeImage(img *image.Image, path, format string) (digest string, err error) {
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
