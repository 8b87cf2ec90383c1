package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/pack"
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
	// Format is oci (a directory), tar, sysext or a format of packages; empty
	// means oci.
	Format string
	// Path is the file or directory to write, or the directory for several
	// packages; empty means a generated name in the caller's working directory.
	Path string
	// Packager answers for packages, and Depends is what they depend on instead
	// of the kernel's package.
	Packager string
	Depends  []string
	// Busybox is the shell of the image: a file, "none", or "" for the
	// installed busybox.
	Busybox string
	// Force replaces what exists, and takes builds that are not sound; DryRun only reports what would be
	// written.
	Force, DryRun bool
	// JSON prints the result as JSON.
	JSON bool
	// own says that this machine is what it is for.
	own bool
	// Sign signs the image; nil leaves it unsigned.
	Sign func(t tree.Target) (*sign.Signer, error)
}

// exported is what export reports. The JSON names are an interface; see
// dkms-json(5).
type exported struct {
	Schema  int        `json:"schema"`
	Path    string     `json:"path,omitempty"`
	Format  string     `json:"format"`
	Digest  string     `json:"digest,omitempty"`
	Kernel  string     `json:"kernel"`
	Arch    string     `json:"arch"`
	Modules []exportID `json:"modules"`
}

type exportID struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// Tag is that of an image; the others are those of a package.
	Tag     string   `json:"tag,omitempty"`
	Package string   `json:"package,omitempty"`
	Path    string   `json:"path,omitempty"`
	Digest  string   `json:"digest,omitempty"`
	Depends []string `json:"depends,omitempty"`
}

const exportSchema = 1

// Write writes the builds of some modules for a kernel, in the form that Format
// names.
func (e Export) Write(ctx context.Context, m *machine.Machine) error {
	if e.Format == "" {
		e.Format = "oci"
	}
	write, err := e.writer()
	if err != nil {
		return err
	}
	targets, err := m.Targets(e.Choice, m.Discover)
	if err != nil {
		return err
	}
	if len(targets) != 1 {
		return exit.Errorf(exit.KernelCount, "export takes exactly one kernel").WithHint("name it with -k")
	}
	t := targets[0]
	ids, err := e.ids(m, t)
	if err != nil {
		return err
	}
	out := exported{Schema: exportSchema, Format: e.Format, Kernel: t.Kernel, Arch: t.Arch}
	for _, id := range ids {
		out.Modules = append(out.Modules, exportID{Module: id.Name, Version: id.Version})
	}
	return write(ctx, m, t, ids, &out)
}

// writer returns the function that writes the form, if the options are those of
// the form.
func (e Export) writer() (func(context.Context, *machine.Machine, tree.Target, []tree.ID, *exported) error, error) {
	image := e.Format == "oci" || e.Format == "tar"
	switch {
	case !image && e.Busybox != "":
		return nil, exit.Errorf(exit.Usage, "--busybox is for images, and not for --format %s", e.Format)
	case !pack.Known(e.Format) && (e.Packager != "" || len(e.Depends) > 0):
		return nil, exit.Errorf(exit.Usage, "--packager and --depends are for packages, and not for --format %s", e.Format)
	case image:
		return e.writeImage, nil
	case pack.Known(e.Format):
		return e.writePackages, nil
	case e.Format == "sysext":
		return e.writeExtension, nil
	}
	return nil, exit.Errorf(exit.Usage, "--format %s: there are oci, tar, sysext, %s", e.Format, strings.Join(pack.Formats(), ", "))
}

// done reports what was written.
func (e Export) done(m *machine.Machine, what string, t tree.Target, path string) {
	m.Report.Emit(report.Event{Kind: report.Done, Kernel: t.Kernel, Arch: t.Arch, Step: "export",
		Text: fmt.Sprintf("%s: exported for %s to %s", what, t, path)})
}

// failed is the error of a file that could not be written.
func failed(path string, err error) error {
	if _, ok := errors.AsType[*exit.Error](err); ok || err == nil {
		return err
	}
	return exit.Errorf(exit.ArchiveDest, "%s: %w", path, err)
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
	words := e.Modules
	if len(words) == 0 && e.Format == "sysext" {
		names, err := m.Tree.Names()
		if err != nil {
			return nil, err
		}
		words = slices.DeleteFunc(names, func(name string) bool { return m.Tree.Newest(name, t) == "" })
	}
	if len(words) == 0 {
		return nil, exit.Errorf(exit.Usage, "export needs a module").WithHint("dkms export MODULE[/VERSION]... -k KERNEL")
	}
	var ids []tree.ID
	for _, w := range words {
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

// packer returns what describes builds, and signs the descriptions if there is a
// key, and the configurations of the versions.
func (e Export) packer(ctx context.Context, m *machine.Machine, t tree.Target, ids []tree.ID) (*prebuilt.Packer, map[tree.ID]*conf.Module, error) {
	subjects := make([]machine.Subject, len(ids))
	for i, id := range ids {
		subjects[i] = machine.Subject{ID: id, Target: t}
	}
	confs := map[tree.ID]*conf.Module{}
	for i, res := range m.Confs(ctx, subjects, m.ConfFile) {
		if res.Err != nil {
			return nil, nil, fmt.Errorf("%s: %w", ids[i], res.Err)
		}
		confs[ids[i]] = res.Conf
	}
	p := &prebuilt.Packer{Tree: m.Tree, Run: m.Run, Temp: m.Framework.TmpLocation}
	if e.DryRun || e.own { // which needs no key
		return p, confs, nil
	}
	signer, err := e.Sign(t)
	if err == nil && signer != nil {
		p.Sign = signer.Sign
	}
	return p, confs, err
}

// dependNames returns the registered modules that a module builds on.
func dependNames(m *machine.Machine, c *conf.Module) []string {
	names, _ := m.Tree.Names()
	return slices.DeleteFunc(names, func(n string) bool {
		return !slices.ContainsFunc(c.BuildDepends, func(pattern string) bool { return machine.Matches(pattern, n) })
	})
}
