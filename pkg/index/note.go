package index

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// noted is what an update has proven: the files of the index, and the entries of
// every directory of the tree. The files of the index are known by their inode,
// size and times, the entries of a directory by its time.
type noted struct {
	state   string // see [stateOf]
	program string // the identity of the depmod program
	depmod  Depmod
	// walked is when the walk of the tree began, in nanoseconds. What is newer
	// may differ from what the walk found.
	walked int64
	dirs   map[string]*entries // by their path, as in directory.rel
}

// entries are the names in a directory that concern an index.
type entries struct {
	inode uint64
	files []string // modules that are files
	// unread are files with the suffix of a compression that depmod does not read.
	unread []string
	// others are names whose kind the directory does not tell for good, such as
	// links, which may lead to something else tomorrow.
	others []string
	dirs   []string
}

// maxNote bounds a note, in bytes.
const maxNote = 16 << 20

// A note has a line for each thing that it tells: what kind of line, and what.
// Its last line is a digest of the others, since nothing makes a note durable.
const (
	noteState, noteProgram, noteDepmod, noteWalked = "index ", "program ", "depmod ", "walked "
	noteDir, noteInode                             = "dir ", "inode "
	noteFile, noteUnread, noteOther, noteEnd       = " ", "- ", "? ", "end "
)

// String is the text of a note.
func (n *noted) String() string {
	text := make([]byte, 0, 256<<10)
	lines := func(kind string, list ...string) {
		for _, line := range list {
			text = append(append(append(text, kind...), line...), '\n')
		}
	}
	lines(noteState, n.state)
	lines(noteProgram, n.program)
	lines(noteDepmod, n.depmod.String())
	lines(noteWalked, strconv.FormatInt(n.walked, 10))
	for _, rel := range slices.Sorted(maps.Keys(n.dirs)) {
		here := n.dirs[rel]
		lines(noteDir, rel)
		lines(noteInode, strconv.FormatUint(here.inode, 10))
		lines(noteFile, here.files...)
		lines(noteUnread, here.unread...)
		lines(noteOther, here.others...)
	}
	lines(noteEnd, digest(asString(text)))
	return asString(text)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// readNote reads the note about the files of an index; nil means that it says
// nothing about them.
func readNote(file, state string) *noted {
	data, err := system.ReadRegular(file, maxNote)
	text := asString(data)
	if err != nil || !strings.HasPrefix(text, noteState+state+"\n") {
		return nil
	}
	end := strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n') + 1
	if text[end:] != noteEnd+digest(text[:end])+"\n" {
		return nil
	}
	n := &noted{state: state, dirs: make(map[string]*entries, 1024)}
	var here *entries
	for line := range strings.Lines(text[len(noteState+state+"\n"):end]) {
		line = line[:len(line)-1]
		switch {
		case strings.HasPrefix(line, noteFile):
			here.files = append(here.files, line[len(noteFile):])
		case strings.HasPrefix(line, noteUnread):
			here.unread = append(here.unread, line[len(noteUnread):])
		case strings.HasPrefix(line, noteOther):
			here.others = append(here.others, line[len(noteOther):])
		case strings.HasPrefix(line, noteDir):
			rel := line[len(noteDir):]
			here = &entries{}
			n.dirs[rel] = here
			if rel != "" { // the directory above comes first
				above, name := path.Split(strings.TrimSuffix(rel, "/"))
				n.dirs[above].dirs = append(n.dirs[above].dirs, name)
			}
		case strings.HasPrefix(line, noteInode):
			here.inode, _ = strconv.ParseUint(line[len(noteInode):], 10, 64)
		case strings.HasPrefix(line, noteProgram):
			n.program = line[len(noteProgram):]
		case strings.HasPrefix(line, noteDepmod):
			words := strings.Fields(line[len(noteDepmod):])
			n.depmod.Version, _ = strconv.Atoi(words[0])
			n.depmod.Suffixes = words[1:]
		default:
			n.walked, _ = strconv.ParseInt(strings.TrimPrefix(line, noteWalked), 10, 64)
		}
	}
	return n
}

// stateOf identifies the files of an index.
func stateOf(seen map[string]unix.Stat_t) string {
	var text strings.Builder
	for _, name := range indexFiles {
		st := seen[name]
		fmt.Fprint(&text, name, " ", st.Ino, " ", st.Size, " ", st.Mtim.Nano(), " ", st.Ctim.Nano(), " ")
	}
	return text.String()
}

// note keeps what an update has proven, for the index that it has just written.
// Without a note the next update has more to do, so an error is of no interest.
func (t *Tree) note(old *loaded, w *walker) {
	if t.Note == "" {
		return
	}
	now := look(old.dir)
	if !w.complete() || !old.has(now) {
		os.Remove(t.Note)
		return
	}
	n := &noted{state: stateOf(now), program: old.program, depmod: old.depmod, walked: w.began, dirs: w.found}
	temp := filepath.Join(filepath.Dir(t.Note), system.StagePrefix+filepath.Base(t.Note))
	if os.WriteFile(temp, []byte(n.String()), 0o644) != nil || os.Rename(temp, t.Note) != nil {
		os.Remove(temp)
	}
}

// Files lists the module files of the tree with one of the names, as
// [module.Files] does. Where an update has proven the index, it reads only
// directories that have changed since.
func (t *Tree) Files(names []string) []string {
	w := t.names()
	if w == nil {
		return slices.DeleteFunc(module.Files(t.Dir), func(file string) bool { return !called(file, names) })
	}
	var list []string
	for rel, here := range w.found {
		for _, name := range slices.Concat(here.files, here.unread) {
			if called(name, names) {
				list = append(list, filepath.Join(t.Dir, rel, name))
			}
		}
	}
	slices.SortFunc(list, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	return list
}

// names walks the tree for names only; nil means that this is not proven to find
// all files.
func (t *Tree) names() *walker {
	if t.Read == nil {
		return nil
	}
	old, err := t.Read.open()
	if err != nil || old.noted == nil {
		return nil
	}
	w := t.walker(old)
	w.namesOnly = true
	if w.walk() != nil || !w.complete() {
		return nil
	}
	return w
}

func called(file string, names []string) bool {
	name, _, ok := module.ParseSuffix(file)
	return ok && slices.Contains(names, name)
}
