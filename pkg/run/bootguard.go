package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"dkms/pkg/boot"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// bootGuard keeps the last good kernel the default of the boot loader while the
// kernel that would start has no working build of an essential module.
type bootGuard struct {
	*machine.Machine
	w      *machine.Writer
	record *machine.BootGuard
	// loader is the default of the boot loader, or nil with the reason in fixed.
	loader *boot.Default
	fixed  *boot.Fixed
	// danger is what would start without the guard.
	danger machine.Danger
}

// move is what the guard does next.
type move int

const (
	stay   move = iota
	hold        // make danger.Entry the default
	lift        // make the default what it was before
	leave       // somebody has chosen another default
	forget      // the record tells of nothing any more
)

// guardBoot does what the guard has to do at the end of a run. Its own trouble is
// only a warning: the modules are what the run is about.
func guardBoot(ctx context.Context, m *machine.Machine, w *machine.Writer) {
	if ctx.Err() != nil || w.Tree.Nested() {
		return
	}
	for range 3 { // to forget a record and then to hold anew takes two moves
		facts, err := m.Facts()
		var g *bootGuard
		if err == nil {
			g, err = newBootGuard(ctx, m, facts)
		}
		if err != nil {
			m.Report.Warnf("boot guard: %v", err)
		}
		if g == nil {
			return
		}
		g.w = w
		next := g.next()
		if err := g.make(next); err != nil {
			m.Report.Warnf("boot guard: %v", err)
			return
		}
		if next == stay || next == hold {
			return
		}
	}
}

// BootGuard has the boot guard do what it has to do, and nothing else.
func BootGuard(ctx context.Context, m *machine.Machine) error {
	facts, err := m.Facts()
	if err != nil || switchedOff(m) || !guardWaits(ctx, m, facts) {
		return err
	}
	return transact(ctx, m, "boot_guard", Options{}, func(*machine.Writer) error { return nil })
}

// guardWaits tells whether a run that has nothing else to do has to start for the
// guard.
func guardWaits(ctx context.Context, m *machine.Machine, facts *machine.Facts) bool {
	g, err := newBootGuard(ctx, m, facts)
	return err == nil && g != nil && g.next() != stay
}

// newBootGuard finds out what would start. It is nil where there is nothing to be
// guarded.
func newBootGuard(ctx context.Context, m *machine.Machine, facts *machine.Facts) (*bootGuard, error) {
	record, err := machine.ReadBootGuard(m)
	if err != nil || record == nil && !m.Framework.BootGuard || m.Host.Image || m.Host.InChroot() {
		return nil, err
	}
	g := &bootGuard{Machine: m, record: record}
	g.loader, err = boot.FindDefault(m.Host)
	g.fixed, _ = errors.AsType[*boot.Fixed](err)
	if g.loader == nil {
		g.danger = machine.FindDanger(ctx, facts, nil, "")
		return g, nil
	}
	value := g.loader.Value
	if g.ours() {
		value = record.Before
	}
	g.danger = machine.FindDanger(ctx, facts, g.loader, value)
	return g, nil
}

// ours tells whether the default is the one that the guard has set.
func (g *bootGuard) ours() bool {
	r := g.record
	return r.Holds() && g.loader.Place == r.Place && (g.loader.Value == r.Value || r.Former != "" && g.loader.Value == r.Former)
}

// next decides. It depends on nothing but the record, the default and the danger,
// so that a run after a crash goes on where that one has stopped.
func (g *bootGuard) next() move {
	r := g.record
	switch {
	case g.loader == nil:
		return stay
	case r == nil:
		if g.Framework.BootGuard && g.danger.Kernel != "" && g.danger.Entry != "" && g.danger.Entry != g.loader.Value {
			return hold
		}
		return stay
	case r.Phase == machine.GuardLeft:
		if g.loader.Value != r.Value || g.danger.Kernel != r.Instead || !g.Framework.BootGuard {
			return forget
		}
		return stay
	case !g.ours():
		// A value from before may be that of a tool that has written the file anew,
		// or of a run that was interrupted. Who chooses a kernel names it.
		if g.loader.Value == r.Before && (r.Phase != machine.GuardHolding || !g.loader.Lasting) {
			return forget
		}
		return leave
	case g.danger.Kernel == "" || !g.Framework.BootGuard || r.Phase == machine.GuardLifting:
		return lift
	case g.danger.Good == "":
		if g.loader.Entry(r.Kernel) == "" { // its kernel is gone
			return lift
		}
		return stay
	case g.danger.Entry != r.Value || r.Phase == machine.GuardSetting || g.danger.Kernel != r.Instead || g.lacksFile():
		return hold
	}
	return stay
}

// make makes a move. The record is on disk before the default changes.
func (g *bootGuard) make(next move) error {
	if next != stay {
		g.sweep()
	}
	switch next {
	case hold:
		return g.hold()
	case lift:
		return g.lift()
	case leave:
		return g.leave()
	case forget:
		return g.release()
	}
	return g.warn()
}

func (g *bootGuard) hold() error {
	r := &machine.BootGuard{
		Phase: machine.GuardSetting, Since: g.Host.Now().UTC(), Loader: g.loader.Loader, Place: g.loader.Place, Before: g.loader.Value,
		Value: g.danger.Entry, Kernel: g.danger.Good, Instead: g.danger.Kernel, Modules: g.danger.Modules, Kept: []string{},
	}
	if g.record.Holds() {
		r.Before, r.Kept = g.record.Before, g.record.Kept
		if g.loader.Value != r.Value {
			r.Former = g.loader.Value
		}
	}
	again := g.record.Holds() && g.record.Kernel == r.Kernel && g.record.Phase == machine.GuardHolding
	write := g.keep(r)
	if err := g.w.SaveGuard(r); err != nil {
		return err
	}
	if err := write(); err != nil {
		g.Report.Warnf("boot guard: the package manager is not told to keep %s: %v", r.Kernel, err)
	}
	if err := g.set(r.Value, r.Kernel); err != nil {
		return errors.Join(err, g.giveUp(r))
	}
	r.Phase, r.Former = machine.GuardHolding, ""
	if err := g.w.SaveGuard(r); err != nil || again {
		return err
	}
	g.say(report.Warning, "guard", r, fmt.Sprintf("%s now starts %s: %s has no working build of %s (%s); that is undone as soon as there is one",
		r.Loader, r.Kernel, r.Instead, r.Names(), r.Modules[0].Essential))
	if word := g.unkept(r.Kernel); word != "" && len(r.Kept) == 0 {
		g.Report.Warnf("%s", word)
	}
	return nil
}

// set changes the default, unless it is that already, and looks at what the boot
// loader makes of it. An empty release stands for any.
func (g *bootGuard) set(value, release string) error {
	if g.loader.Value != value {
		if err := g.loader.Set(value); err != nil {
			return err
		}
	}
	now, err := boot.FindDefault(g.Host)
	if err == nil && release != "" && now.Release != release {
		err = fmt.Errorf("%s is %q, and does not start %s", now.Place, now.Value, release)
	}
	return err
}

// giveUp puts everything back after the default could not be set. If it cannot be
// put back, the record stays for the next run.
func (g *bootGuard) giveUp(r *machine.BootGuard) error {
	back := r.Before
	if r.Former != "" {
		back = r.Former
	}
	now, err := boot.FindDefault(g.Host)
	if err == nil && now.Value != back {
		err = now.Set(back)
	}
	if err != nil {
		return err
	}
	if r.Former != "" {
		return g.w.SaveGuard(g.record)
	}
	g.record = r
	return g.release()
}

func (g *bootGuard) lift() error {
	r := *g.record
	r.Phase = machine.GuardLifting
	if err := g.w.SaveGuard(&r); err != nil {
		return err
	}
	if err := g.set(r.Before, ""); err != nil {
		return err
	}
	if err := g.release(); err != nil {
		return err
	}
	release, _ := g.loader.Starts(r.Before)
	why := "every essential module is ready for " + r.Instead
	switch {
	case !g.Framework.BootGuard:
		why = "boot_guard is not set any more"
	case g.danger.Kernel != "":
		why = "the entry of " + r.Kernel + " is gone"
	}
	if release == "" {
		release = "what it started before"
	}
	g.say(report.Progress, "lift", &r, fmt.Sprintf("%s starts %s again: %s", r.Loader, release, why))
	return nil
}

// leave leaves alone what somebody else has set, for as long as it stays.
func (g *bootGuard) leave() error {
	r := *g.record
	kept := r.Kept
	r.Phase, r.Value, r.Kept = machine.GuardLeft, g.loader.Value, []string{}
	if err := errors.Join(unkeep(kept), g.w.SaveGuard(&r)); err != nil {
		return err
	}
	g.say(report.Progress, "lift", &r, fmt.Sprintf("the default of %s was changed since the boot guard made it %s, and is left as it is", r.Loader, r.Kernel))
	return nil
}

// release deletes the record and the files that it names.
func (g *bootGuard) release() error {
	if err := unkeep(g.record.Kept); err != nil {
		return err
	}
	return g.w.SaveGuard(nil)
}

// sweep deletes what a run that was interrupted has left beside the files that the
// guard replaces.
func (g *bootGuard) sweep() {
	var files []string
	if g.loader.File != "" {
		files = append(files, g.loader.File)
	}
	for _, k := range keepers {
		files = append(files, filepath.Join(g.Host.Root.Path(k.dir), k.name))
	}
	for _, file := range files {
		for _, left := range system.Glob(filepath.Dir(file), system.StagePrefix+system.GlobQuote(filepath.Base(file))+".*") {
			os.Remove(left)
		}
	}
}

// warn says what the guard cannot do.
func (g *bootGuard) warn() error {
	switch {
	case g.loader == nil && g.record.Holds():
		g.Report.Warnf("boot guard: what it has changed, %s, cannot be looked at: %s", g.record.Place, g.fixed.Why)
	case g.loader == nil && g.record == nil && g.danger.Kernel != "":
		g.Report.Warnf("boot guard: %s has no working build of an essential module, and the default stays: %s%s", g.danger.Kernel, g.fixed.Why, after("; ", g.fixed.Cure))
	case g.loader != nil && g.record == nil && g.danger.Kernel != "" && g.danger.Good == "":
		g.Report.Warnf("boot guard: %s has no working build of an essential module, and %s has no entry of a kernel with one; its default stays", g.danger.Kernel, g.loader.Loader)
	}
	return nil
}

// after returns text behind word, or "" where text is empty.
func after(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

// say reports a move and puts it on record.
func (g *bootGuard) say(kind report.Kind, step string, r *machine.BootGuard, text string) {
	id := tree.ID{Name: r.Modules[0].Module, Version: r.Modules[0].Version}
	g.w.DidSay(step, id, tree.Target{Kernel: r.Instead}, text)
	g.Report.Emit(report.Event{Kind: kind, Module: id.String(), Kernel: r.Instead, Step: step, Text: "boot guard: " + text})
}
