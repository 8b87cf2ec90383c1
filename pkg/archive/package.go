package archive

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// IsPackage reports whether a file has the name of a package that
// [UnpackPackage] can read.
func IsPackage(file string) bool {
	return strings.HasSuffix(file, ".deb") || strings.HasSuffix(file, ".rpm") || isPacman(file) || strings.HasSuffix(file, gentoo)
}

// gentoo ends the name of a binary package of Gentoo (GLEP 78).
const gentoo = ".gpkg.tar"

// isPacman reports whether a file has the name of a package of pacman, which is a
// compressed tar archive (PKGBUILD(5), PKGEXT of makepkg.conf(5)).
func isPacman(file string) bool { return strings.Contains(filepath.Base(file), ".pkg.tar") }

// UnpackPackage adds the files of a .deb, .rpm, .pkg.tar or .gpkg.tar package to the
// directory dir of the caller, by the rules of [Unpack]. dir stands for the root of the
// system: an absolute link becomes a relative link to the same place below dir.
// Scripts of the package are not run. After an error the caller must delete dir.
func UnpackPackage(ctx context.Context, run *system.Runner, file, dir string) error {
	f, err := openArchive(ctx, file)
	if err != nil {
		return err
	}
	defer f.Close()
	u := &unpacker{limits: defaultLimits(), run: run, rooted: true}
	if err := u.packaged(ctx, f, dir); err != nil {
		return fmt.Errorf("%s: %w", file, cmp.Or(context.Cause(ctx), err))
	}
	return nil
}

func (u *unpacker) packaged(ctx context.Context, f *os.File, dir string) error {
	if strings.HasSuffix(f.Name(), ".rpm") {
		return u.rpm(ctx, f, dir)
	}
	if isPacman(f.Name()) {
		return u.into(ctx, f, dir)
	}
	if strings.HasSuffix(f.Name(), gentoo) {
		data, err := imageOfGentoo(f)
		if err != nil {
			return err
		}
		u.top = "image"
		return u.into(ctx, data, dir)
	}
	data, err := dataOfDeb(f)
	if err != nil {
		return err
	}
	return u.into(ctx, data, dir)
}

// imageOfGentoo returns the member of a package of Gentoo that holds its files, below
// "image": NAME/image.tar, compressed or not.
func imageOfGentoo(f io.Reader) (io.Reader, error) {
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, exit.Errorf(exit.BadArchive, "not a package of Gentoo: it has no image.tar")
		case err != nil:
			return nil, exit.Errorf(exit.BadArchive, "not a package of Gentoo, or a damaged one: %w", err)
		}
		if base := path.Base(h.Name); h.Typeflag == tar.TypeReg && strings.HasPrefix(base, "image.tar") && path.Ext(base) != ".sig" {
			return t, nil
		}
	}
}

// rpm extracts an RPM package: rpm's own program, or that of libarchive, makes a
// tar archive of it.
func (u *unpacker) rpm(ctx context.Context, f *os.File, dir string) error {
	for _, argv := range [][]string{{"rpm2archive", "-"}, {"bsdtar", "-cf", "-", "@-"}} {
		if !u.run.Has(argv[0]) {
			continue
		}
		tar := readThrough(ctx, u.run, f, argv...)
		defer tar.Close()
		return u.into(ctx, tar, dir)
	}
	return exit.Errorf(exit.BadArchive, "nothing here can read packages of RPM").
		WithHint("install rpm (rpm2archive) or libarchive-tools (bsdtar), or unpack the package yourself and name the directory of the headers")
}

// The parts of an ar archive, see deb(5) and ar(5).
const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// dataOfDeb returns the member of a Debian package that holds its files.
func dataOfDeb(f io.ReaderAt) (io.Reader, error) {
	head := make([]byte, max(arHeader, len(arMagic)))
	if _, err := f.ReadAt(head[:len(arMagic)], 0); err != nil || string(head[:len(arMagic)]) != arMagic {
		return nil, exit.Errorf(exit.BadArchive, "not a Debian package")
	}
	for at := int64(len(arMagic)); ; {
		switch _, err := f.ReadAt(head, at); {
		case errors.Is(err, io.EOF):
			return nil, exit.Errorf(exit.BadArchive, "not a Debian package, or one that is cut off: it has no data.tar")
		case err != nil:
			return nil, err
		}
		name := strings.TrimRight(string(head[:16]), "/ ")
		size, err := strconv.ParseUint(strings.TrimSpace(string(head[48:58])), 10, 48)
		if err != nil || string(head[58:]) != "`\n" {
			return nil, exit.Errorf(exit.BadArchive, "not a Debian package, or a damaged one")
		}
		at += arHeader
		if strings.HasPrefix(name, "data.tar") {
			return io.NewSectionReader(f, at, int64(size)), nil
		}
		at += int64(size + size%2)
	}
}

// inside returns the relative form of an absolute link of the given name, whose
// root is the top directory.
func inside(name, target string) string {
	return strings.Repeat("../", strings.Count(name, "/")) + strings.TrimLeft(path.Clean(target), "/")
}
