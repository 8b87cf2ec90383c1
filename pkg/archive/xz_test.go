package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// xzOf compresses data with the xz program.
func xzOf(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	need(t, "xz")
	file := filepath.Join(t.TempDir(), "data")
	must(t, os.WriteFile(file, data, 0o600))
	return []byte(output(t, append(append([]string{"xz", "-c"}, args...), file)...))
}

func unxz(data []byte) ([]byte, error) {
	return io.ReadAll(newXZReader(bufio.NewReader(bytes.NewReader(data))))
}

func TestXZReader(t *testing.T) {
	text := bytes.Repeat([]byte("some text that repeats itself; "), 20_000)
	var files [][]byte
	for _, args := range [][]string{
		{"-0"}, {"-9e"}, {"--check=none"}, {"--check=crc32"}, {"--check=sha256"},
		{"-T2", "--block-size=65536"}, {"-T1", "--block-size=20000"}, {"--lzma2=dict=4096"},
	} {
		for _, data := range [][]byte{nil, []byte("x"), text} {
			packed := xzOf(t, data, args...)
			got, err := unxz(packed)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("xz %q of %d bytes: %d bytes, %v", args, len(data), len(got), err)
			}
			files = append(files, packed)
		}
	}
	padded := bytes.Join(files[:3], make([]byte, 8))
	if got, err := unxz(append(padded, 0, 0, 0, 0)); err != nil || len(got) != len(text)+1 {
		t.Errorf("three streams with padding: %d bytes, %v; want %d", len(got), err, len(text)+1)
	}
	for _, tail := range []string{"\x00\x00\x00", "x", "\x00\x00\x00\x00x", "garbage that is longer than a header"} {
		if _, err := unxz(append(bytes.Clone(files[1]), tail...)); err == nil {
			t.Errorf("no error for %q behind the end", tail)
		}
	}
}

func TestXZReaderNoticesEveryWrongByte(t *testing.T) {
	packed := xzOf(t, []byte("hello, hello, hello, hello, hello\n"))
	// The library takes a chunk that says to be longer than it is for granted;
	// what comes out of it is summed all the same.
	const chunkLength = xzHeaderSize + 12 + 3
	for i := range packed {
		if i == chunkLength {
			continue
		}
		broken := bytes.Clone(packed)
		broken[i] ^= 0x04
		if got, err := unxz(broken); err == nil {
			t.Errorf("byte %d wrong: %q without an error", i, got)
		}
		if got, err := unxz(packed[:i]); err == nil {
			t.Errorf("%d bytes: %q without an error", i, got)
		}
	}
}

// A block header can ask for 4 GiB.
func TestXZReaderDoesNotBelieveTheDictionary(t *testing.T) {
	packed := xzOf(t, []byte("hello\n"))
	h := packed[xzHeaderSize : xzHeaderSize+12]
	i := bytes.IndexByte(h, xzLZMA2)
	h[i+2] = 40
	binary.LittleEndian.PutUint32(h[8:], crc32.ChecksumIEEE(h[:8]))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := unxz(packed)
	runtime.ReadMemStats(&after)
	if err != nil || string(got) != "hello\n" {
		t.Errorf("unxz() = %q, %v", got, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 2*maxDict {
		t.Errorf("%d bytes allocated for 6", used)
	}
}

func FuzzXZ(f *testing.F) {
	f.Add([]byte(xzMagic))
	for _, args := range [][]string{{"-0"}, {"--check=none"}, {"--check=crc32"}, {"--check=sha256"}, {"--block-size=8"}, {"--x86", "--lzma2"}} {
		f.Add(xzOf(f, []byte("hello, hello, hello, hello\n"), args...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := unxz(data)
		cmd := exec.Command("xz", "-dc", "--memlimit-decompress=5GiB")
		cmd.Stdin = bytes.NewReader(data)
		want, xzErr := cmd.Output()
		if xzErr != nil || errors.Is(err, errXZFilters) {
			return
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("unxz() = %d bytes, %v; xz: %d bytes", len(got), err, len(want))
		}
	})
}
