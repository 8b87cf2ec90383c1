package system

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// overlay mounts an overlay for the calling goroutine, which keeps its thread,
// and returns its lower layer and where both layers are seen.
func overlay(t *testing.T) (lower, merged string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	base := t.TempDir()
	lower, merged = filepath.Join(base, "lower"), filepath.Join(base, "merged")
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread() // it ends with the goroutine, and with it the mounts
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Skip("no namespaces:", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	return lower, merged
}

func mountOverlay(t *testing.T, merged string) {
	t.Helper()
	base := filepath.Dir(merged)
	options := "redirect_dir=off,lowerdir=" + base + "/lower,upperdir=" + base + "/upper,workdir=" + base + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Skip("no overlay file system:", err)
	}
	t.Cleanup(func() { unix.Unmount(merged, unix.MNT_DETACH) })
}

// A directory of the lower layer cannot be renamed, and is replaced all the
// same; doing it again brings it back.
func TestSwapDirOverlay(t *testing.T) {
	lower, merged := overlay(t)
	write(t, filepath.Join(lower, "build/module/foo.ko"), "old", 0o644)
	write(t, filepath.Join(lower, "build/.manifest"), "old", 0o644)
	mountOverlay(t, merged)
	path, stage := filepath.Join(merged, "build"), filepath.Join(merged, "stage")
	if err := os.Rename(path, path+"2"); err == nil {
		t.Skip("this overlay can rename directories of its lower layer")
	}
	write(t, filepath.Join(stage, "module/foo.ko"), "new", 0o644)
	for _, want := range []string{"new old", "old new"} {
		if err := SwapDir(path, stage); err != nil {
			t.Fatal(err)
		}
		have := []string{}
		for _, dir := range []string{path, stage} {
			data, err := os.ReadFile(filepath.Join(dir, "module/foo.ko"))
			if err != nil {
				t.Fatal(err)
			}
			have = append(have, string(data))
		}
		if got := strings.Join(have, " "); got != want {
			t.Errorf("in the place of each other are %s; want %s", got, want)
		}
	}
	if names, _ := os.ReadDir(merged); len(names) != 2 {
		t.Errorf("left beside: %v", names)
	}
}
