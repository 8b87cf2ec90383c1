package fault

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"dkms/pkg/exit"
)

// mishap is what somebody may do between a crash and the next run.
type mishap struct {
	name string
	do   func(m *machine)
	// fatal says that what was asked for cannot be had afterwards.
	fatal bool
}

var mishaps = []mishap{
	{"the kernel is removed", func(m *machine) { m.must(os.RemoveAll(m.path("lib/modules/" + release))) }, true},
	{"its modules are removed", func(m *machine) { m.must(os.RemoveAll(m.module("updates"))) }, false},
	{"one module is removed", func(m *machine) { m.first(m.module("updates"), os.Remove) }, false},
	{"one module becomes a directory", func(m *machine) {
		m.first(m.module("updates"), func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.MkdirAll(filepath.Join(path, "x"), 0o755)
		})
	}, true},
	{"the directory of modules becomes a file", func(m *machine) {
		m.must(os.RemoveAll(m.module("updates")))
		m.write("lib/modules/"+release+"/updates", "x")
	}, true},
	{"the build is removed", func(m *machine) { m.must(os.RemoveAll(m.tree("foo/1.0/" + release))) }, true},
	{"the version is removed", func(m *machine) { m.must(os.RemoveAll(m.tree("foo/1.0"))) }, true},
	{"the archive of originals is removed", func(m *machine) { m.must(os.RemoveAll(m.tree("foo/original_module"))) }, false},
}

// first does something to the first file below a directory, if there is one.
func (m *machine) first(dir string, do func(path string) error) {
	m.Helper()
	done := false
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !done {
			done = true
			m.must(do(path))
		}
		return nil
	})
}

// TestMishaps kills a command in its transaction, has something happen, and
// wants every run after that to do its work: no journal keeps it from that.
func TestMishaps(t *testing.T) {
	eachTransaction(t, "mishaps after a crash", (*ground).mishaps)
}

func (g *ground) mishaps(t *testing.T) (tried int64) {
	g.killed(func(where string) {
		for _, m := range mishaps {
			g.back("killed")
			m.do(g.machine)
			tried++
			g.carriesOn(t, where+", then "+m.name, m)
		}
	})
	return tried
}

// carriesOn wants the next run to get over it, and the command to work where it
// can.
func (g *ground) carriesOn(t *testing.T, where string, m mishap) {
	t.Helper()
	if door := g.dkms("add", "none/1"); door.code != int(exit.NoSource) {
		t.Errorf("%s: then any door = %d\n%s", where, door.code, door.stderr)
	}
	if _, err := os.Lstat(g.tree(".journal.json")); err == nil {
		t.Errorf("%s: the journal is still there", where)
	}
	if again := g.dkms("autoinstall"); again.code != 0 && !m.fatal {
		t.Errorf("%s: then autoinstall = %d\n%s", where, again.code, again.stderr)
	}
}
