package system

import (
	"fmt"
	"io"
	"strings"
)

// maxMark is the largest length of the line in the middle, in bytes: what is
// cut once is not cut again.
const maxMark = 128

// Cut reads the size bytes of in if that is at most limit. Otherwise it reads
// their beginning and their end, with a line between them that says how much is
// left out. length is the number of bytes in r. A sparse log may have any
// length without using space.
func Cut(in io.ReaderAt, size, limit int64) (r io.Reader, length int64) {
	if size <= limit {
		return io.NewSectionReader(in, 0, size), size
	}
	half := (limit - maxMark) / 2
	mark := fmt.Sprintf("\n[dkms: %d bytes are left out here]\n", size-2*half)
	return io.MultiReader(io.NewSectionReader(in, 0, half), strings.NewReader(mark), io.NewSectionReader(in, size-half, half)),
		2*half + int64(len(mark))
}
