package prebuilt

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/image"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Packer makes images.
type Packer struct {
	Tree *tree.Tree
	Run  *system.Runner
	// Temp is the directory in which modules are indexed.
	Temp string
	// Sign signs the record of a build; nil leaves the record unsigned, and
	// then no machine imports the build.
	Sign func(context.Context, []byte) ([]byte, error)
	// Busybox is a static busybox for the kernel's architecture, or "".
	// Kubernetes' Kernel Module Management copies the modules with the shell
	// and the cp of the image that contains them.
	Busybox string
}

// Pack makes an image of the builds of some versions for one kernel. depends
// returns the names of the modules that a version was built against.
func (p *Packer) Pack(ctx context.Context, k *kernel.Kernel, ids []tree.ID, depends func(tree.ID) []string) (*image.Image, error) {
	target := tree.Target{Kernel: k.Release, Arch: k.Arch}
	img := &image.Image{Arch: target.Arch, Annotations: map[string]string{}}
	var files []image.File
	var records []*Record
	for _, id := range ids {
		r, list, err := p.files(ctx, id, target, depends(id))
		if err != nil {
			return nil, err
		}
		files = append(files, list...)
		records = append(records, r)
		img.Tags = append(img.Tags, Tag(id, target))
	}
	own := inTree(k, files)
	index, err := p.index(ctx, k, files, own)
	if err != nil {
		return nil, err
	}
	if base := p.base(k, own); len(base) > 0 {
		img.Layers = append(img.Layers, base)
	}
	img.Layers = append(img.Layers, append(files, index...))
	annotate(img.Annotations, target, records)
	return img, nil
}

// annotate sets the annotations that describe the image's content. With several
// modules the values are lists in the same order.
func annotate(a map[string]string, t tree.Target, records []*Record) {
	var modules, versions, sources, titles []string
	for _, r := range records {
		modules, versions = append(modules, r.Module), append(versions, r.Version)
		sources, titles = append(sources, "sha256:"+r.Source), append(titles, r.ID().String())
	}
	a["dkms.module"] = strings.Join(modules, " ")
	a["dkms.version"] = strings.Join(versions, " ")
	a["dkms.source.digest"] = strings.Join(sources, " ")
	a["dkms.kernel"], a["dkms.architecture"] = t.Kernel, t.Arch
	a["org.opencontainers.image.title"] = strings.Join(titles, " ") + " for " + t.Kernel
	a["org.opencontainers.image.version"] = strings.Join(versions, " ")
}

// record returns the record of a build.
func (p *Packer) record(id tree.ID, target tree.Target, depends []string) (*Record, error) {
	m, err := p.Tree.Manifest(id, target)
	if err != nil {
		return nil, err
	}
	if m == nil || m.SourceDigest == "" {
		return nil, exit.Errorf(exit.NotBuilt, "%s: it is not on record what its build for %s was made from", id, target.Kernel).
			WithHint("build it again: dkms build --force %s -k %s", id, target.Kernel)
	}
	r := &Record{
		Schema: recordSchema, Module: id.Name, Version: id.Version, Kernel: target.Kernel, Arch: target.Arch,
		Source: m.SourceDigest, Fingerprint: m.Fingerprint, Compiler: m.Compiler, Signer: m.Signer, Files: m.Files,
	}
	for _, name := range depends {
		if v := p.Tree.Newest(name, target); v != "" {
			if r.Depends == nil {
				r.Depends = map[string]string{}
			}
			r.Depends[name] = v
		}
	}
	return r, nil
}

// Describe returns the record of a build whose files are those that were built,
// its text, and the signature of the text, which is nil without [Packer].Sign.
// depends are the names of the modules that the build was made against.
func (p *Packer) Describe(ctx context.Context, id tree.ID, target tree.Target, depends []string) (r *Record, text, sig []byte, err error) {
	if r, err = p.record(id, target, depends); err != nil {
		return nil, nil, nil, err
	}
	dir := p.Tree.Modules(id, target)
	for _, f := range r.Files {
		path := filepath.Join(dir, f.Name)
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, nil, exit.Errorf(exit.NotBuilt, "%s: %w", id, err)
		}
		if digest(data) != f.SHA256 {
			return nil, nil, nil, exit.Errorf(exit.NotBuilt, "%s: %s is not what was built", id, path).
				WithHint("build it again: dkms build --force %s -k %s", id, target.Kernel)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, symversFile)); err == nil {
		r.Symvers = digest(data)
	}
	if text, err = json.MarshalIndent(r, "", "  "); err != nil {
		return nil, nil, nil, err
	}
	text = append(text, '\n')
	if p.Sign != nil {
		if sig, err = p.Sign(ctx, text); err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", id, err)
		}
	}
	return r, text, sig, nil
}

// files returns the members of an image for one build.
func (p *Packer) files(ctx context.Context, id tree.ID, target tree.Target, depends []string) (*Record, []image.File, error) {
	r, text, sig, err := p.Describe(ctx, id, target, depends)
	if err != nil {
		return nil, nil, err
	}
	var list []image.File
	dir, record := p.Tree.Modules(id, target), recordDir(id)
	for _, f := range r.Files {
		list = append(list, image.File{Name: kernelDir(r.Kernel) + "/" + modulesBelow + "/" + f.Name, Path: filepath.Join(dir, f.Name)})
	}
	if r.Symvers != "" {
		data, err := os.ReadFile(filepath.Join(dir, symversFile))
		if err != nil {
			return nil, nil, err
		}
		list = append(list, image.File{Name: record + "/" + symversFile, Data: data})
	}
	list = append(list, image.File{Name: record + "/" + recordFile, Data: text})
	if sig != nil {
		list = append(list, image.File{Name: record + "/" + signature, Data: sig})
	}
	return r, list, nil
}

// index runs depmod to index the modules among files and the kernel's own
// modules that those need.
func (p *Packer) index(ctx context.Context, k *kernel.Kernel, files []image.File, own []string) ([]image.File, error) {
	temp, err := os.MkdirTemp(p.Temp, "dkms-export.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	dir := filepath.Join(temp, kernelDir(k.Release))
	if err := os.MkdirAll(filepath.Join(dir, modulesBelow), 0o755); err != nil {
		return nil, err
	}
	// A depmod for merged directories looks below usr.
	if err := os.Symlink(".", filepath.Join(temp, prefix, "usr")); err != nil {
		return nil, err
	}
	copies := map[string]string{}
	for _, f := range files {
		if f.Path != "" {
			copies[filepath.Join(temp, f.Name)] = f.Path
		}
	}
	for _, path := range own {
		copies[filepath.Join(dir, hostLink, path)] = filepath.Join(k.ModuleDir(), path)
	}
	for to, from := range copies {
		if err := copyFile(to, from); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"modules.order", "modules.builtin"} { // avoids depmod warnings
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			return nil, err
		}
	}
	if err := p.Run.Run(ctx, system.Cmd{Argv: []string{"depmod", "-b", filepath.Join(temp, prefix), k.Release}}); err != nil {
		return nil, fmt.Errorf("the index of the modules: %w", err)
	}
	return readIndex(dir, k.Release)
}

func readIndex(dir, release string) ([]image.File, error) {
	made := system.Glob(dir, "modules.*")
	var list []image.File
	for _, path := range made {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		list = append(list, image.File{Name: kernelDir(release) + "/" + filepath.Base(path), Data: data})
	}
	if !slices.ContainsFunc(made, func(p string) bool { return filepath.Base(p) == "modules.dep.bin" }) {
		return nil, fmt.Errorf("depmod has made no modules.dep.bin for %s", release)
	}
	return list, nil
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// base returns the layer that only Kubernetes needs: programs to copy the
// modules with, and links to the kernel's own modules.
func (p *Packer) base(k *kernel.Kernel, own []string) []image.File {
	var list []image.File
	if p.Busybox != "" {
		list = append(list, image.File{Name: "bin/busybox", Path: p.Busybox, Exec: true})
		for _, name := range []string{"cp", "mkdir", "sh"} {
			list = append(list, image.File{Name: "bin/" + name, Link: "busybox"})
		}
	}
	if len(own) > 0 {
		list = append(list, image.File{Name: kernelDir(k.Release) + "/" + hostLink, Link: hostDir + k.Release})
	}
	return list
}

// Busybox returns what is wrong with a busybox for an image of an architecture:
// it must run on that architecture, without other files.
func Busybox(path, arch string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if !kernel.MadeFor(arch, f.Machine, f.Data) {
		return fmt.Errorf("%s: is for %s %s, not for %s", path, f.Machine, f.Data, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s: is not statically linked", path)
		}
	}
	return nil
}
