// Package history keeps what runs have changed: a record of each run, in the
// dkms tree, with the installed files of every module before and after it.
//
// It guarantees that a run is on record before it changes the first module, that
// records are bounded in number and size, and that they hold no value of the
// environment or of an option NAME=VALUE.
package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Record is the record of one run. The JSON names are an interface; see
// dkms-json(5).
type Record struct {
	Schema int `json:"schema"`
	// Run numbers the runs of a machine, from 1.
	Run int `json:"run"`
	// Began and Ended are the times of the run; without Ended the run goes on.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended,omitzero"`
	// Verb is what was done, and Arguments are those of the program, without
	// values of NAME=VALUE.
	Verb      string        `json:"verb"`
	Arguments []string      `json:"arguments"`
	Caller    system.Caller `json:"caller"`
	// Outcome is empty while the run goes on.
	Outcome Outcome `json:"outcome"`
	// Error is the first error of the run.
	Error string `json:"error,omitempty"`
	// Steps are the steps of the run that did something, or failed.
	Steps []Step `json:"steps"`
	// Changes are the modules whose installed files the run has changed.
	Changes []*Change `json:"changes"`
	// Undoes are the runs that this run has undone. UndoneBy is the run that has
	// undone this run.
	Undoes   []int `json:"undoes,omitempty"`
	UndoneBy int   `json:"undone_by,omitempty"`
}

// Outcome says how a run has ended.
type Outcome string

// The outcomes.
const (
	// Done: everything that was to be done was done.
	Done Outcome = "done"
	// Failed: a step failed.
	Failed Outcome = "failed"
	// Interrupted: the run was killed, and a later run has cleaned up.
	Interrupted Outcome = "interrupted"
)

// Step is one step of a run.
type Step struct {
	Step    string `json:"step"`
	Module  string `json:"module"`
	Version string `json:"version"`
	Kernel  string `json:"kernel,omitempty"`
	Arch    string `json:"arch,omitempty"`
	// Error is why the step failed, and Text what it has done, where the other
	// members do not say it.
	Error string `json:"error,omitempty"`
	Text  string `json:"text,omitempty"`
}

// Change is what a run has changed of one package for one kernel.
type Change struct {
	Module string `json:"module"`
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	Before State  `json:"before"`
	After  State  `json:"after"`
}

// Target is the kernel of a change.
func (c *Change) Target() tree.Target { return tree.Target{Kernel: c.Kernel, Arch: c.Arch} }

// State is what is installed of a package for a kernel.
type State struct {
	// Version is empty if nothing is installed.
	Version string `json:"version"`
	Files   []File `json:"files"`
}

// File is an installed file.
type File struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// Same tells whether two states are the same version with the same files.
func (s State) Same(o State) bool {
	byPath := func(a, b File) int { return strings.Compare(a.Path, b.Path) }
	return s.Version == o.Version && slices.Equal(slices.SortedFunc(slices.Values(s.Files), byPath), slices.SortedFunc(slices.Values(o.Files), byPath))
}

// StateOf is what the tree has on record as installed of a package for a kernel.
// Of an installation by the original, the files are not known.
func StateOf(t *tree.Tree, name string, k tree.Target) State {
	s := State{Version: t.Active(name, k), Files: []File{}}
	if s.Version == "" {
		return s
	}
	if m, err := t.Manifest(tree.ID{Name: name, Version: s.Version}, k); err == nil && m != nil {
		for _, f := range m.Installed {
			s.Files = append(s.Files, File{f.Path, f.SHA256})
		}
	}
	return s
}

// The records are bounded: the oldest are deleted first.
const (
	maxRecords = 200
	maxBytes   = 16 << 20
	// maxRecord bounds one record, in bytes. A larger one has no steps and, if
	// that is not enough, no changes: the run cannot be undone.
	maxRecord = 4 << 20
	// maxText bounds the text of an error, in bytes.
	maxText = 500
)

const schema = 1

// dir is the directory of the records. The name is hidden, so that the original
// ignores the directory.
func dir(t *tree.Tree) string { return filepath.Join(t.Dir(), ".history") }

func path(t *tree.Tree, run int) string { return filepath.Join(dir(t), fmt.Sprintf("%08d.json", run)) }

// runs lists the numbers of the records, the oldest first.
func runs(t *tree.Tree) ([]int, error) {
	entries, err := os.ReadDir(dir(t))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), ".json")
		if n, err := strconv.Atoi(number); ok && err == nil && n > 0 {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// List reads all records, the newest first. damaged are those that cannot be
// read.
func List(t *tree.Tree) (list []*Record, damaged []int, err error) {
	numbers, err := runs(t)
	for _, n := range slices.Backward(numbers) {
		r, err := Read(t, n)
		switch {
		case err == nil:
			list = append(list, r)
		case !errors.Is(err, fs.ErrNotExist): // a run may have deleted the oldest meanwhile
			damaged = append(damaged, n)
		}
	}
	return list, damaged, err
}

// Read reads the record of a run. If there is none, the error is
// [fs.ErrNotExist].
func Read(t *tree.Tree, run int) (*Record, error) {
	data, err := system.ReadPlain(path(t, run), maxRecord)
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path(t, run), err)
	}
	if r.Schema != schema || r.Run != run {
		return nil, fmt.Errorf("%s: not a record that this program understands", path(t, run))
	}
	return r, nil
}

// Save writes the record of a run. A record without a number gets the next one,
// and then the oldest records are deleted if there are too many.
func (r *Record) Save(w *tree.Writer) error {
	r.Schema = schema
	first := r.Run == 0
	if first {
		if err := os.MkdirAll(dir(w.Tree), 0o755); err != nil {
			return err
		}
		numbers, err := runs(w.Tree)
		if err != nil {
			return err
		}
		if r.Run = 1; len(numbers) > 0 {
			r.Run = numbers[len(numbers)-1] + 1
		}
		prune(w.Tree, numbers)
	}
	data, err := r.bounded()
	if err == nil {
		err = system.WriteFile(path(w.Tree, r.Run), data, 0o644)
	}
	if err != nil && first {
		r.Run = 0
	}
	return err
}

// bounded is the record as JSON of at most maxRecord bytes.
func (r *Record) bounded() ([]byte, error) {
	short := *r
	for _, shorten := range []func(){func() {}, func() { short.Steps = []Step{} }, func() { short.Changes = []*Change{} }} {
		shorten()
		if data, err := json.Marshal(&short); err != nil || len(data) <= maxRecord {
			return data, err
		}
	}
	return nil, fmt.Errorf("run %d: the record is larger than %d bytes", r.Run, maxRecord)
}

// prune deletes the oldest records, so that there is room for one more.
func prune(t *tree.Tree, numbers []int) {
	count, size := 1, int64(0)
	for _, n := range slices.Backward(numbers) {
		st, err := os.Lstat(path(t, n))
		if err != nil {
			continue
		}
		count++
		if size += st.Size(); count > maxRecords || size > maxBytes {
			os.Remove(path(t, n))
		}
	}
}

// Short cuts the text of an error to what a record holds: its first line.
func Short(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}

// Public returns the arguments of a program without what may be secret: the
// value of a word NAME=VALUE, and of an option --OPTION=NAME=VALUE.
func Public(arguments []string) []string {
	list := make([]string, len(arguments))
	for i, a := range arguments {
		list[i] = a
		rest, option := a, ""
		if strings.HasPrefix(a, "-") {
			name, value, ok := strings.Cut(a, "=")
			if !ok {
				continue
			}
			option, rest = name+"=", value
		}
		if name, _, ok := strings.Cut(rest, "="); ok {
			list[i] = option + name + "=..."
		}
	}
	return list
}
