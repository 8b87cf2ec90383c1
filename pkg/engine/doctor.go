package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Finding is something that is not as it should be. The JSON names are an
// interface; see dkms(8).
type Finding struct {
	// Check is what was looked at, in a word.
	Check string `json:"check"`
	// Text says what was found, Cure what to do about it.
	Text string `json:"text"`
	Cure string `json:"cure"`
	// Fixable says that --fix does it.
	Fixable bool `json:"fixable"`

	fix func(context.Context) error
}

// doctorSchema is the version of the JSON that doctor prints.
const doctorSchema = 1

// doctor is one look at the machine.
type doctor struct {
	*Engine
	req *Request
	// versions is what is registered; kernels are those to look at.
	versions []tree.Version
	kernels  []tree.Target
	found    []Finding
}

func (d *doctor) add(check, cure string, fix func(context.Context) error, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	d.found = append(d.found, Finding{Check: check, Text: text, Cure: strings.ReplaceAll(cure, "\n", "; "), Fixable: fix != nil, fix: fix})
}

// doctor looks for what is known to go wrong, without the network, and says
// what cures it. With --fix it does what cannot do harm. The status is 0 when
// nothing is left to do, and 11 otherwise.
func (e *Engine) doctor(ctx context.Context, req *Request) (exit.Code, error) {
	found, err := e.examine(ctx, req)
	if err != nil {
		return 0, err
	}
	if req.Fix && !req.DryRun && slices.ContainsFunc(found, func(f Finding) bool { return f.Fixable }) {
		if err := e.heal(ctx, req, found); err != nil {
			return 0, err
		}
		before := found
		if found, err = e.examine(ctx, req); err != nil {
			return 0, err
		}
		for _, f := range before {
			if !slices.ContainsFunc(found, func(g Finding) bool { return f.Check == g.Check && f.Text == g.Text }) {
				e.report.Emit(report.Event{Kind: report.Done, Step: "fix", Text: "fixed: " + f.Text})
			}
		}
	}
	code := exit.OK
	if len(found) > 0 {
		code = exit.SomeFailed
	}
	if req.JSON {
		return code, e.resultJSON(map[string]any{"schema": doctorSchema, "findings": append([]Finding{}, found...)})
	}
	e.prescribe(req, found)
	return code, nil
}

// prescribe prints a line for everything that was found.
func (e *Engine) prescribe(req *Request, found []Finding) {
	fixable := 0
	for _, f := range found {
		line := fmt.Sprintf("%s: %s (%s)", f.Check, f.Text, f.Cure)
		if f.Fixable && req.Fix && req.DryRun {
			line = "would fix " + line
		}
		if f.Fixable {
			fixable++
		}
		e.report.Result(line)
	}
	switch {
	case len(found) == 0:
		e.report.Result("nothing is wrong")
	case fixable > 0 && !req.Fix:
		e.report.Progressf("dkms doctor --fix does %d of these %d", fixable, len(found))
	}
}

// heal does what is safe, as the only writer of the tree. What an interrupted
// run has left is settled on the way to the lock.
func (e *Engine) heal(ctx context.Context, req *Request, found []Finding) error {
	return e.locking(ctx, req, func() error {
		for _, f := range found {
			if !f.Fixable {
				continue
			}
			if err := f.fix(ctx); err != nil {
				e.report.Warnf("%s: not fixed: %v", f.Text, err)
			}
		}
		return e.runDepmod(ctx, req)
	})
}

func (e *Engine) examine(ctx context.Context, req *Request) ([]Finding, error) {
	d := &doctor{Engine: e, req: req}
	var err error
	if d.versions, err = e.tree.All(); err != nil {
		return nil, err
	}
	if d.kernels, err = e.targets(req, d.present); err != nil {
		return nil, err
	}
	for _, look := range []func(context.Context){
		d.programs, d.headers, d.compilers, d.modules, d.sources, d.journal, d.indexes,
		d.removedKernels, d.temporary, d.key, d.space, d.rivals, d.service,
	} {
		if look(ctx); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return d.found, nil
}

// present are the kernels of this machine, the oldest first.
func (d *doctor) present() ([]string, error) {
	entries, _ := os.ReadDir(d.host.Root.InstallTree())
	var list []string
	for _, entry := range entries {
		if system.PlainName(entry.Name()) && d.hasKernel(entry.Name()) {
			list = append(list, entry.Name())
		}
	}
	slices.SortFunc(list, version.Natural)
	return list, nil
}

// hasKernel tells a module directory that belongs to a kernel, or to headers,
// from one that only modules of ours are left in.
func (d *doctor) hasKernel(release string) bool {
	dir := filepath.Join(d.host.Root.InstallTree(), release)
	if !system.IsDir(dir) {
		return false
	}
	for _, name := range []string{"kernel", "modules.order", "modules.builtin", "build", "source", "vmlinuz"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return release == d.host.Release || system.IsFile(d.host.Root.Path("/boot/vmlinuz-"+release))
}

// registered tells whether there is anything to build.
func (d *doctor) registered() bool { return len(d.versions) > 0 }

// withHeaders are the kernels that modules can be built for.
func (d *doctor) withHeaders() []*kernel.Kernel {
	var list []*kernel.Kernel
	for _, t := range d.kernels {
		if k := d.kernel(t); k.HasHeaders() {
			list = append(list, k)
		}
	}
	return list
}

// installCommand installs a package of a distribution.
func installCommand(distribution, pkg string) string {
	for _, word := range strings.Fields(distribution) {
		switch word {
		case "debian", "ubuntu":
			return "apt-get install " + pkg
		case "fedora", "rhel", "centos":
			return "dnf install " + pkg
		case "suse", "opensuse", "sles":
			return "zypper install " + pkg
		case "arch":
			return "pacman -S " + pkg
		case "alpine":
			return "apk add " + pkg
		case "void":
			return "xbps-install " + pkg
		}
	}
	return "install the package " + pkg
}

// ownerCommand tells which package of a distribution a file belongs to.
func ownerCommand(distribution, file string) string {
	for _, word := range strings.Fields(distribution) {
		switch word {
		case "debian", "ubuntu":
			return "dpkg -S " + file
		case "fedora", "rhel", "centos", "suse", "opensuse", "sles":
			return "rpm -qf " + file
		case "arch":
			return "pacman -Qo " + file
		case "alpine":
			return "apk info --who-owns " + file
		case "void":
			return "xbps-query -o " + file
		case "gentoo":
			return "qfile " + file
		}
	}
	return ""
}
