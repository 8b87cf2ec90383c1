package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dkms/pkg/boot"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// BootGuard is the record of what the boot guard has done to the default of the
// boot loader. It is written before the default is changed.
type BootGuard struct {
	Schema int        `json:"schema"`
	Phase  GuardPhase `json:"phase"`
	Since  time.Time  `json:"since"`
	// Loader and Place are those of [boot.Default].
	Loader string `json:"loader"`
	Place  string `json:"place"`
	// Before is the default that the guard has found, and Value the one that it
	// has set. In the phase [GuardLeft], Value is what somebody else has set.
	Before string `json:"before"`
	Value  string `json:"value"`
	// Kernel is the kernel that the guard keeps the default, and Instead the one
	// that would start without it.
	Kernel  string `json:"kernel"`
	Instead string `json:"instead"`
	// Modules are the essential modules without a working build for Instead.
	Modules []GuardedModule `json:"modules"`
	// Kept are the files that keep package managers from removing Kernel.
	Kept []string `json:"kept"`
	// Former is the default that the guard has set before Value, while it changes
	// from one kernel to another. Only the file has it.
	Former string `json:"-"`
}

// guardFile is the record as a file.
type guardFile struct {
	*BootGuard
	Former string `json:"former,omitempty"`
}

// GuardPhase says how far the guard has come, for the run after a crash.
type GuardPhase string

// These are the phases.
const (
	// GuardSetting: the default is about to be changed.
	GuardSetting GuardPhase = "setting"
	// GuardHolding: the default is ours.
	GuardHolding GuardPhase = "holding"
	// GuardLifting: the default is about to be what it was before.
	GuardLifting GuardPhase = "lifting"
	// GuardLeft: somebody has chosen another default, which is left alone.
	GuardLeft GuardPhase = "left"
)

// GuardedModule is an essential module without a working build.
type GuardedModule struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// State is a [State], and Essential why the module is essential.
	State     State  `json:"state"`
	Essential string `json:"essential"`
}

const guardSchema = 1

// maxGuard bounds the record, in bytes.
const maxGuard = 1 << 20

// guardPath is hidden, so that the original ignores the record.
func guardPath(t *tree.Tree) string { return filepath.Join(t.Dir(), ".boot-guard.json") }

// ReadBootGuard reads the record, or returns nil if there is none.
func ReadBootGuard(m *Machine) (*BootGuard, error) {
	data, err := system.ReadPlain(guardPath(m.Tree), maxGuard)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file := guardFile{BootGuard: &BootGuard{}}
	if err := json.Unmarshal(data, &file); err != nil || file.Schema != guardSchema || len(file.Modules) == 0 {
		return nil, fmt.Errorf("%s: not a record that this program understands", guardPath(m.Tree))
	}
	file.BootGuard.Former = file.Former
	return file.BootGuard, nil
}

// SaveGuard writes the record, or deletes it if it is nil.
func (w *Writer) SaveGuard(g *BootGuard) error {
	path := guardPath(w.Machine.Tree)
	if g == nil {
		return system.RemoveSynced(path)
	}
	g.Schema = guardSchema
	data, err := json.Marshal(guardFile{g, g.Former})
	if err != nil {
		return err
	}
	return system.WriteFile(path, data, 0o644)
}

// Holds tells whether the default is that of the guard, or may be so after a
// crash.
func (g *BootGuard) Holds() bool { return g != nil && g.Phase != GuardLeft }

// Names lists the modules, for people.
func (g *BootGuard) Names() string {
	var list []string
	for _, mod := range g.Modules {
		list = append(list, mod.Module+"/"+mod.Version)
	}
	return strings.Join(list, ", ")
}

// Line says what the guard has done, for people.
func (g *BootGuard) Line() string {
	why := fmt.Sprintf("%s has no working build of %s", g.Instead, g.Names())
	switch g.Phase {
	case GuardLeft:
		return fmt.Sprintf("the default of %s was changed by somebody else and is left as it is, although %s", g.Loader, why)
	case GuardSetting, GuardLifting:
		return fmt.Sprintf("a change of the default of %s is not at its end; the next run of dkms goes on with it", g.Loader)
	}
	return fmt.Sprintf("%s was made the default of %s, because %s", g.Kernel, g.Loader, why)
}

// Danger is what a start without the guard leads to.
type Danger struct {
	// Kernel is the kernel that starts next, or will as the newest one, although
	// it lacks a working build of Modules. It is empty if there is no danger.
	Kernel  string
	Modules []GuardedModule
	// Good is the newest kernel with working builds of all essential modules, and
	// Entry the loader's name of it. They are empty if there is none.
	Good, Entry string
}

// FindDanger tells whether the machine would start a kernel without a working build
// of an essential module, if the default of its loader had a value. Without a
// default that can be set, it looks at the kernel that boots next.
func FindDanger(ctx context.Context, f *Facts, d *boot.Default, value string) Danger {
	var images []string
	for _, k := range f.Boot().Kernels {
		if k.Image != "" {
			images = append(images, k.Release)
		}
	}
	if len(images) == 0 {
		return Danger{}
	}
	var found Danger
	release, lasting := nextStarts(f.Boot().Next), false
	if d != nil {
		release, lasting = d.Starts(value)
	}
	for _, k := range []string{release, images[len(images)-1]} {
		if found.Kernel != "" || !slices.Contains(images, k) || k != release && lasting {
			continue
		}
		if bad := lacking(ctx, f, k); len(bad) > 0 {
			found.Kernel, found.Modules = k, bad
		}
	}
	if found.Kernel == "" || d == nil {
		return found
	}
	for _, k := range slices.Backward(images) {
		if entry := d.Entry(k); entry != "" && len(lacking(ctx, f, k)) == 0 {
			found.Good, found.Entry = k, entry
			break
		}
	}
	return found
}

// nextStarts is the kernel of all starts but the next one, which may be for once.
func nextStarts(n boot.Next) string {
	if n.Once {
		return n.Then
	}
	return n.Release
}

// lacking lists the essential modules without a working build for a kernel.
func lacking(ctx context.Context, f *Facts, release string) []GuardedModule {
	return f.lacking.get(release, func() []GuardedModule {
		t := targetOf(f.m, release)
		good := map[string]bool{}
		first := map[string]GuardedModule{}
		var names []string
		for _, v := range f.Verdicts(ctx, t) {
			why := Essential(ctx, f, Subject{v.ID, t})
			if why == "" {
				continue
			}
			if _, known := first[v.Name]; !known {
				names = append(names, v.Name)
				first[v.Name] = GuardedModule{v.Name, v.Version, v.State, why}
			}
			good[v.Name] = good[v.Name] || works(ctx, f, v, t)
		}
		var list []GuardedModule
		for _, name := range names {
			if !good[name] {
				list = append(list, first[name])
			}
		}
		return list
	})
}

// works tells whether a kernel can use a module at its next start. That asks for
// less than [Health.OK]: a build of earlier sources works, too, and the kernel
// may have a module of the same name of its own.
func works(ctx context.Context, f *Facts, v Verdict, t tree.Target) bool {
	mod := f.Module(Subject{v.ID, t})
	switch v.State {
	case Ready:
		return true
	case Outdated:
		return v.Reason == SourcesChanged
	case Stale:
		return strings.HasPrefix(v.Reason, anotherBuild)
	case Unwanted:
		return mod.Active && mod.Installed().OK()
	case Excluded:
		var names []string
		if res := f.Conf(ctx, mod.Subject); res.Err == nil {
			for _, r := range res.Conf.Records {
				names = append(names, kernel.Underscored(r.DestName))
			}
		}
		return kernel.Provides(f.m.Kernel(t).ModuleDir(), names)
	}
	return false
}
