package tree

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dkms/pkg/system"
	vers "dkms/pkg/version"
)

// manifestName is hidden, so that the original neither lists nor counts it;
// it goes with the build when either program deletes that.
const manifestName = ".manifest.json"

// Manifest is what this program knows of a build beyond what the layout
// says. A build that the original made has none.
type Manifest struct {
	Schema  int       `json:"schema"`
	Module  string    `json:"module"`
	Version string    `json:"version"`
	Kernel  string    `json:"kernel"`
	Arch    string    `json:"arch"`
	Built   time.Time `json:"built"`
	// Compiler is the compiler that the kernel's headers asked for.
	Compiler string `json:"compiler,omitempty"`
	// Fingerprint is the digest of all inputs of the build; Headers is that
	// of the kernel's headers alone, and HeadersStamp says cheaply whether
	// they may have changed since.
	Fingerprint  string `json:"fingerprint,omitempty"`
	Headers      string `json:"headers,omitempty"`
	HeadersStamp Stamp  `json:"headers_stamp,omitzero"`
	// SourceDigest is that of the sources and the configuration alone: it
	// is the same on every machine that has them.
	SourceDigest string `json:"source_digest,omitempty"`
	// Sources is the digest of the sources on this machine, with what
	// /etc/dkms adds to them; SourcesStamp says cheaply whether they may have
	// changed since. Builds of earlier releases have neither.
	Sources      string `json:"sources,omitempty"`
	SourcesStamp uint64 `json:"sources_stamp,omitempty,string"`
	// Fits says that every module was read and is made for the kernel and the
	// architecture.
	Fits bool `json:"fits,omitempty"`
	// Origin tells of a build that was made elsewhere, and Certificate (DER) is
	// what it was signed with when it came.
	Origin      *Origin `json:"origin,omitempty"`
	Certificate []byte  `json:"certificate,omitempty"`
	// Signer is the subject of the certificate; empty means unsigned.
	Signer string `json:"signer,omitempty"`
	// Files are the modules of the build in the order of their records.
	Files []File `json:"files"`
	// PostRemove is the hook that uninstalling runs, kept for the day when
	// the sources are gone.
	PostRemove string `json:"post_remove,omitempty"`
	// NoWeakModules keeps weak-modules away, as the dkms.conf said.
	NoWeakModules bool `json:"no_weak_modules,omitempty"`
	// Unfinished says that POST_BUILD is still at work, or was interrupted: the
	// build is none.
	Unfinished bool `json:"unfinished,omitempty"`
	// Installed are the files put in the install tree; empty when the build
	// is not installed or was installed by the original.
	Installed []Installed `json:"installed,omitempty"`
}

// Origin is where a build came from that was not made on this machine.
type Origin struct {
	// From is what it was imported from, Digest that of the image.
	From   string    `json:"from"`
	Digest string    `json:"digest"`
	Time   time.Time `json:"time"`
}

// Stamp is the size (bytes) and time (nanoseconds since 1970) of the kernel
// configuration, the size of Module.symvers, and a digest of the sizes and times
// of what a kernel's build makes anew; zeros stand for what is missing.
type Stamp [4]int64

// Missing tells a stamp of headers that are not there.
func (s Stamp) Missing() bool { return s == Stamp{} }

// File is one built module.
type File struct {
	// Name is the file's name in the module directory of the build.
	Name string `json:"name"`
	// Location is the raw DEST_MODULE_LOCATION of its record.
	Location string `json:"location"`
	// SHA256 is the digest of the built file in hexadecimal.
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Installed is one file of a build in the install tree.
type Installed struct {
	// Path is absolute.
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	// Size and ModTime (nanoseconds since 1970) tell without reading the
	// file that it is still the one that was put there.
	Size    int64 `json:"size"`
	ModTime int64 `json:"mtime"`
	Link    bool  `json:"link,omitempty"`
}

const manifestSchema = 1

// Manifest reads the manifest of a build; nil without an error means that the
// build has none that this program can use.
func (t *Tree) Manifest(id ID, k Target) (*Manifest, error) {
	return manifestIn(t.BuildDir(id, k), id, k)
}

func manifestIn(dir string, id ID, k Target) (*Manifest, error) {
	var m Manifest
	err := readJSON(filepath.Join(dir, manifestName), &m)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case m.Schema != manifestSchema || m.Module != id.Name || m.Version != id.Version || m.Kernel != k.Kernel || m.Arch != k.Arch:
		return nil, nil // copied from elsewhere, or from a later program
	}
	return &m, nil
}

// Save writes the manifest into dir, the directory of the build or the stage
// that will become it.
func (m *Manifest) Save(dir string) error {
	m.Schema = manifestSchema
	return writeJSON(filepath.Join(dir, manifestName), m)
}

// Has tells whether a file of the build has the digest that is on record. A
// nil manifest has nothing on record, and knows of no other.
func (m *Manifest) Has(name, sha256 string) bool {
	if m == nil {
		return true
	}
	return slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == name && f.SHA256 == sha256 })
}

// NoteFile notes that a built module has other contents now. A nil manifest
// has nothing to note.
func (m *Manifest) NoteFile(name, sha256 string, size int64) {
	if m == nil {
		return
	}
	for i := range m.Files {
		if m.Files[i].Name == name {
			m.Files[i].SHA256, m.Files[i].Size = sha256, size
		}
	}
}

// maxRecord bounds the hidden files that are read back, in bytes.
const maxRecord = 4 << 20

func readJSON(path string, v any) error {
	data, err := system.ReadRegular(path, maxRecord)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return system.WriteFile(path, append(data, '\n'), 0o644)
}

// Failure is the durable record of a build or installation that failed.
type Failure struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	// Code is the exit status of the step, Message what was said of it.
	Code    int    `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Fingerprint is the digest of the inputs of a build that failed because
	// of them: the same inputs need not be tried again.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Outdated says why the build that is installed was to be replaced, if one
	// was.
	Outdated string `json:"outdated,omitempty"`
	// Log is the file that holds the whole output, where there is one.
	Log string `json:"log,omitempty"`
}

const (
	failurePrefix = ".failure-"
	answerPrefix  = ".prebuilt-"
	noteSuffix    = ".json"
)

// notePath is where one kind of note about a version and a target is kept.
func (t *Tree) notePath(prefix string, id ID, k Target) string {
	return filepath.Join(t.VersionDir(id), prefix+k.Kernel+"-"+k.Arch+noteSuffix)
}

func (t *Tree) failurePath(id ID, k Target) string { return t.notePath(failurePrefix, id, k) }

// Failure reads the failure recorded for a version and a target, or nil.
func (t *Tree) Failure(id ID, k Target) *Failure {
	var f Failure
	if readJSON(t.failurePath(id, k), &f) != nil || f.Schema != manifestSchema {
		return nil
	}
	return &f
}

// RecordFailure keeps f until the version is built, unbuilt or removed.
func (t *Writer) RecordFailure(id ID, k Target, f Failure) error {
	if !system.IsDir(t.VersionDir(id)) {
		return nil
	}
	f.Schema = manifestSchema
	return writeJSON(t.failurePath(id, k), &f)
}

// ForgetFailure deletes the record of a failure.
func (t *Writer) ForgetFailure(id ID, k Target) { os.Remove(t.failurePath(id, k)) }

// Answer is what prebuilt_source said when it was asked for a build, and was
// of no use.
type Answer struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	From   string    `json:"from"`
	// Word is none (it has no such build), away (it could not be asked) or
	// refused (what it has is not to be used).
	Word string `json:"answer"`
	// Reason says more.
	Reason string `json:"reason,omitempty"`
}

func (t *Tree) answerPath(id ID, k Target) string { return t.notePath(answerPrefix, id, k) }

// Answer reads the last answer about a version and a target, or nil.
func (t *Tree) Answer(id ID, k Target) *Answer {
	var a Answer
	if readJSON(t.answerPath(id, k), &a) != nil || a.Schema != manifestSchema {
		return nil
	}
	return &a
}

// RecordAnswer keeps a until the version is imported, unbuilt or removed.
func (t *Writer) RecordAnswer(id ID, k Target, a Answer) error {
	a.Schema = manifestSchema
	return writeJSON(t.answerPath(id, k), &a)
}

// ForgetAnswer deletes the record of an answer.
func (t *Writer) ForgetAnswer(id ID, k Target) { os.Remove(t.answerPath(id, k)) }

// RecordDepends writes which versions of the packages named depends the tree
// holds for a target, beside the build made against them: the ".dep_" files of
// DKMS, which tell whether the build is older than what it depends on.
func (t *Writer) RecordDepends(id ID, k Target, depends []string) error {
	for _, name := range depends {
		built := t.Newest(name, k)
		if built == "" || !system.PlainName(name) {
			continue
		}
		if err := system.WriteFile(t.dependPath(id, k, name), []byte(built+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) dependPath(id ID, k Target, name string) string {
	return filepath.Join(t.BuildDir(id, k), ".dep_"+name)
}

// RecordedDepend is the version of the package name that a build was made
// against, or "".
func (t *Tree) RecordedDepend(id ID, k Target, name string) string {
	data, err := system.ReadRegular(t.dependPath(id, k, name), maxNote)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Newest is the version of a package that builds for a target see: the
// installed one, else the newest that is built for it, else "".
func (t *Tree) Newest(name string, k Target) string {
	if v := t.Active(name, k); v != "" && t.IsBuilt(ID{name, v}, k) {
		return v
	}
	newest := ""
	for _, v := range t.Known(name) {
		if t.IsBuilt(v.ID, k) && (newest == "" || vers.Natural(v.ID.Version, newest) > 0) {
			newest = v.ID.Version
		}
	}
	return newest
}
