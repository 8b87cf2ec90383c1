// Package initramfs reads the kernel modules in the images of initial file
// systems, whoever made them, and compares them with modules elsewhere.
//
// It guarantees that it starts no program, that no image, however damaged, makes
// it panic or use memory or time without bound, and that two modules count as
// the same where they differ only in compression, signature or debug sections.
package initramfs

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// Module is a module in an image.
type Module struct {
	// Path is the path in the image, and Name the name of the module with
	// underscores.
	Path, Name string
	// Print identifies the module; it is empty if the module could not be read.
	Print Print
	// Key identifies the key that the module is signed with; it is empty if the
	// module is not signed.
	Key string
}

// Print identifies a module without its compression and signature: by the
// identifier of its build or, if it has none, by its digest.
type Print string

// PrintOf is the print of a module, compressed or not, and the identifier of the
// key that it is signed with, or "" if it is not signed.
func PrintOf(data []byte) (print Print, key string, err error) {
	data, err = module.Decompress(data)
	if err != nil {
		return "", "", err
	}
	if signature := module.ReadSignature(data); signature != nil {
		key = signature.KeyID
	}
	for {
		payload, _, ok := module.CutSignature(data)
		if !ok {
			break
		}
		data = payload
	}
	if id, err := module.BuildID(data); err == nil && id != "" {
		return Print("build " + id), key, nil
	}
	sum := sha256.Sum256(data)
	return Print("sha256 " + hex.EncodeToString(sum[:])), key, nil
}

// PrintOfFile is [PrintOf] for a module file.
func PrintOfFile(file string) (Print, string, error) {
	data, err := system.ReadRegular(file, maxModule)
	if err != nil {
		return "", "", err
	}
	return PrintOf(data)
}

// The bounds of an image. Those of today have at most a few thousand files and a
// few hundred megabytes.
const (
	maxRecords = 200_000
	maxBytes   = 2 << 30
	maxModule  = 512 << 20
)

var (
	errDamaged = errors.New("damaged")
	errTooBig  = fmt.Errorf("more than %d files or %d MiB", maxRecords, maxBytes>>20)
)

// Read lists the modules for a kernel in the image file. With nil, prints are
// taken of all modules; otherwise only of those that wanted accepts by their
// names. A unified kernel image is read by its section .initrd (Unified Kernel
// Image specification of the UAPI group).
func Read(file, release string, wanted func(name string) bool) ([]Module, error) {
	f, st, err := system.OpenRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in, err := initrdOf(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	r := &reading{release: release, wanted: wanted}
	if err := r.image(in); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r.list, nil
}

// initrdOf is the content of an image, or of the section .initrd of a unified
// kernel image.
func initrdOf(f io.ReaderAt, size int64) (io.Reader, error) {
	var magic [2]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil || string(magic[:]) != "MZ" {
		return io.NewSectionReader(f, 0, size), nil
	}
	file, err := pe.NewFile(f)
	if err != nil {
		return nil, err
	}
	for _, s := range file.Sections {
		if s.Name == ".initrd" {
			return io.NewSectionReader(f, int64(s.Offset), int64(min(s.VirtualSize, s.Size))), nil
		}
	}
	return nil, errors.New("a kernel image without an initramfs")
}

// UnifiedRelease is the kernel release of a unified kernel image, from its
// section .uname, or empty.
func UnifiedRelease(file string) string {
	f, _, err := system.OpenRegular(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	image, err := pe.NewFile(f)
	if err != nil {
		return ""
	}
	for _, s := range image.Sections {
		if s.Name == ".uname" {
			text := make([]byte, min(s.VirtualSize, s.Size, 256))
			n, _ := s.ReadAt(text, 0)
			text, _, _ = bytes.Cut(text[:n], []byte{0})
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}

// reading is the state of reading an image.
type reading struct {
	release string
	wanted  func(string) bool
	list    []Module
	records int
	bytes   int64
}

// take notes a file of an image if it is a module for the kernel.
func (r *reading) take(name string, content io.Reader, size int64) error {
	base := path.Base(name)
	stem, _, ok := module.ParseSuffix(base)
	// An image of booster is for one kernel, and its modules are in the top directory.
	if !ok || !strings.Contains("/"+name, "/lib/modules/"+r.release+"/") && !strings.HasSuffix(path.Dir("/"+name), "/lib/modules") {
		return nil
	}
	m := Module{Path: name, Name: Name(stem)}
	if r.wanted == nil || r.wanted(m.Name) {
		if size > maxModule {
			return errTooBig
		}
		data, err := io.ReadAll(io.LimitReader(content, size))
		if err != nil {
			return err
		}
		m.Print, m.Key, _ = PrintOf(data) // a module that cannot be read is like no other
	}
	r.list = append(r.list, m)
	return nil
}

// Name is the name that modules go by, however their file is called: the kernel
// takes dashes for underscores.
func Name(stem string) string { return strings.ReplaceAll(stem, "-", "_") }
