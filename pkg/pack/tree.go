package pack

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// raw is the suffix of images of a file system.
const raw = ".raw"

// WriteTree writes files as the directory path, or as an image of a file system
// if path ends in .raw. All files belong to root and have the time at. temp and
// user are as for [Write].
func WriteTree(ctx context.Context, run *system.Runner, files []File, at time.Time, path, temp string, user int) error {
	p := &Package{Files: files, Time: at}
	if strings.HasSuffix(path, raw) {
		return writeFileSystem(ctx, run, p, path, temp, user)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), system.StagePrefix+"export.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	j := &job{run: run, p: p, dir: dir}
	if err := j.lay(); err != nil {
		return err
	}
	if err := j.settle(); err != nil {
		return err
	}
	if err := syncAll(dir); err != nil {
		return err
	}
	return system.SwapDir(path, filepath.Join(dir, root))
}

// syncAll makes the file system of a directory durable.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

func writeFileSystem(ctx context.Context, run *system.Runner, p *Package, path, temp string, user int) error {
	seconds := strconv.FormatInt(p.Time.Unix(), 10)
	// The number that names the file system is always the same.
	argv := []string{"mkfs.erofs", "--all-root", "-T", seconds, "-U", "6d6f6475-6c65-4000-8000-646b6d730000", out, root}
	if !run.Has(argv[0]) {
		argv = []string{"mksquashfs", root, out, "-all-root", "-noappend", "-quiet", "-no-progress"}
	}
	if !run.Has(argv[0]) {
		return exit.Errorf(exit.Usage, "%s: neither mkfs.erofs nor mksquashfs is installed", path).
			WithHint("install the package erofs-utils or squashfs-tools, or write a directory: a name without .raw")
	}
	return made(ctx, &job{run: run, p: p, user: user}, path, temp, func(j *job) error {
		return j.exec(ctx, func(string) system.Cmd { return system.Cmd{Argv: argv} })
	})
}

// made makes a file in a private directory, and puts it at path.
func made(ctx context.Context, j *job, path, temp string, build func(*job) error) (err error) {
	if j.dir, err = os.MkdirTemp(temp, "dkms-export."); err != nil {
		return err
	}
	defer os.RemoveAll(j.dir)
	if err := j.lay(); err != nil {
		return err
	}
	if err := build(j); err != nil {
		return err
	}
	stage, err := system.StageFile(ctx, path, filepath.Join(j.dir, out), 0o644)
	if err != nil {
		return err
	}
	if err := os.Rename(stage, path); err != nil {
		os.Remove(stage)
		return err
	}
	return system.SyncDir(filepath.Dir(path))
}
