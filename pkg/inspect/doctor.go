package inspect

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Finding is one fault of the machine. The JSON names are an interface; see
// dkms-json(5).
type Finding struct {
	// Check is the name of the check that found it.
	Check string `json:"check"`
	// Text says what was found, Cure how to repair it.
	Text string `json:"text"`
	Cure string `json:"cure"`
	// Fixable says that --fix repairs it.
	Fixable bool `json:"fixable"`

	fix *machine.Cure
}

// doctorSchema is the version of the JSON that doctor prints.
const doctorSchema = 1

// doctor is one examination of the machine.
type doctor struct {
	*teller
	// force makes --fix also reinstall modules, which may build them.
	force bool
	// versions are the registered versions; targets are the kernels to examine.
	versions []tree.Version
	targets  []tree.Target
	found    []Finding
	// distrusted are the modules whose signatures do not count.
	distrusted []distrusted
}

func (d *doctor) add(check, cure string, fix *machine.Cure, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	d.found = append(d.found, Finding{Check: check, Text: text, Cure: strings.ReplaceAll(cure, "\n", "; "), Fixable: fix != nil, fix: fix})
}

// Examine looks for faults and says how to repair them. Every finding needs an
// administrator's attention. force makes --fix also reinstall modules.
func Examine(ctx context.Context, m *machine.Machine, choice machine.Choice, force bool) ([]Finding, error) {
	t, err := newTeller(m, Query{Choice: choice})
	if err != nil {
		return nil, err
	}
	d := &doctor{teller: t, force: force}
	if d.versions, err = m.Tree.All(); err != nil {
		return nil, err
	}
	if d.targets, err = m.Targets(choice, d.teller.kernels); err != nil {
		return nil, err
	}
	for _, look := range []func(context.Context){
		d.programs, d.headers, d.compilers, d.modules, d.sources, d.missing, d.configurations, d.journal, d.indexes,
		d.removedKernels, d.temporary, d.key, d.space, d.rivals, d.service, d.bootGuard,
	} {
		if look(ctx); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return d.found, nil
}

// Cures returns the repairs that --fix makes for the findings.
func Cures(found []Finding) []machine.Cure {
	var list []machine.Cure
	for _, f := range found {
		if f.fix != nil {
			list = append(list, *f.fix)
		}
	}
	return list
}

// Gone returns the findings of before that are not in after.
func Gone(before, after []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(before), func(f Finding) bool {
		return slices.ContainsFunc(after, func(g Finding) bool { return f.Check == g.Check && f.Text == g.Text })
	})
}

// Prescription says how findings are printed.
type Prescription struct {
	// JSON prints the findings as JSON. Fix and DryRun are the options of the
	// command.
	JSON, Fix, DryRun bool
}

// Tell prints the findings. The status is 0 without findings and 11 otherwise.
func (p Prescription) Tell(m *machine.Machine, found []Finding) (exit.Code, error) {
	code := exit.OK
	if len(found) > 0 {
		code = exit.SomeFailed
	}
	if p.JSON {
		return code, m.Report.JSON(map[string]any{"schema": doctorSchema, "findings": append([]Finding{}, found...)})
	}
	fixable := 0
	for _, f := range found {
		line := f.Check + ": " + f.Text
		if f.Cure != "" {
			line += " (" + f.Cure + ")"
		}
		if f.Fixable && p.Fix && p.DryRun {
			line = "would fix " + line
		}
		if f.Fixable {
			fixable++
		}
		m.Report.Result(line)
	}
	switch {
	case len(found) == 0:
		m.Report.Result("nothing is wrong")
	case fixable > 0 && !p.Fix:
		m.Report.Progressf("dkms doctor --fix does %d of these %d", fixable, len(found))
	}
	return code, nil
}

// hasKernel reports whether a module directory belongs to a kernel or to
// headers. Otherwise only modules of this program are left in the directory.
func (d *doctor) hasKernel(release string) bool {
	dir := filepath.Join(d.Host.Root.InstallTree(), release)
	if !system.IsDir(dir) {
		return false
	}
	for _, name := range []string{"kernel", "modules.order", "modules.builtin", "build", "source", "vmlinuz"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return release == d.Host.Release || system.IsFile(d.Host.Root.Path("/boot/vmlinuz-"+release))
}

// registered reports whether any module is registered.
func (d *doctor) registered() bool { return len(d.versions) > 0 }

// withHeaders returns the kernels for which modules can be built.
func (d *doctor) withHeaders() []*kernel.Kernel {
	var list []*kernel.Kernel
	for _, t := range d.targets {
		if k := d.Kernel(t); k.HasHeaders() {
			list = append(list, k)
		}
	}
	return list
}
