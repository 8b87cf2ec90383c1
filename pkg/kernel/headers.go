package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

// Installing a kernel again under the same release rewrites these files and
// directories, so their sizes and times show the change without a walk through
// the headers. Some distributions keep the sharedMarks in a separate directory.
var (
	generatedMarks = []string{"include/generated", "include/generated/compile.h", "include/generated/utsversion.h"}
	sharedMarks    = []string{"include/linux/module.h", "include/linux"}
)

// HeadersMark returns a hash of the sizes and times of what a kernel's build
// and installation write into the headers, or 0 without headers. An unchanged
// mark means unchanged headers, unless somebody has edited another file in
// place.
func (k *Kernel) HeadersMark() int64 {
	h := fnv.New64a()
	found := addMarks(h, k.Headers, generatedMarks)
	if n := addMarks(h, k.Headers, sharedMarks); n > 0 {
		found += n
	} else if source := k.sharedHeaders(); source != "" {
		found += addMarks(h, source, sharedMarks)
	}
	if found == 0 {
		return 0
	}
	return int64(h.Sum64())
}

// addMarks hashes those of the marks that exist below dir, and counts them. If
// the first mark is missing, addMarks does not look for the others.
func addMarks(h hash.Hash64, dir string, marks []string) (found int) {
	for _, name := range marks {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, name), &st) != nil {
			if found == 0 {
				return 0
			}
			continue
		}
		found++
		if st.Mode&unix.S_IFMT == unix.S_IFDIR { // the size of a directory depends on the file system
			st.Size = 0
		}
		fmt.Fprintln(h, name, st.Size, st.Mtim.Nano())
	}
	return found
}

// sharedHeaders returns the directory of headers that several kernels share, to
// which Debian's source link leads. It returns "" if the caller named a directory
// of headers.
func (k *Kernel) sharedHeaders() string {
	switch {
	case k.Headers == filepath.Join(k.ModuleDir(), "build"):
		return filepath.Join(k.ModuleDir(), "source")
	case k.Around != "":
		return k.Source()
	}
	return ""
}

// Source returns the directory to which the link named source, beside that to the
// headers, leads: in packages that were unpacked aside, it may lead to an
// installed one. Without the link it is the directory of the headers.
func (k *Kernel) Source() string {
	for _, dir := range []string{"/usr/lib/modules", "/lib/modules"} {
		link := filepath.Join(dir, k.Release, "source")
		if real, err := filepath.EvalSymlinks(k.Around + link); err == nil && k.Around != "" {
			return real
		}
		target, err := os.Readlink(k.Around + link) // to a package that is installed
		if err == nil && !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		if err == nil && system.IsDir(target) {
			return target
		}
	}
	return k.Headers
}

// maxHeader bounds a header, in bytes; the largest, lists of registers, have 10
// MB.
const maxHeader = 64 << 20

// HeadersDigest returns a digest of the headers that modules are most likely to
// include: what the kernel's own build has generated, and include/linux. These
// are some thousand files, so the digest is computed only once, and not at all
// where KeepDigest has kept it and the files are the same since.
func (k *Kernel) HeadersDigest() string { return k.digest().sum }

// digested is the digest of the headers, and the state that they had before it
// was computed.
type digested struct{ state, sum string }

// String is the content of the file that keeps the digest.
func (d digested) String() string { return d.state + " " + d.sum + "\n" }

// KeepDigest keeps the digest of the headers in Options.Digest.
func (k *Kernel) KeepDigest() error {
	text := k.digest().String()
	if k.note == "" || k.noted() == text {
		return nil
	}
	return system.WriteFile(k.note, []byte(text), 0o644)
}

// noted is the content of the file that keeps the digest, or "".
func (k *Kernel) noted() string {
	text, _ := system.ReadRegular(k.note, maxWord)
	return string(text)
}

func (k *Kernel) digestHeaders() digested {
	state := fnv.New64a()
	k.eachHeader(func(_, path string) {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			fmt.Fprintln(state, path, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
		}
	})
	d := digested{state: fmt.Sprintf("%016x", state.Sum64())}
	was, sum, _ := strings.Cut(strings.TrimSuffix(k.noted(), "\n"), " ")
	if was == d.state && len(sum) == hex.EncodedLen(sha256.Size) {
		d.sum = sum
		return d
	}
	h := sha256.New()
	k.eachHeader(func(base, path string) { hashHeader(h, base, path) })
	d.sum = hex.EncodeToString(h.Sum(nil))
	return d
}

// eachHeader visits the headers that HeadersDigest is about. base is the directory
// that path is named in.
func (k *Kernel) eachHeader(visit func(base, path string)) {
	for _, dir := range append(system.Glob(k.Headers, "arch/*/include/generated"), filepath.Join(k.Headers, "include/generated")) {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				visit(k.Headers, path)
			}
			return nil
		})
	}
	for _, dir := range []string{k.Headers, k.sharedHeaders()} {
		if dir == "" {
			continue
		}
		headers := system.Glob(dir, "include/linux/*.h")
		for _, file := range headers {
			visit(dir, file)
		}
		if len(headers) > 0 {
			break
		}
	}
}

// hashHeader hashes a file under its name below base.
func hashHeader(h hash.Hash, base, path string) {
	data, err := system.ReadRegular(path, maxHeader)
	if err != nil {
		return
	}
	rel, _ := filepath.Rel(base, path)
	fmt.Fprintf(h, "%q %d\n", rel, len(data))
	h.Write(data)
}
