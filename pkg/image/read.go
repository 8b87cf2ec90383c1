package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dkms/pkg/archive"
	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// maxJSON bounds an index, a manifest and a configuration, in bytes.
const maxJSON = 4 << 20

// maxLayers bounds the number of layers.
const maxLayers = 16

// Layout is an image in a directory. Whoever can write to that directory can
// change the image at any time, so only the files that [Layout.Unpack] has
// written without an error are known to match the digest.
type Layout struct {
	// Digest is the digest of the image.
	Digest string
	// Annotations are the annotations of the image.
	Annotations map[string]string

	dir      string
	manifest manifest
}

// bad returns an error about the image.
func bad(format string, args ...any) error { return exit.Errorf(exit.BadArchive, format, args...) }

// Open reads the index and manifest of the only image of the layout in dir.
// That image may have several names.
func Open(dir string) (*Layout, error) {
	data, err := system.ReadRegular(filepath.Join(dir, indexFile), maxJSON)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bad("%s is no OCI image layout: it has no %s", dir, indexFile)
	}
	if err != nil {
		return nil, bad("%w", err)
	}
	d, err := parseIndex(data)
	if err != nil {
		return nil, bad("%s: %w", filepath.Join(dir, indexFile), err)
	}
	l := &Layout{Digest: d.Digest, dir: dir}
	if data, err = l.small(d); err != nil {
		return nil, err
	}
	if l.manifest, err = parseManifest(data); err != nil {
		return nil, bad("image %s: %w", d.Digest, err)
	}
	l.Annotations = l.manifest.Annotations
	return l, nil
}

// parseIndex returns the descriptor of the only image that an index names.
func parseIndex(data []byte) (descriptor, error) {
	var x index
	if err := json.Unmarshal(data, &x); err != nil {
		return descriptor{}, err
	}
	if x.SchemaVersion != 2 || len(x.Manifests) == 0 {
		return descriptor{}, errors.New("names no image")
	}
	first := x.Manifests[0]
	for _, d := range x.Manifests {
		if d.Digest != first.Digest {
			return descriptor{}, errors.New("names several images")
		}
	}
	if first.MediaType != mediaManifest {
		return descriptor{}, fmt.Errorf("leads to %q, which is no image", first.MediaType)
	}
	return first, first.check(maxJSON)
}

func parseManifest(data []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	if m.SchemaVersion != 2 || len(m.Layers) == 0 || len(m.Layers) > maxLayers {
		return m, fmt.Errorf("not an image of 1 to %d layers", maxLayers)
	}
	if err := m.Config.check(maxJSON); err != nil {
		return m, err
	}
	for _, d := range m.Layers {
		if d.MediaType != mediaGzip && d.MediaType != mediaLayer && d.MediaType != mediaLayer+"+zstd" {
			return m, fmt.Errorf("a layer is of the type %q", d.MediaType)
		}
		if err := d.check(archive.MaxBytes); err != nil {
			return m, err
		}
	}
	return m, nil
}

// check rejects a descriptor that cannot be followed.
func (d descriptor) check(limit int64) error {
	if !isDigest(d.Digest) {
		return fmt.Errorf("%q is no digest that is understood", d.Digest)
	}
	if d.Size < 0 || d.Size > limit {
		return fmt.Errorf("%s: a size of %d bytes; at most %d are read", d.Digest, d.Size, limit)
	}
	return nil
}

// small reads a blob into memory and verifies it.
func (l *Layout) small(d descriptor) ([]byte, error) {
	r, err := l.open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxJSON+1))
	if err != nil {
		return nil, err
	}
	return data, r.verify()
}

// Unpack extracts the topmost layer into the new directory dir, and verifies
// all other layers, because an image is good only as a whole. Links are an
// error. After an error dir does not exist.
func (l *Layout) Unpack(ctx context.Context, run *system.Runner, dir string) error {
	top := len(l.manifest.Layers) - 1
	if _, err := l.small(l.manifest.Config); err != nil {
		return err
	}
	for _, d := range l.manifest.Layers[:top] {
		if err := l.pass(ctx, d); err != nil {
			return err
		}
	}
	r, err := l.open(l.manifest.Layers[top])
	if err != nil {
		return err
	}
	defer r.Close()
	err = archive.UnpackFiles(ctx, run, r.Digest, r, dir)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// A blob that does not match its digest may also fail to unpack; the digest
	// tells the reader most.
	if bad := r.verify(); bad != nil {
		os.RemoveAll(dir)
		return bad
	}
	return err
}

// pass reads a blob only in order to verify it.
func (l *Layout) pass(ctx context.Context, d descriptor) error {
	r, err := l.open(d)
	if err != nil {
		return err
	}
	defer r.Close()
	for buf := make([]byte, 1<<20); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		_, err := r.Read(buf)
		if errors.Is(err, io.EOF) {
			return r.verify()
		}
		if err != nil {
			return err
		}
	}
}

// reader reads a blob; it counts and hashes the bytes.
type reader struct {
	descriptor
	file *os.File
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
	hashed io.Reader
	size   int64
}

func (l *Layout) open(d descriptor) (*reader, error) {
	f, err := os.OpenFile(blob(l.dir, d.Digest), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bad("%s is missing in the image", d.Digest)
	}
	if err != nil {
		return nil, bad("%w", err)
	}
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Size() != d.Size) {
		err = bad("%s: %d bytes in the image; its manifest has %d", d.Digest, st.Size(), d.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	h := sha256.New()
	return &reader{descriptor: d, file: f, sum: h, hashed: io.TeeReader(io.LimitReader(f, d.Size), h)}, nil
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.hashed.Read(p)
	r.size += int64(n)
	return n, err
}

// verify reads the rest of the blob and compares the hash of all bytes with the
// digest.
func (r *reader) verify() error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if got := fmt.Sprintf("sha256:%x", r.sum.Sum(nil)); got != r.Digest || r.size != r.Size {
		return bad("%s: the contents are not what the digest says", r.Digest)
	}
	return nil
}

// Close closes the file of the blob.
func (r *reader) Close() error { return r.file.Close() }
