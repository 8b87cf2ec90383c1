// Package lint checks the sources of a module package for their author: the
// dkms.conf, and the files it refers to.
//
// It guarantees that it changes nothing, that every remark names a file and, where
// there is one, the line, and that an error is something that keeps the
// package, or a part of it, from working somewhere.
package lint

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Remark is one finding about one file. The JSON names are an interface; see
// dkms-json(5).
type Remark struct {
	File string `json:"file"`
	// Line is 0 where the remark is about something that is missing.
	Line int `json:"line"`
	// Error says that the finding is an error and not only bad style.
	Error bool   `json:"error"`
	Text  string `json:"text"`
}

// String returns the form that editors parse: "path:line: error: text".
func (r Remark) String() string {
	where, kind := r.File, "warning"
	if r.Line > 0 {
		where = fmt.Sprintf("%s:%d", r.File, r.Line)
	}
	if r.Error {
		kind = "error"
	}
	return where + ": " + kind + ": " + r.Text
}

// Package is a source directory with the result of evaluating its dkms.conf.
type Package struct {
	// Dir is the directory of the sources, File the dkms.conf.
	Dir, File string
	// Result is the result of evaluating the configuration for Target.
	Result conf.Result
	Target conf.Target
	// Run starts patch(1); patches are not tried without it. Tmp is where the
	// copy of the sources for that is made.
	Run *system.Runner
	Tmp string
}

// linter is one check of a package.
type linter struct {
	Package
	text    string
	assigns []assignment
	remarks []Remark
}

// Check returns the remarks about p, sorted by file and line.
func Check(ctx context.Context, p Package) ([]Remark, error) {
	text, err := system.ReadOwn(p.File, conf.MaxText)
	if err != nil {
		return nil, exit.Errorf(exit.NoConf, "%w", err)
	}
	l := &linter{Package: p, text: string(text), assigns: assignments(string(text))}
	l.evaluation()
	l.names()
	l.lines()
	l.autoinstall()
	if m := p.Result.Conf; m != nil {
		l.commands(m)
		l.hooks(m)
		l.patches(ctx, m)
		l.makefiles(m)
		l.limits(m)
		l.releases("PATCH_MATCH", m.PatchMatch)
		l.releases("MAKE_MATCH", m.MakeMatch)
		l.releases("BUILD_EXCLUSIVE_KERNEL", m.Exclusive.Kernel)
		l.moduleVersion()
	}
	slices.SortStableFunc(l.remarks, func(a, b Remark) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Text, b.Text))
	})
	return slices.Compact(l.remarks), nil
}

func (l *linter) errorf(line int, format string, args ...any) {
	l.remarks = append(l.remarks, Remark{l.File, line, true, fmt.Sprintf(format, args...)})
}

func (l *linter) warnf(line int, format string, args ...any) {
	l.remarks = append(l.remarks, Remark{l.File, line, false, fmt.Sprintf(format, args...)})
}

// evaluation turns the findings of the configuration's reader into remarks.
func (l *linter) evaluation() {
	res := l.Result
	if res.Err != nil {
		l.said(res.Err.Error(), l.errorf)
		return
	}
	if err := res.Conf.CheckStrict(); err != nil {
		l.said(err.Error(), l.errorf)
	}
	l.said(strings.Join(res.Conf.Broken, "\n"), l.errorf)
	warnings := slices.DeleteFunc(slices.Concat(res.Conf.Deprecated, res.Conf.Warnings), func(w string) bool {
		return slices.Contains(res.Conf.Broken, w)
	})
	l.said(strings.Join(warnings, "\n"), l.warnf)
}

// said parses messages about the file, one on each line: "path: text" or
// "path:line: text". A message without a line number gets the line that sets
// the name with which its text begins.
func (l *linter) said(text string, remark func(int, string, ...any)) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		rest, _ := strings.CutPrefix(line, l.File+":")
		number := 0
		if n, err := fmt.Sscanf(rest, "%d:", &number); n == 1 && err == nil {
			_, rest, _ = strings.Cut(rest, ":")
		} else {
			number = l.lineOf(strings.TrimSpace(rest))
		}
		remark(number, "%s", strings.TrimSpace(rest))
	}
}

// autoinstall checks for AUTOINSTALL, without which a package is built only by
// hand.
func (l *linter) autoinstall() {
	if l.assigned("AUTOINSTALL") == 0 {
		l.warnf(0, "AUTOINSTALL is not set: the package is not built for new kernels")
	}
}

// hooks checks that the scripts exist.
func (l *linter) hooks(m *conf.Module) {
	for _, h := range []struct{ name, line string }{
		{"POST_ADD", m.PostAdd}, {"PRE_BUILD", m.PreBuild}, {"POST_BUILD", m.PostBuild},
		{"PRE_INSTALL", m.PreInstall}, {"POST_INSTALL", m.PostInstall}, {"POST_REMOVE", m.PostRemove},
	} {
		words := strings.Fields(h.line)
		if len(words) == 0 {
			continue
		}
		file := filepath.Join(l.Dir, words[0])
		switch {
		case !system.IsFile(file):
			l.errorf(l.assigned(h.name), "%s: there is no %s, and nothing is run", h.name, words[0])
		case !system.IsExecutable(file):
			l.errorf(l.assigned(h.name), "%s: %s is not executable, and is not run", h.name, words[0])
		}
	}
}
