package fleet

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/archive"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Tarball describes the archive that mktarball writes.
type Tarball struct {
	ID tree.ID
	// Builds are the kernels whose builds are included.
	Builds []tree.Target
	// Conf is the dkms.conf to read instead of the one in the sources.
	Conf string
	// Target is the kernel that the dkms.conf is read for.
	Target tree.Target
	// BinariesOnly omits the sources, SourceOnly the builds.
	BinariesOnly, SourceOnly bool
	// Path is the file to write. A bare name goes into the dkms tree; an empty
	// Path stands for a generated name in the dkms tree.
	Path string
}

// WriteTarball writes the sources and builds of a version into an archive that
// ldtarball, ours or the original's, can load on another machine. With dry it
// only reports what it would write.
func WriteTarball(ctx context.Context, m *machine.Machine, t Tarball, dry bool) error {
	switch m.Tree.State(t.ID) {
	case tree.Broken:
		return m.Broken(t.ID)
	case tree.Absent:
		return m.NotRegistered(t.ID.String())
	}
	content, err := t.content(ctx, m)
	if err != nil {
		return err
	}
	path := filepath.Join(m.Tree.VersionDir(t.ID), "tarball", archive.FileName(content))
	if t.Path != "" {
		path = filepath.Join(filepath.Dir(path), t.Path)
		if strings.Contains(t.Path, "/") {
			path = m.Host.Abs(t.Path)
		}
	}
	if dry {
		m.Report.Result(fmt.Sprintf("would write %s: %s", path, contents(content)))
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return exit.Errorf(exit.ArchiveDest, "%w", err)
	}
	if unix.Access(filepath.Dir(path), unix.W_OK) != nil {
		return exit.Errorf(exit.ArchiveDest, "%s is not writable", filepath.Dir(path))
	}
	if err := archive.Write(ctx, m.Run, path, content); err != nil {
		return err
	}
	m.Report.Emit(report.Event{Kind: report.Done, Module: t.ID.String(), Step: "mktarball", Text: fmt.Sprintf("%s: written to %s", t.ID, path)})
	return nil
}

// contents describes the content of an archive for messages.
func contents(c archive.Content) string {
	var list []string
	if c.SourceDir != "" {
		list = append(list, "the sources")
	}
	for _, b := range c.Builds {
		list = append(list, "the build for "+tree.Target{Kernel: b.Kernel, Arch: b.Arch}.String())
	}
	return strings.Join(list, ", ")
}

func (t Tarball) content(ctx context.Context, m *machine.Machine) (archive.Content, error) {
	c := archive.Content{Name: t.ID.Name, Version: t.ID.Version}
	file := m.Tree.Conf(t.ID)
	if t.Conf != "" {
		file = m.Host.Abs(t.Conf)
	}
	if _, err := m.Conf(ctx, machine.Subject{ID: t.ID, Target: t.Target}, file); err != nil {
		return c, err
	}
	var err error
	if !t.BinariesOnly {
		c.SourceDir = m.Tree.SourceLink(t.ID)
	} else if c.Conf, err = system.ReadOwn(file, conf.MaxText); err != nil {
		return c, exit.Errorf(exit.NoConf, "%w", err)
	}
	if t.SourceOnly {
		return c, nil
	}
	for _, k := range t.Builds {
		if !m.Tree.IsBuilt(t.ID, k) {
			return c, exit.Errorf(exit.NotBuilt, "%s is not built for %s", t.ID, k).
				WithHint("dkms build %s -k %s, or use --source-only", t.ID, k.Kernel)
		}
		c.Builds = append(c.Builds, archive.Build{Kernel: k.Kernel, Arch: k.Arch, Dir: m.Tree.BuildDir(t.ID, k)})
	}
	return c, nil
}

// Unpacked is an archive unpacked into a private directory.
type Unpacked struct {
	archive.Layout
	dir string
}

// OpenTarball unpacks an archive; the path "-" stands for input. The caller
// must call Close.
func OpenTarball(ctx context.Context, m *machine.Machine, path string, input io.Reader) (*Unpacked, error) {
	dir, err := os.MkdirTemp(m.Framework.TmpLocation, "dkms.")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	u := &Unpacked{dir: dir}
	content := filepath.Join(dir, "content")
	if err = archive.Unpack(ctx, m.Run, path, input, content); err == nil {
		u.Layout, err = archive.Inspect(content)
	}
	if err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// Close deletes the unpacked files.
func (u *Unpacked) Close() error { return os.RemoveAll(u.dir) }

// LoadBuild copies a build of an archive into the tree. Its manifest then
// describes this machine: what the replaced build, if any, has installed here.
// withSources says that the archive has the sources, too; without them nobody
// can tell whether the build was made from the sources here.
func LoadBuild(ctx context.Context, w *machine.Writer, id tree.ID, t tree.Target, dir string, withSources bool) error {
	stage, err := w.Tree.Stage(id, t)
	if err != nil {
		return err
	}
	defer stage.Discard()
	if err := system.CopyTree(ctx, stage.Dir, dir, false); err != nil {
		return err
	}
	if err := os.Chmod(stage.Dir, 0o755); err != nil {
		return err
	}
	made, err := stage.Manifest()
	if err == nil && made != nil {
		if made.SourcesStamp = 0; !withSources {
			made.Sources = ""
		}
		err = stage.Save(made)
	}
	if err != nil {
		return err
	}
	return stage.Swap()
}
