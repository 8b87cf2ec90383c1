package pack

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"dkms/pkg/system"
)

// job is the making of one package in a private directory, which has the files
// of the package below root.
type job struct {
	run  *system.Runner
	p    *Package
	dir  string
	user int
}

const (
	root = "root"
	out  = "out"
	// jailed is where a program in a jail sees the directory of the job. The
	// path is always the same, because some formats record it.
	jailed = "/tmp"
)

// lay writes the files of the package below root.
func (j *job) lay() error {
	for _, f := range j.p.Files {
		data, err := f.read()
		if err != nil {
			return err
		}
		if err := j.write(root+f.Path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// write writes a file below the directory of the job.
func (j *job) write(name string, data []byte, mode fs.FileMode) error {
	path := filepath.Join(j.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// settle gives all files the time of the package, and to the user of the job.
func (j *job) settle() error {
	dir, err := os.OpenRoot(j.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return system.Walk(dir, func(name string, st fs.FileInfo) error {
		if j.user != 0 {
			if err := dir.Lchown(name, j.user, j.user); err != nil {
				return err
			}
		}
		if st.IsDir() {
			if err := dir.Chmod(name, 0o755); err != nil {
				return err
			}
		}
		return dir.Chtimes(name, j.p.Time, j.p.Time)
	})
}

// exec runs a program in the directory of the job; command gets the path of
// that directory. A user of the job runs the program in a jail or, where no jail
// can be made, with the rights of the user only.
func (j *job) exec(ctx context.Context, command func(dir string) system.Cmd) error {
	if err := j.settle(); err != nil {
		return err
	}
	if j.user != 0 {
		c := j.within(command, jailed)
		c.Jail = &system.Jail{UID: j.user, Writable: []system.Mount{{From: j.dir, At: jailed}}}
		err := j.run.Run(ctx, c)
		if _, refused := errors.AsType[*system.JailError](err); !refused {
			return err
		}
	}
	c := j.within(command, j.dir)
	if j.user != 0 {
		c.Attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(j.user), Gid: uint32(j.user)}}
	}
	return j.run.Run(ctx, c)
}

func (j *job) within(command func(dir string) system.Cmd, dir string) system.Cmd {
	c := command(dir)
	env := map[string]string{
		"HOME": dir, "TMPDIR": dir, "USER": "dkms", "LOGNAME": "dkms", "SOURCE_DATE_EPOCH": strconv.FormatInt(j.p.Time.Unix(), 10),
	}
	maps.Copy(env, c.Env)
	c.Dir, c.Env = dir, env
	return c
}

// compare compares the files of a package with the digests of the files that it
// was made of.
func (p *Package) compare(got map[string]string) error {
	for _, f := range p.Files {
		data, err := f.read()
		if err != nil {
			return err
		}
		switch sum, there := got[f.Path]; {
		case !there:
			return fmt.Errorf("%s is missing in it", f.Path)
		case sum != digest(data):
			return fmt.Errorf("%s in it is not the file that was built", f.Path)
		}
	}
	if len(got) != len(p.Files) {
		return fmt.Errorf("it has %d files instead of %d", len(got), len(p.Files))
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// tarContents returns the digests of the files in the archive that a program
// prints; files at the top that begin with a dot describe the package.
func tarContents(ctx context.Context, run *system.Runner, argv ...string) (map[string]string, error) {
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run.Run(ctx, system.Cmd{Argv: argv, Stdout: w})
		w.CloseWithError(err)
		ended <- err
	}()
	sums, err := digestAll(tar.NewReader(r))
	if err == nil {
		_, err = io.Copy(io.Discard, r) // the padding behind the archive
	}
	r.CloseWithError(err)
	return sums, errors.Join(err, <-ended)
}

func digestAll(t *tar.Reader) (map[string]string, error) {
	sums := map[string]string{}
	for {
		h, err := t.Next()
		if err == io.EOF {
			return sums, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag == tar.TypeDir || strings.HasPrefix(name, ".") && !strings.Contains(name, "/") {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, t); err != nil {
			return nil, err
		}
		sums["/"+name] = hex.EncodeToString(sum.Sum(nil))
	}
}
