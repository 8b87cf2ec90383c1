package run

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/draft"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
)

// Init writes the dkms.conf of the sources in a directory, and their Makefile
// where there is none. word is the directory as the caller names it. It
// overwrites nothing, and writes all files or none.
func Init(ctx context.Context, m *machine.Machine, word string, o Options) error {
	dir := m.Host.Abs(word)
	if !system.IsDir(dir) {
		return exit.Errorf(exit.Usage, "%s: no such directory", word)
	}
	file := filepath.Join(word, "dkms.conf")
	if _, err := os.Lstat(m.Host.Abs(file)); err == nil {
		return exit.Errorf(exit.Usage, "%s is there already, and is not overwritten", file).
			WithHint("dkms lint %s judges it; move it away to have one written", word)
	}
	d, err := draft.Of(dir, func() string { return lastTag(ctx, m, dir) })
	if err != nil {
		return err
	}
	if err := writeDraft(m, word, d, o.DryRun); err != nil {
		return err
	}
	for _, note := range d.Notes {
		m.Report.Progressf("%s", note)
	}
	if !o.DryRun {
		sayNext(m, word, d)
	}
	return nil
}

// writeDraft writes the files, or prints them in a dry run.
func writeDraft(m *machine.Machine, word string, d *draft.Draft, dry bool) (err error) {
	var written []string
	defer func() {
		if err != nil {
			for _, path := range written {
				os.Remove(path)
			}
		}
	}()
	for _, f := range d.Files {
		if dry {
			would(m, "write %s:\n%s", filepath.Join(word, f.Name), strings.TrimSuffix(f.Text, "\n"))
			continue
		}
		path := m.Host.Abs(filepath.Join(word, f.Name))
		if err = writeNew(path, f.Text); err != nil {
			return err
		}
		written = append(written, path)
	}
	return nil
}

// writeNew writes a file that must not be there.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o644))
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// sayNext tells what was written, and the next step.
func sayNext(m *machine.Machine, word string, d *draft.Draft) {
	var names []string
	for _, f := range d.Files {
		names = append(names, filepath.Join(word, f.Name))
	}
	what := "the module is " + d.Modules[0]
	if len(d.Modules) > 1 {
		what = "the modules are " + strings.Join(d.Modules, ", ")
	}
	sudo := ""
	if m.Host.UID != 0 {
		sudo = "sudo "
	}
	m.Report.Emit(report.Event{
		Kind: report.Done, Text: d.Name + "/" + d.Version + ": wrote " + strings.Join(names, " and ") + "; " + what,
		Err: exit.Errorf(exit.OK, "written").WithHint("dkms lint %s && %sdkms install %s", word, sudo, word),
	})
}

// lastTag returns the last tag of the git repository that a directory is in, or
// "".
func lastTag(ctx context.Context, m *machine.Machine, dir string) string {
	if !m.Run.Has("git") {
		return ""
	}
	var out bytes.Buffer
	cmd := system.Cmd{Argv: []string{"git", "describe", "--tags", "--abbrev=0"}, Dir: dir, Stdout: &out}
	if m.Run.Run(ctx, cmd) != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}
