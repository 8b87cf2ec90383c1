package machine

import (
	"os"
	"path/filepath"
	"testing"

	"dkms/pkg/initramfs"
	"dkms/pkg/kernel"
	"dkms/pkg/tree"
)

// TestLookOnRecord: an image that cannot be read shows when it would be read: for
// a module that it has and whose copy is not on record.
func TestLookOnRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "initrd.img")
	if err := os.WriteFile(file, []byte("no image"), 0o644); err != nil {
		t.Fatal(err)
	}
	stamp, err := stampOf(file)
	if err != nil {
		t.Fatal(err)
	}
	record := looked{Image: file, Stamp: stamp, Asked: []string{"asked"}, Others: []string{"other"}, Keys: true,
		Modules: []initramfs.Module{{Name: "asked"}}}
	for _, test := range []struct {
		what   string
		change func(*looked)
		asked  string
		read   bool
	}{
		{"a module on record", func(*looked) {}, "asked", false},
		{"a module that the image does not have", func(*looked) {}, "new", false},
		{"another module of the image", func(*looked) {}, "other", true},
		{"a record without the other modules", func(l *looked) { l.Others = nil }, "new", true},
		{"a record of another image", func(l *looked) { l.Stamp = "1 2 3" }, "asked", true},
	} {
		l := record
		test.change(&l)
		image := look(&kernel.Initramfs{Image: file}, tree.Target{Kernel: "6.1"}, []string{test.asked}, []looked{l})
		if read := image.Err != nil; read != test.read {
			t.Errorf("%s: read %v; want %v", test.what, read, test.read)
		}
	}
}
