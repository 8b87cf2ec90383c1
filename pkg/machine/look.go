package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"dkms/pkg/build"
	"dkms/pkg/install"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/tree"
)

// These are the reasons why an undamaged build does not count any more.
const (
	HeadersChanged = "the headers of the kernel have changed since it was built"
	SourcesChanged = "its sources have changed since it was built"
)

// readInstalled checks the installed files. It starts no program.
func (mod *Module) readInstalled() Health {
	m := mod.Manifest
	switch {
	case !mod.Built:
		return Health{State: Missing, Reason: "not built"}
	case !mod.Active:
		return Health{State: Missing, Reason: "not installed"}
	case mod.ManifestErr != nil:
		return damaged("", mod.ManifestErr.Error())
	case m == nil:
		return mod.readOriginal()
	case m.Unfinished:
		return damaged("", "its POST_BUILD did not come to its end")
	case len(m.Installed) == 0:
		if h := mod.readCopies(); !h.OK() {
			return h
		}
	}
	switch look := mod.look(); {
	case look.Damaged != "" && look.Why == install.ForAnotherKernel:
		return Health{State: Foreign, File: look.Damaged, Reason: look.Why}
	case look.Damaged != "":
		return damaged(look.Damaged, look.Why)
	case !m.Fits:
		for _, f := range m.Installed {
			if h := mod.fits(f.Path); !h.OK() {
				return h
			}
		}
	}
	return mod.current()
}

// A build of the original has no record of what was installed. readOriginal
// therefore checks that every built module is for this kernel and has a copy in
// the directory of the kernel.
func (mod *Module) readOriginal() Health {
	files, err := mod.files()
	if err != nil {
		return damaged("", err.Error())
	}
	copies := mod.copies()
	for _, path := range files {
		if h := mod.fits(path); !h.OK() {
			return h
		}
		if !copies.Has(path) {
			return damaged(filepath.Base(path), "is missing in the kernel's directory")
		}
	}
	return Health{State: Ready}
}

// Without a record of what was installed, as where the original has installed
// this build, or where the build was made again and its installation failed,
// readCopies checks that the files in the directory of the kernel are this build.
func (mod *Module) readCopies() Health {
	files, err := mod.files()
	if err != nil {
		return damaged("", err.Error())
	}
	for _, path := range files {
		if !mod.HasSame(path) {
			return damaged(filepath.Base(path), "in the kernel's directory is not this build")
		}
	}
	return Health{State: Ready}
}

// copies finds installed files without a record.
func (mod *Module) copies() install.Copies {
	return mod.f.scans.get(mod.Kernel, func() install.Copies { return install.FindCopies(mod.f.m.Tree, mod.Kernel) })
}

// HasSame tells whether the kernel's directory has a copy of a built file.
func (mod *Module) HasSame(built string) bool { return mod.copies().HasSame(built) }

// files lists the modules of the build in the dkms tree.
func (mod *Module) files() ([]string, error) {
	dir := mod.f.m.Tree.Modules(mod.ID, mod.Target)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		if _, _, ok := module.ParseSuffix(e.Name()); ok {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list, nil
}

// fits checks that a file is a module for the kernel.
func (mod *Module) fits(path string) Health {
	info, err := module.Read(path)
	if err != nil {
		return damaged(path, "is damaged")
	}
	if !kernel.MadeFor(mod.Arch, info.Machine, info.Data) {
		return Health{State: Foreign, File: path, Reason: fmt.Sprintf("was built for %s", info.Machine)}
	}
	if info.Release() != mod.Kernel {
		return Health{State: Foreign, File: path, Reason: fmt.Sprintf("was built for kernel %q", info.Release())}
	}
	return Health{State: Ready}
}

// current checks that the inputs of the build have not changed.
func (mod *Module) current() Health {
	if why := mod.headersChanged(); why != "" {
		return Health{State: Outdated, Reason: why}
	}
	switch changed, err := mod.sourcesChanged(); {
	case err != nil:
		return Health{State: Ready, Reason: "whether its sources have changed is not known: " + err.Error()}
	case changed:
		if why, hint := heldBack(mod.f, mod.Subject); why != "" {
			return Health{State: Ready, Reason: "its sources have changed; a build of them " + strings.TrimPrefix(why, mod.Version+" "), Hint: hint}
		}
		return Health{State: Outdated, Reason: SourcesChanged}
	}
	return Health{State: Ready}
}

// Outdated says why the build is out of date, or is empty.
func (mod *Module) Outdated() string {
	if mod.Manifest == nil {
		return ""
	}
	if h := mod.current(); !h.OK() {
		return h.Reason
	}
	return ""
}

// headersChanged says that the headers of the kernel have changed, under the
// same release, since the build was made: the symbol versions of the build may
// not fit any more. If the headers are gone, headersChanged uses the record of
// the last failed rebuild.
func (mod *Module) headersChanged() string {
	m, k := mod.Manifest, mod.f.kernel(mod.Target)
	switch {
	case m.Headers == "" || k.stamp == m.HeadersStamp:
	case k.stamp.Missing():
		if f := mod.f.m.Tree.Failure(mod.ID, mod.Target); f != nil && f.Time.After(m.Built) {
			return f.Outdated
		}
	case k.inputs() != m.Headers:
		return HeadersChanged
	}
	return ""
}

// sourcesChanged tells whether the sources have changed since the build was
// made. Builds that were made elsewhere, or by earlier releases, do not record
// their sources. An error says that sources with other times than those of the
// build cannot be read.
func (mod *Module) sourcesChanged() (bool, error) {
	if mod.Manifest.Sources == "" || mod.State != tree.Added {
		return false, nil
	}
	return mod.changedSince(mod.Manifest.Sources, mod.Manifest.SourcesStamp)
}

// changedSince tells whether the sources have another digest than they had at
// some time.
func (mod *Module) changedSince(digest string, stamp uint64) (bool, error) {
	s := sourcesOf(mod.f, mod.Subject)
	if now, err := s.stamp(); err == nil && now == stamp {
		return false, nil
	}
	now, err := s.digest()
	return now != digest, err
}

// sourceFacts are the facts about the sources of a version.
type sourceFacts struct {
	stamp  func() (uint64, error)
	digest func() (string, error)
}

// sourcesOf looks once at sources that several kernels share.
func sourcesOf(f *Facts, s Subject) *sourceFacts {
	sources := build.SourcesOf(f.m.Tree, s.ID, s.Target, f.etc)
	return f.sources.get(sources.Key(), func() *sourceFacts {
		return &sourceFacts{sync.OnceValues(sources.Stamp), sync.OnceValues(sources.Digest)}
	})
}

// readBuild checks the build in the dkms tree.
func (mod *Module) readBuild() Health {
	switch m := mod.Manifest; {
	case !mod.Built:
		return Health{State: Missing, Reason: "not built"}
	case mod.ManifestErr != nil:
		return damaged("", mod.ManifestErr.Error())
	case m == nil:
		return mod.readable()
	case m.Unfinished:
		return damaged("", "its POST_BUILD did not come to its end")
	default:
		if file, why := install.Altered(mod.f.m.Tree, m); file != "" {
			if _, err := module.Read(file); err != nil && why == install.Changed {
				why = "is damaged"
			}
			return damaged(file, why)
		}
		if !m.Fits {
			if h := mod.readable(); !h.OK() {
				return h
			}
		}
		return mod.current()
	}
}

// readable checks that every module of the build is readable and for the
// kernel.
func (mod *Module) readable() Health {
	files, err := mod.files()
	if err != nil {
		return damaged("", err.Error())
	}
	for _, path := range files {
		if h := mod.fits(path); !h.OK() {
			return h
		}
	}
	return Health{State: Ready}
}
