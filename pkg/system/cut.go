package system

import (
	"fmt"
	"io"
	"strings"
)

// maxMark is how long the line in the middle may be, in bytes: what is cut once
// is not cut again.
const maxMark = 128

// Cut reads what in holds, which is size bytes: all of it where that is at most
// limit, and otherwise its beginning and its end, with a line between them that
// says how much is left out. length is how much there is to read. A log may have
// any length without taking any space.
func Cut(in io.ReaderAt, size, limit int64) (r io.Reader, length int64) {
	if size <= limit {
		return io.NewSectionReader(in, 0, size), size
	}
	half := (limit - maxMark) / 2
	mark := fmt.Sprintf("\n[dkms: %d bytes are left out here]\n", size-2*half)
	return io.MultiReader(io.NewSectionReader(in, 0, half), strings.NewReader(mark), io.NewSectionReader(in, size-half, half)),
		2*half + int64(len(mark))
}
