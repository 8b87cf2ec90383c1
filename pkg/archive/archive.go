// Package archive writes, unpacks and inspects the tarballs of mktarball and
// ldtarball, and archives of module sources.
//
// It guarantees that an archive appears under its name completely or not at
// all, that unpacking writes nothing outside one new directory and leaves no
// trace when it fails, and that no archive, however made, exhausts memory or
// disk.
package archive

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

// The directories of an archive, and the files that describe a module in an
// archive without sources. The original looks for exactly these names.
const (
	buildsDir   = "dkms_main_tree"
	sourceDir   = "dkms_source_tree"
	binariesDir = "dkms_binaries_only"
	nameFile    = "PACKAGE_NAME"
	versionFile = "PACKAGE_VERSION"
	confFile    = "dkms.conf"
)

// writeFailed is the original's exit status when tar fails.
const writeFailed exit.Code = 6

// Content is the content of an archive.
type Content struct {
	Name, Version string
	// SourceDir is the directory of the sources; without one the archive
	// contains binaries only.
	SourceDir string
	// Conf is the dkms.conf of an archive of binaries only.
	Conf []byte
	// Builds are the builds to include; without any the archive contains
	// sources only.
	Builds []Build
}

// Build is a kept build: the directory of one kernel and architecture.
type Build struct{ Kernel, Arch, Dir string }

// check rejects content that ldtarball could not load, and empty content.
func (c Content) check() error {
	id := tree.ID{Name: c.Name, Version: c.Version}
	if err := id.Check(); err != nil {
		return err
	}
	if c.SourceDir == "" && len(c.Builds) == 0 {
		return exit.Errorf(exit.NotBuilt, "%s: neither sources nor builds to put into an archive", id)
	}
	for _, b := range c.Builds {
		if err := (tree.Target{Kernel: b.Kernel, Arch: b.Arch}).Check(); err != nil {
			return err
		}
	}
	return nil
}

// maxLabel bounds the list of kernels in a file name, in bytes.
const maxLabel = 199

// FileName returns mktarball's name for an archive of c.
func FileName(c Content) string {
	label := ""
	if len(c.Builds) == 0 && c.SourceDir != "" {
		label = "source-only"
	}
	var kernels []string
	for _, b := range c.Builds {
		kernels = append(kernels, "kernel"+b.Kernel+"-"+b.Arch)
	}
	if len(kernels) > 0 {
		label = strings.Join(kernels, "-")
	}
	if len(label) > maxLabel {
		label = "manykernels"
	}
	return c.Name + "-" + c.Version + "-" + label + ".dkms.tar.gz"
}

// compression is how an archive is compressed.
type compression int

const (
	plain compression = iota
	gzipped
	xzed
	zstded
	bzipped
)

// byName returns the compression for a file name, by the rules of tar
// --auto-compress. It rejects the suffixes of compressions that cannot be
// written, because the content would not match the name.
func byName(file string) (compression, error) {
	switch suffix := filepath.Ext(file); suffix {
	case ".gz", ".tgz", ".taz":
		return gzipped, nil
	case ".xz", ".txz":
		return xzed, nil
	case ".zst", ".tzst":
		return zstded, nil
	case ".bz2", ".tbz2", ".tbz", ".tz2":
		return bzipped, nil
	case ".Z", ".taZ", ".lz", ".tlz", ".lzma", ".lzo":
		return plain, exit.Errorf(writeFailed, "%s: archives with the suffix %s cannot be written", file, suffix).
			WithHint("use .tar, .tar.gz, .tar.xz, .tar.zst or .tar.bz2")
	default:
		return plain, nil
	}
}

// localLink returns what is wrong with a symbolic link of the given name and
// target, both relative to the top directory, which no link may leave. A target
// may go up only at its beginning: behind another link, the text of the target
// does not tell where "up" leads.
func localLink(name, target string) error {
	if target == "" {
		return errors.New("link without a target")
	}
	if path.IsAbs(target) {
		return fmt.Errorf("link to the absolute path %q", target)
	}
	down := false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "..":
			if down {
				return fmt.Errorf("link to %q, which goes down and up again", target)
			}
		case part != "" && part != ".":
			down = true
		}
	}
	if !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("link to %q, which leads out of the directory", target)
	}
	return nil
}
