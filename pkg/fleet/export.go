package fleet

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
	"dkms/pkg/machine"
	"dkms/pkg/prebuilt"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Export holds the arguments of `dkms export`.
type Export struct {
	// Modules are NAME or NAME/VERSION.
	Modules []string
	Choice  machine.Choice
	// Format is oci (a directory) or tar; empty means oci.
	Format string
	// Path is where the image goes; empty means a generated name in the
	// caller's working directory.
	Path string
	// Busybox is the shell of the image: a file, "none", or "" for the
	// installed busybox.
	Busybox string
	// Force replaces an existing image; DryRun only reports what would be
	// written.
	Force, DryRun bool
	// JSON prints the result as JSON.
	JSON bool
	// Sign signs the image; nil leaves it unsigned.
	Sign func(t tree.Target) (*sign.Signer, error)
}

// exported is what export reports about an image. The JSON names are an
// interface; see dkms(8).
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

// Write writes the builds of some modules for a kernel as an OCI image.
func (e Export) Write(ctx context.Context, m *machine.Machine) error {
	targets, err := m.Targets(e.Choice, m.Running)
	if err != nil {
		return err
	}
	if len(targets) != 1 {
		return exit.Errorf(exit.KernelCount, "export takes exactly one kernel")
	}
	t := targets[0]
	ids, err := e.ids(m, t)
	if err != nil {
		return err
	}
	out := exported{Schema: exportSchema, Format: e.Format, Kernel: t.Kernel, Arch: t.Arch}
	for _, id := range ids {
		out.Modules = append(out.Modules, exportID{id.Name, id.Version, prebuilt.Tag(id, t)})
	}
	if out.Format == "" {
		out.Format = "oci"
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
		if _, ok := errors.AsType[*exit.Error](err); ok {
			return err
		}
		return exit.Errorf(exit.ArchiveDest, "%s: %w", out.Path, err)
	}
	m.Report.Emit(report.Event{Kind: report.Done, Kernel: t.Kernel, Arch: t.Arch, Step: "export",
		Text: fmt.Sprintf("%s: exported for %s to %s", joined(ids), t, out.Path)})
	if e.JSON {
		return m.Report.JSON(out)
	}
	m.Report.Result(out.Digest)
	return nil
}

func joined(ids []tree.ID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = id.String()
	}
	return strings.Join(words, ", ")
}

// ids returns the requested versions, each of which has a build for the kernel.
// Where the request gives no version, ids chooses the version that other
// modules build against.
func (e Export) ids(m *machine.Machine, t tree.Target) ([]tree.ID, error) {
	if len(e.Modules) == 0 {
		return nil, exit.Errorf(exit.Usage, "export needs a module").WithHint("dkms export MODULE[/VERSION]... -k KERNEL")
	}
	var ids []tree.ID
	for _, w := range e.Modules {
		name, version, _ := strings.Cut(w, "/")
		if version == "" && system.PlainName(name) {
			version = m.Tree.Newest(name, t)
		}
		id := tree.ID{Name: name, Version: version}
		if version == "" || id.Check() == nil && !m.Tree.IsBuilt(id, t) {
			return nil, exit.Errorf(exit.NotBuilt, "%s is not built for %s", w, t).WithHint("dkms build %s -k %s", w, t.Kernel)
		}
		if err := id.Check(); err != nil {
			return nil, err
		}
		if m.Tree.State(id) != tree.Added {
			return nil, m.NotRegistered(id.String())
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// path returns where the image goes: the path of --archive, or a generated name
// in the caller's working directory.
func (e Export) path(m *machine.Machine, out exported) (string, error) {
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
	case out.Format != "oci" && out.Format != "tar":
		return "", exit.Errorf(exit.Usage, "--format %s: there are oci and tar", out.Format)
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
	subjects := make([]machine.Subject, len(ids))
	for i, id := range ids {
		subjects[i] = machine.Subject{ID: id, Target: t}
	}
	depends := map[tree.ID][]string{}
	for i, res := range m.Confs(ctx, subjects, m.ConfFile) {
		if res.Err != nil {
			return nil, fmt.Errorf("%s: %w", ids[i], res.Err)
		}
		depends[ids[i]] = dependNames(m, res.Conf)
	}
	p := &prebuilt.Packer{Tree: m.Tree, Run: m.Run, Temp: m.Framework.TmpLocation}
	signer, err := e.Sign(t)
	if err != nil {
		return nil, err
	}
	if signer != nil {
		p.Sign = signer.Sign
	} else {
		m.Report.Warnf("there is no key to sign with: no machine will import this image")
	}
	if p.Busybox, err = e.busybox(m, t); err != nil {
		return nil, err
	}
	return p.Pack(ctx, m.Kernel(t), ids, func(id tree.ID) []string { return depends[id] })
}

// dependNames returns the registered modules that a module builds on.
func dependNames(m *machine.Machine, c *conf.Module) []string {
	names, _ := m.Tree.Names()
	return slices.DeleteFunc(names, func(n string) bool {
		return !slices.ContainsFunc(c.BuildDepends, func(pattern string) bool { return machine.Matches(pattern, n) })
	})
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
