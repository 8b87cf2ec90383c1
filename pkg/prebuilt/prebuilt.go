// Package prebuilt packs a kept build into an OCI image, and makes a build of
// this machine from an image.
//
// It guarantees that the same build always makes the same image. It also
// guarantees that no build of another machine gets into the tree unless a key
// that the administrator named has signed both its modules and its record, it
// was made from exactly the sources that are registered here, and this
// machine's kernel would load it.
package prebuilt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Record describes one build of an image. Two builds from the same inputs have
// the same record, so it contains no times and no paths.
type Record struct {
	Schema  int    `json:"schema"`
	Module  string `json:"module"`
	Version string `json:"version"`
	Kernel  string `json:"kernel"`
	Arch    string `json:"arch"`
	// Source is the digest of the sources and their configuration, and
	// Fingerprint the digest of all inputs of the build.
	Source      string `json:"source_digest"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Compiler    string `json:"compiler,omitempty"`
	Signer      string `json:"signer,omitempty"`
	// Depends maps the modules that it was built against to their versions.
	Depends map[string]string `json:"depends,omitempty"`
	// Files are its modules; Symvers is the digest of its Module.symvers, if
	// there is one.
	Files   []tree.File `json:"files"`
	Symvers string      `json:"symvers_sha256,omitempty"`
}

// ID is the module version.
func (r *Record) ID() tree.ID { return tree.ID{Name: r.Module, Version: r.Version} }

// Target is the kernel.
func (r *Record) Target() tree.Target { return tree.Target{Kernel: r.Kernel, Arch: r.Arch} }

const recordSchema = 1

// The paths in an image. Files below prefix and lib/modules have the layout
// that Kubernetes' Kernel Module Management expects.
const (
	prefix       = "opt"
	recordsDir   = prefix + "/dkms"
	recordFile   = "manifest.json"
	signature    = "manifest.p7s"
	symversFile  = "Module.symvers"
	modulesBelow = "updates/dkms"
)

func kernelDir(release string) string { return prefix + "/lib/modules/" + release }

func recordDir(id tree.ID) string { return recordsDir + "/" + id.Name + "/" + id.Version }

// maxTag bounds the length of a tag (OCI Distribution Specification).
const maxTag = 128

// Tag returns the name of a build in a registry: MODULE_VERSION_KERNEL_ARCH.
// "_" replaces characters that a tag cannot contain. After a replacement, and
// where the tag would be too long, a part of the digest of all four is added.
func Tag(id tree.ID, t tree.Target) string {
	parts := []string{id.Name, id.Version, t.Kernel, t.Arch}
	plain := strings.Join(parts, "_")
	tag := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
			return c
		}
		return '_'
	}, plain)
	if tag == plain && len(tag) <= maxTag {
		return tag
	}
	sum := digest([]byte(strings.Join(parts, "\n")))[:12]
	return tag[:min(len(tag), maxTag-len(sum)-1)] + "_" + sum
}

// maxRecord bounds the small files of an image, in bytes.
const maxRecord = 4 << 20

// Records returns the records of an unpacked image, sorted by name. None of
// them has been verified.
func Records(dir string) ([]Record, error) {
	var list []Record
	for _, f := range system.Glob(dir, recordsDir+"/*/*/"+recordFile) {
		data, err := system.ReadRegular(f, maxRecord)
		if err != nil {
			return nil, err
		}
		r, err := parse(data)
		if err != nil {
			return nil, err
		}
		if want := filepath.Join(dir, recordDir(r.ID()), recordFile); f != want {
			return nil, exit.Errorf(exit.BadArchive, "what the image says of %s is not where it belongs", r.ID())
		}
		list = append(list, *r)
	}
	if len(list) == 0 {
		return nil, exit.Errorf(exit.BadArchive, "the image was not made by dkms export")
	}
	return list, nil
}

// Ordered returns list with every build behind those that it was built against.
// Builds that depend on each other in a cycle keep their order.
func Ordered(list []Record) []Record {
	var done []Record
	for len(list) > 0 {
		next := slices.IndexFunc(list, func(r Record) bool {
			return !slices.ContainsFunc(list, func(o Record) bool {
				_, needs := r.Depends[o.Module]
				return needs && o.Target() == r.Target()
			})
		})
		next = max(next, 0)
		done = append(done, list[next])
		list = slices.Delete(slices.Clone(list), next, next+1)
	}
	return done
}

// parse parses a record and makes sure that its names are plain.
func parse(data []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, exit.Errorf(exit.BadArchive, "%s of the image: %w", recordFile, err)
	}
	if r.Schema != recordSchema {
		return nil, exit.Errorf(exit.BadArchive, "the image is of a form (%d) that this version does not know", r.Schema)
	}
	for _, err := range []error{r.ID().Check(), r.Target().Check()} {
		if err != nil {
			return nil, exit.Errorf(exit.BadArchive, "%s of the image: %w", recordFile, err)
		}
	}
	for _, f := range r.Files {
		if !system.PlainName(f.Name) {
			return nil, exit.Errorf(exit.BadArchive, "%s of the image: %q is not a plain name", recordFile, f.Name)
		}
	}
	return &r, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func refuse(format string, args ...any) *exit.Error {
	return exit.Errorf(exit.BadArchive, "%w", fmt.Errorf(format, args...))
}
