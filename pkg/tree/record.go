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
	"syscall"
	"time"

	"dkms/pkg/system"
	vers "dkms/pkg/version"
)

// manifestName is hidden, so that the original neither lists nor counts the
// file. Both programs delete the manifest together with the build.
const manifestName = ".manifest.json"

// Manifest is what this program records about a build in addition to the layout
// of the original. A build of the original has no manifest.
type Manifest struct {
	Schema  int       `json:"schema"`
	Module  string    `json:"module"`
	Version string    `json:"version"`
	Kernel  string    `json:"kernel"`
	Arch    string    `json:"arch"`
	Built   time.Time `json:"built"`
	// Compiler is the compiler that the kernel's headers name.
	Compiler string `json:"compiler,omitempty"`
	// Fingerprint is the digest of all inputs of the build. Headers is the
	// digest of the kernel's headers alone, and HeadersStamp tells cheaply
	// whether the headers may have changed since.
	Fingerprint  string `json:"fingerprint,omitempty"`
	Headers      string `json:"headers,omitempty"`
	HeadersStamp Stamp  `json:"headers_stamp,omitzero"`
	// SourceDigest is the digest of the sources and the configuration alone: it
	// is the same on every machine with the same sources and configuration.
	SourceDigest string `json:"source_digest,omitempty"`
	// Sources is the digest of the sources on this machine and the files that
	// /etc/dkms adds to them. SourcesStamp tells cheaply whether these may have
	// changed since. Builds of earlier releases have neither.
	Sources      string `json:"sources,omitempty"`
	SourcesStamp uint64 `json:"sources_stamp,omitempty,string"`
	// Fits says that every module was read and is made for the kernel and the
	// architecture.
	Fits bool `json:"fits,omitempty"`
	// Origin describes a build that was made elsewhere, and Certificate (DER)
	// is the certificate that the build was signed with when it was imported.
	Origin      *Origin `json:"origin,omitempty"`
	Certificate []byte  `json:"certificate,omitempty"`
	// Signer is the subject of the certificate; it is empty for an unsigned
	// build.
	Signer string `json:"signer,omitempty"`
	// SignLater says that the build is unsigned because the machine that runs the
	// system is to sign it.
	SignLater bool `json:"sign_later,omitempty"`
	// Files are the modules of the build, in the order of their records.
	Files []File `json:"files"`
	// PostRemove is the hook to run on uninstall; it is kept because the
	// sources may be gone by then.
	PostRemove string `json:"post_remove,omitempty"`
	// NoWeakModules is NO_WEAK_MODULES of the dkms.conf.
	NoWeakModules bool `json:"no_weak_modules,omitempty"`
	// Unfinished says that POST_BUILD is still running or was interrupted: the
	// build does not count.
	Unfinished bool `json:"unfinished,omitempty"`
	// Installed lists the files in the install tree; it is empty if the build
	// is not installed, or was installed by the original.
	Installed []Installed `json:"installed,omitempty"`
	// Used is when the build was last installed.
	Used time.Time `json:"used,omitzero"`
}

// Origin is the source of a build that was not made on this machine.
type Origin struct {
	// From is the source of the import, and Digest is the digest of the image.
	From   string    `json:"from"`
	Digest string    `json:"digest"`
	Time   time.Time `json:"time"`
}

// Stamp is the size (bytes) and time (nanoseconds since 1970) of the kernel
// configuration, the size of Module.symvers, and a digest of the sizes and
// times of the files that every kernel build writes again; zeros stand for
// missing files.
type Stamp [4]int64

// Missing tells whether the headers were missing.
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
	// Size and ModTime (nanoseconds since 1970) tell, without reading the file,
	// that the file is still the one that was installed.
	Size    int64 `json:"size"`
	ModTime int64 `json:"mtime"`
	Link    bool  `json:"link,omitempty"`
}

const manifestSchema = 1

// ErrDamaged is the error of a manifest that exists and cannot be parsed: its
// content is lost, but the build must not count as one without a manifest.
var ErrDamaged = errors.New("damaged")

// Manifest reads the manifest of a build. It returns nil without an error if
// the build has no manifest that this program can use.
func (t *Tree) Manifest(id ID, k Target) (*Manifest, error) {
	return manifestIn(t.BuildDir(id, k), id, k)
}

func manifestIn(dir string, id ID, k Target) (*Manifest, error) {
	var m Manifest
	path := filepath.Join(dir, manifestName)
	data, err := readRecord(path)
	if err == nil && !m.decode(string(data)) {
		m = Manifest{}
		err = parseRecord(path, data, &m)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case m.Schema != manifestSchema || m.Module != id.Name || m.Version != id.Version || m.Kernel != k.Kernel || m.Arch != k.Arch:
		return nil, nil // the manifest was copied from elsewhere, or written by a later program
	}
	return &m, nil
}

// Save writes the manifest into dir, which is the directory of the build or the
// stage that will become that directory.
func (m *Manifest) Save(dir string) error {
	m.Schema = manifestSchema
	return writeJSON(filepath.Join(dir, manifestName), m)
}

// Has tells whether the manifest has the digest for a file of the build. A nil
// manifest records nothing, so Has accepts every file.
func (m *Manifest) Has(name, sha256 string) bool {
	if m == nil {
		return true
	}
	return slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == name && f.SHA256 == sha256 })
}

// NoteFile records the new contents of a built module. With a nil manifest,
// NoteFile does nothing.
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

// maxRecord bounds how many bytes of a hidden file are read.
const maxRecord = 4 << 20

func readRecord(path string) ([]byte, error) {
	data, err := system.ReadRegular(path, maxRecord)
	if _, machine := errors.AsType[syscall.Errno](err); err != nil && !machine {
		err = fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return data, err
}

func readJSON(path string, v any) error {
	data, err := readRecord(path)
	if err != nil {
		return err
	}
	return parseRecord(path, data, v)
}

func parseRecord(path string, data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w: %v", path, ErrDamaged, err)
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
	// Code is the exit status of the step, and Message the text of its error.
	Code    int    `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Fingerprint is the digest of the inputs of a build that failed because of
	// its inputs: a build with the same inputs need not be tried again.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Outdated says why the installed build, if any, was to be replaced.
	Outdated string `json:"outdated,omitempty"`
	// Log is the file with the complete output, if there is one.
	Log string `json:"log,omitempty"`
}

const (
	failurePrefix = ".failure-"
	answerPrefix  = ".prebuilt-"
	noteSuffix    = ".json"
)

// notePath is the path of one kind of note about a version and a target.
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

// RecordFailure records f until the version is built, unbuilt or removed.
func (t *Writer) RecordFailure(id ID, k Target, f Failure) error {
	if !system.IsDir(t.VersionDir(id)) {
		return nil
	}
	f.Schema = manifestSchema
	return writeJSON(t.failurePath(id, k), &f)
}

// ForgetFailure deletes the record of a failure.
func (t *Writer) ForgetFailure(id ID, k Target) { os.Remove(t.failurePath(id, k)) }

// Answer is the answer of prebuilt_source to a request for a build, if the
// answer was of no use.
type Answer struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	From   string    `json:"from"`
	// Word is none (prebuilt_source has no such build), away (prebuilt_source
	// could not be reached) or refused (its build must not be used).
	Word string `json:"answer"`
	// Reason explains the answer.
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

// RecordAnswer records a until the version is imported, unbuilt or removed.
func (t *Writer) RecordAnswer(id ID, k Target, a Answer) error {
	a.Schema = manifestSchema
	return writeJSON(t.answerPath(id, k), &a)
}

// ForgetAnswer deletes the record of an answer.
func (t *Writer) ForgetAnswer(id ID, k Target) { os.Remove(t.answerPath(id, k)) }

// RecordDepends writes, beside a build, which versions of the packages in
// depends the tree holds for the target: the ".dep_" files of DKMS, which tell
// whether the build is older than the packages that it depends on.
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

// Newest is the version of a package that builds for a target use: the
// installed version, else the newest version that is built for the target, else
// "".
func (t *Tree) Newest(name string, k Target) string {
	if v := t.Active(name, k); v != "" && t.IsBuilt(ID{name, v}, k) {
		return v
	}
	newest := ""
	known, _ := t.Known(name)
	for _, v := range known {
		if t.IsBuilt(v.ID, k) && (newest == "" || vers.Natural(v.ID.Version, newest) > 0) {
			newest = v.ID.Version
		}
	}
	return newest
}
