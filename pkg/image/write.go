package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"dkms/pkg/system"
)

// Write writes the layout of img into the empty directory dir, and returns the
// digest of the image. All files are synced when Write returns.
func Write(dir string, img *Image) (digest string, err error) {
	if err := os.MkdirAll(filepath.Join(dir, blobsDir), 0o755); err != nil {
		return "", err
	}
	m := manifest{SchemaVersion: 2, MediaType: mediaManifest, Annotations: img.Annotations}
	c := config{Created: epoch, Architecture: Arch(img.Arch), OS: "linux"}
	c.Config.Labels = img.Annotations
	c.RootFS.Type = "layers"
	for _, files := range img.Layers {
		layer, diff, err := writeLayer(dir, files)
		if err != nil {
			return "", err
		}
		m.Layers = append(m.Layers, layer)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, diff)
	}
	if m.Config, err = writeBlob(dir, mediaConfig, c); err != nil {
		return "", err
	}
	d, err := writeBlob(dir, mediaManifest, m)
	if err != nil {
		return "", err
	}
	return d.Digest, writeIndex(dir, d, img.Tags)
}

func writeIndex(dir string, d descriptor, tags []string) error {
	x := index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{}}
	for _, tag := range tags {
		d.Annotations = map[string]string{refName: tag}
		x.Manifests = append(x.Manifests, d)
	}
	if len(tags) == 0 {
		x.Manifests = append(x.Manifests, d)
	}
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if err := system.WriteFile(filepath.Join(dir, layoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return err
	}
	return system.WriteFile(filepath.Join(dir, indexFile), data, 0o644)
}

// writeBlob writes v as JSON; the keys of maps are sorted.
func writeBlob(dir, mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	return descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: int64(len(data))},
		system.WriteFile(filepath.Join(dir, blobsDir, name), data, 0o644)
}

// writeLayer writes the layer with files; diff is the digest of the
// uncompressed layer.
func writeLayer(dir string, files []File) (d descriptor, diff string, err error) {
	f, err := os.CreateTemp(filepath.Join(dir, blobsDir), system.StagePrefix+"layer.*")
	if err != nil {
		return d, "", err
	}
	defer os.Remove(f.Name()) // fails harmlessly after the rename
	defer f.Close()
	packed, plain := sha256.New(), sha256.New()
	z := gzip.NewWriter(io.MultiWriter(f, packed))
	if err = writeTar(io.MultiWriter(z, plain), files); err == nil {
		err = z.Close()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return d, "", err
	}
	st, err := f.Stat()
	if err != nil {
		return d, "", err
	}
	d = descriptor{MediaType: mediaGzip, Digest: sum(packed), Size: st.Size()}
	return d, sum(plain), os.Rename(f.Name(), blob(dir, d.Digest))
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// blob returns the path of the blob with a digest.
func blob(dir, digest string) string {
	return filepath.Join(dir, blobsDir, strings.TrimPrefix(digest, "sha256:"))
}

// writeTar writes files in the order of their names, with the directories above
// the files. All members belong to root and have the time 0.
func writeTar(w io.Writer, files []File) error {
	t := tar.NewWriter(w)
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	made := map[string]bool{".": true}
	for i, f := range files {
		if f.Name == "." || !filepath.IsLocal(f.Name) || path.Clean(f.Name) != f.Name || i > 0 && files[i-1].Name == f.Name {
			return fmt.Errorf("%q cannot be the name of a file in an image, or not of two", f.Name)
		}
		if err := writeDirs(t, path.Dir(f.Name), made); err != nil {
			return err
		}
		if err := writeFile(t, f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return t.Close()
}

func writeDirs(t *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := writeDirs(t, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
}

func writeFile(t *tar.Writer, f File) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: 0o644, ModTime: time.Unix(0, 0), Size: int64(len(f.Data))}
	if f.Exec {
		h.Mode = 0o755
	}
	if f.Link != "" {
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
		return t.WriteHeader(h)
	}
	var in io.Reader = bytes.NewReader(f.Data)
	if f.Path != "" {
		file, err := os.Open(f.Path)
		if err != nil {
			return err
		}
		defer file.Close()
		st, err := file.Stat()
		if err != nil {
			return err
		}
		in, h.Size = file, st.Size()
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.CopyN(t, in, h.Size)
	return err
}

// Archive writes the layout in dir to w as a tar archive, which skopeo and
// podman call oci-archive.
func Archive(w io.Writer, dir string) error {
	var files []File
	entries, err := os.ReadDir(filepath.Join(dir, blobsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		files = append(files, File{Name: blobsDir + "/" + e.Name(), Path: filepath.Join(dir, blobsDir, e.Name())})
	}
	for _, name := range []string{indexFile, layoutFile} {
		files = append(files, File{Name: name, Path: filepath.Join(dir, name)})
	}
	return writeTar(w, files)
}
