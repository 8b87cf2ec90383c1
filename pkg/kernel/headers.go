package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/fnv"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

// What a kernel that is installed again, under the same release, has made anew:
// the sizes and times of these tell, without a walk through the headers. Of the
// second kind are those that some distributions keep apart from the rest.
var (
	generatedMarks = []string{"include/generated", "include/generated/compile.h", "include/generated/utsversion.h"}
	sharedMarks    = []string{"include/linux/module.h", "include/linux"}
)

// HeadersMark is made of the sizes and times of what a kernel's build and
// installation leave in its headers; 0 is without headers. Where it is the same
// the headers are, too, unless somebody has edited another file in place.
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

// addMarks adds what there is of the marks below dir, and counts it. Without
// the first one the others are not looked for.
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
		if st.Mode&unix.S_IFMT == unix.S_IFDIR { // its size depends on the file system
			st.Size = 0
		}
		fmt.Fprintln(h, name, st.Size, st.Mtim.Nano())
	}
	return found
}

// sharedHeaders is where headers are that several kernels share: Debian's source
// link leads there. It is empty for headers that were named by the caller.
func (k *Kernel) sharedHeaders() string {
	if k.Headers != filepath.Join(k.ModuleDir(), "build") {
		return ""
	}
	return filepath.Join(k.ModuleDir(), "source")
}

// maxHeader bounds a header, in bytes; the largest, of registers, have 10 MB.
const maxHeader = 64 << 20

// HeadersDigest is a digest of the headers that modules are most likely to be
// built from: what the kernel's own build has generated, and include/linux. It
// is made once, and is some thousand files.
func (k *Kernel) HeadersDigest() string { return k.digest() }

func (k *Kernel) digestHeaders() string {
	h := sha256.New()
	generated, _ := filepath.Glob(filepath.Join(globQuote(k.Headers), "arch/*/include/generated"))
	for _, dir := range append(generated, filepath.Join(k.Headers, "include/generated")) {
		hashTree(h, k.Headers, dir)
	}
	for _, dir := range []string{k.Headers, k.sharedHeaders()} {
		if dir == "" {
			continue
		}
		headers, _ := filepath.Glob(filepath.Join(globQuote(dir), "include/linux/*.h"))
		for _, file := range headers {
			hashHeader(h, dir, file)
		}
		if len(headers) > 0 {
			break
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// globQuote takes their meaning from the characters of a path that have one in
// a pattern.
func globQuote(path string) string {
	quoted := make([]byte, 0, len(path))
	for _, c := range []byte(path) {
		if c == '\\' || c == '*' || c == '?' || c == '[' {
			quoted = append(quoted, '\\')
		}
		quoted = append(quoted, c)
	}
	return string(quoted)
}

func hashTree(h hash.Hash, base, dir string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			hashHeader(h, base, path)
		}
		return nil
	})
}

// hashHeader adds a file under its name below base.
func hashHeader(h hash.Hash, base, path string) {
	data, err := system.ReadRegular(path, maxHeader)
	if err != nil {
		return
	}
	rel, _ := filepath.Rel(base, path)
	fmt.Fprintf(h, "%q %d\n", rel, len(data))
	h.Write(data)
}
