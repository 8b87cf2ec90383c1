package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/module"
	"dkms/pkg/pack"
	"dkms/pkg/prebuilt"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// writePackages writes a package of a distribution for each build.
func (e Export) writePackages(ctx context.Context, m *machine.Machine, t tree.Target, ids []tree.ID, out *exported) error {
	if err := pack.Check(m.Run, e.Format); err != nil {
		return err
	}
	if err := e.sound(m, t, ids); err != nil {
		return err
	}
	p, confs, err := e.packer(ctx, m, t, ids)
	if err != nil {
		return err
	}
	needs := e.kernelNeeds(ctx, m, t)
	var packages []*pack.Package
	for i, id := range ids {
		made, err := e.packageOf(ctx, m, p, machine.Subject{ID: id, Target: t}, confs[id])
		if err != nil {
			return err
		}
		made.Needs = append(slices.Clone(needs), made.Needs...)
		to := &out.Modules[i]
		to.Package = made.Name()
		if to.Path, err = e.place(m, pack.FileName(e.Format, made), len(ids) > 1, system.IsFile); err != nil {
			return err
		}
		for _, n := range made.Needs {
			to.Depends = append(to.Depends, pack.Words(e.Format, n))
		}
		packages = append(packages, made)
	}
	for i, made := range packages {
		if err := e.writePackage(ctx, m, t, ids[i], made, &out.Modules[i]); err != nil {
			return err
		}
	}
	if e.JSON && !e.DryRun {
		return m.Report.JSON(out)
	}
	return nil
}

// writePackage writes one package, and prints its path.
func (e Export) writePackage(ctx context.Context, m *machine.Machine, t tree.Target, id tree.ID, p *pack.Package, to *exportID) error {
	if e.DryRun {
		m.Report.Result(fmt.Sprintf("would export %s for %s to %s", id, t, to.Path))
		return nil
	}
	user := 0
	if m.Host.UID == 0 {
		user = system.BuildUser(0)
	}
	if err := pack.Write(ctx, m.Run, e.Format, p, to.Path, m.Framework.TmpLocation, user); err != nil {
		return failed(to.Path, err)
	}
	data, err := os.ReadFile(to.Path)
	if err != nil {
		return failed(to.Path, err)
	}
	sum := sha256.Sum256(data)
	to.Digest = "sha256:" + hex.EncodeToString(sum[:])
	e.done(m, id.String(), t, to.Path)
	if !e.JSON {
		m.Report.Result(to.Path)
	}
	return nil
}

// sound refuses builds that must not be installed anywhere, unless they are
// forced.
func (e Export) sound(m *machine.Machine, t tree.Target, ids []tree.ID) error {
	facts, err := m.Facts()
	if err != nil {
		return err
	}
	for _, id := range ids {
		h := facts.Module(machine.Subject{ID: id, Target: t}).Build()
		switch {
		case h.OK():
		case e.Force:
			m.Report.Warnf("%s: its build for %s is %s: %s", id, t, h.State, h.Why())
		default:
			return exit.Errorf(exit.NotBuilt, "%s: its build for %s is %s: %s", id, t, h.State, h.Why()).
				WithHint("build it again: dkms build --force %s -k %s", id, m.KernelArg(t))
		}
	}
	return nil
}

// kernelNeeds returns what packages for a kernel depend on.
func (e Export) kernelNeeds(ctx context.Context, m *machine.Machine, t tree.Target) (needs []pack.Need) {
	for _, d := range e.Depends {
		needs = append(needs, pack.Need{Name: d})
	}
	if len(needs) > 0 {
		return needs
	}
	if need, ok := pack.Kernel(ctx, m.Run, e.Format, m.Host.Root.Dir, t.Kernel); ok {
		return []pack.Need{need}
	}
	m.Report.Warnf("no installed package of the format %s has kernel %s: the packages for it depend on no kernel (--depends names one)", e.Format, t.Kernel)
	return nil
}

// packageOf returns the package of a build.
func (e Export) packageOf(ctx context.Context, m *machine.Machine, p *prebuilt.Packer, s machine.Subject, c *conf.Module) (*pack.Package, error) {
	record, text, sig, err := p.Describe(ctx, s.ID, s.Target, dependNames(m, c))
	if err != nil {
		return nil, err
	}
	for name, script := range map[string]string{"PRE_INSTALL": c.PreInstall, "POST_INSTALL": c.PostInstall, "POST_REMOVE": c.PostRemove} {
		if script != "" && !e.own {
			m.Report.Warnf("%s: its %s is not run where the modules come to", s.ID, name)
		}
	}
	made := &pack.Package{
		Module: s.Name, Version: s.Version, Kernel: s.Kernel, Arch: s.Arch, Kernels: kernelsOf(m, e.Format), Packager: e.Packager,
	}
	if made.Packager == "" {
		made.Packager = "dkms export <root@localhost>"
	}
	if made.Time, err = e.time(m, s); err != nil {
		return nil, err
	}
	if err := modulesOf(m, made, record, c); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(record.Depends)) {
		if !pack.Known(e.Format) {
			break // an extension depends on nothing
		}
		made.Needs = append(made.Needs, made.OtherModule(e.Format, name, record.Depends[name]))
	}
	dir := filepath.Join(pack.Records, made.Name())
	made.Files = append(made.Files, pack.File{Path: dir + "/manifest.json", Data: text})
	if sig != nil {
		made.Files = append(made.Files, pack.File{Path: dir + "/manifest.p7s", Data: sig})
	}
	for _, fact := range []pack.Fact{
		{Name: "Module", Value: s.ID.String()}, {Name: "Kernel", Value: s.Kernel}, {Name: "Source-Digest", Value: "sha256:" + record.Source},
		{Name: "Inputs-Digest", Value: record.Fingerprint}, {Name: "Compiler", Value: record.Compiler}, {Name: "Signer", Value: record.Signer},
		{Name: "Builder", Value: build.Release},
	} {
		if strings.TrimPrefix(fact.Value, "sha256:") != "" {
			made.Facts = append(made.Facts, fact)
		}
	}
	return made, nil
}

// modulesOf adds the modules of a build to a package, each at the place at which
// it would be installed here.
func modulesOf(m *machine.Machine, p *pack.Package, record *prebuilt.Record, c *conf.Module) error {
	var licenses, unsigned []string
	for _, f := range record.Files {
		from := filepath.Join(m.Tree.Modules(record.ID(), record.Target()), f.Name)
		info, err := module.Read(from)
		if err != nil {
			return exit.Errorf(exit.NotBuilt, "%s: %w", record.ID(), err)
		}
		if info.Signature == nil {
			unsigned = append(unsigned, f.Name)
		}
		if !slices.Contains(licenses, info.License) && info.License != "" {
			licenses = append(licenses, info.License)
		}
		p.Files = append(p.Files, pack.File{Path: filepath.Join(p.Kernels, p.Kernel, destination(m, f), f.Name), From: from})
	}
	if len(unsigned) > 0 {
		m.Report.Warnf("%s: not signed, and not loaded by a kernel that wants signatures: %s", record.ID(), strings.Join(unsigned, ", "))
	}
	if p.License = strings.Join(licenses, " and "); p.License == "" {
		p.License = "unknown"
	}
	return nil
}

// destination is the directory of a module below that of its kernel. The
// directory "kernel" belongs to the package of the kernel, which may have a
// module of the same name there; depmod prefers "updates".
func destination(m *machine.Machine, f tree.File) string {
	dir := strings.TrimPrefix(filepath.Clean("/"+conf.Record{DestLocation: f.Location}.Destination(m.Distribution, m.Host.Env["ADDON_MODULES_DIR"])), "/")
	if dir == "kernel" || strings.HasPrefix(dir, "kernel/") {
		return "updates/dkms"
	}
	return dir
}

// kernelsOf is the directory of the kernels' modules in a package: that which is
// no link here, since dpkg and pacman do not follow links. Where pacman is,
// /lib is always a link.
func kernelsOf(m *machine.Machine, format string) string {
	if to, err := os.Readlink(m.Host.Root.Path("/lib")); err == nil && strings.HasSuffix(to, "usr/lib") || format == "pacman" {
		return "/usr/lib/modules"
	}
	return "/lib/modules"
}

// time is the time of all files: SOURCE_DATE_EPOCH or, without it, the time of
// the build, so that the same build always makes the same package.
func (e Export) time(m *machine.Machine, s machine.Subject) (time.Time, error) {
	if text := m.Host.Env["SOURCE_DATE_EPOCH"]; text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 {
			return time.Time{}, exit.Errorf(exit.Usage, "SOURCE_DATE_EPOCH=%s is not a number of seconds", text)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	made, err := m.Tree.Manifest(s.ID, s.Target)
	if err != nil || made == nil {
		return time.Time{}, err
	}
	return made.Built.Truncate(time.Second), nil
}

// place returns the path of a new file: that of --archive, or name in a
// directory that --archive names, or in the caller's. replaceable tells whether
// --force may replace what exists there.
func (e Export) place(m *machine.Machine, name string, several bool, replaceable func(string) bool) (string, error) {
	path := m.Host.Abs(e.Path)
	switch {
	case e.Path == "" || system.IsDir(path) && !replaceable(path):
		path = filepath.Join(path, name)
	case several:
		return "", exit.Errorf(exit.Usage, "--archive %s: several packages need a directory that exists", e.Path)
	}
	switch _, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", exit.Errorf(exit.ArchiveDest, "%w", err)
	case !e.Force:
		return "", exit.Errorf(exit.ArchiveDest, "%s exists", path).WithHint("--force replaces it")
	case !replaceable(path):
		return "", exit.Errorf(exit.ArchiveDest, "%s exists and was not made by export: it stays", path)
	}
	return path, nil
}
