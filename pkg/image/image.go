// Package image writes files as an OCI image in a directory, in the OCI Image
// Layout, and reads such an image.
//
// It guarantees that the same files give the same digest wherever and whenever
// an image is made, and that it returns no content of an image whose bytes do
// not match the digests.
package image

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// File is a member of a layer: a regular file with the content Data or, where
// Path is set, the content of the file Path; or a symbolic link to Link.
type File struct {
	// Name is relative, with slashes; the directories above the file are
	// implied.
	Name string
	Data []byte
	Path string
	Link string
	// Exec makes the file executable.
	Exec bool
}

// Image is the content of an image.
type Image struct {
	// Layers are stacked; the first one is at the bottom.
	Layers [][]File
	// Arch is the kernel's name of the architecture, such as x86_64.
	Arch string
	// Annotations are the annotations of the image and the labels of its
	// configuration.
	Annotations map[string]string
	// Tags are the names of the image in its layout.
	Tags []string
}

// descriptor refers to a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// index is index.json, and manifest is the blob to which index.json leads. The
// fields are those fields of the OCI Image Specification that matter here.
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type config struct {
	Created      string `json:"created"`
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		Labels map[string]string `json:"Labels,omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	blobsDir   = "blobs/sha256"

	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
	mediaGzip     = mediaLayer + "+gzip"

	// refName is the annotation that names an image in a layout.
	refName = "org.opencontainers.image.ref.name"
	// epoch is the creation time of every image: the current time would change
	// the digest.
	epoch = "1970-01-01T00:00:00Z"
)

// Arch returns the name that images use (GOARCH) for the kernel's name of an
// architecture.
func Arch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "i386", "i486", "i586", "i686":
		return "386"
	case "aarch64":
		return "arm64"
	case "armv6l", "armv7l":
		return "arm"
	case "loongarch64":
		return "loong64"
	}
	return machine // ppc64le, s390x, riscv64 and others have one name only
}

// isDigest reports whether s is a digest of the only accepted form. A digest
// becomes part of a path, so no other form is safe.
func isDigest(s string) bool {
	sum, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(sum) == hex.EncodedLen(sha256.Size) && strings.Trim(sum, "0123456789abcdef") == ""
}
