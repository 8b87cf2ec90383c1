// Package image is OCI images of files: laying one out in a directory as the
// OCI Image Layout has it, and taking one apart.
//
// It guarantees that the same files give the same digest wherever and whenever
// an image is made, and that nothing is handed out of an image whose contents
// are not, to the last byte, what its digests say.
package image

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// File is a member of a layer: a regular file with the contents Data or, where
// Path names one, of that file; or a symbolic link to Link.
type File struct {
	// Name is relative, with slashes; the directories above it are implied.
	Name string
	Data []byte
	Path string
	Link string
	// Exec makes the file executable.
	Exec bool
}

// Image is what an image is made of.
type Image struct {
	// Layers are put on top of each other, the first one at the bottom.
	Layers [][]File
	// Arch is the architecture as the kernel has it, such as x86_64.
	Arch string
	// Annotations are those of the image, and the labels of its
	// configuration.
	Annotations map[string]string
	// Tags are the names that the image has in its layout.
	Tags []string
}

// descriptor refers to a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// index is index.json and manifest is what it leads to; the fields are those
// of the OCI Image Specification that matter here.
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
	// epoch is when every image was made: a clock would change its digest.
	epoch = "1970-01-01T00:00:00Z"
)

// Arch is what images call an architecture of the kernel's (GOARCH).
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
	return machine // ppc64le, s390x, riscv64 and what nobody else names
}

// isDigest tells the only form of a digest that is accepted; it becomes part of
// a path.
func isDigest(s string) bool {
	sum, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(sum) == hex.EncodedLen(sha256.Size) && strings.Trim(sum, "0123456789abcdef") == ""
}
