package pack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// pacman is the format of pacman, see PKGBUILD(5) and makepkg(8).
type pacman struct{}

func (pacman) programs() ([]string, string) {
	return []string{"makepkg", "pacman", "fakeroot", "bsdtar"}, "install makepkg: the packages pacman and fakeroot, or makepkg, pacman-package-manager and libarchive-tools on Debian"
}

func (pacman) file() string { return "%s-%s-%s.pkg.tar.zst" }

func (pacman) relation() string { return "%s=%s" }

func (pacman) release() string { return "-1" }

func (pacman) version(v string) string { return version(v, "._+", "_") }

func (pacman) arch(arch string) string {
	if arch == "armv7l" {
		return "armv7h"
	}
	return arch
}

// quoted is a word of bash.
func quoted(s string) string { return "'" + strings.ReplaceAll(line(s), "'", `'\''`) + "'" }

func (f pacman) pkgbuild(p *Package) string {
	needs := quoted("kmod")
	for _, n := range p.Needs {
		needs += " " + quoted(words(f, n))
	}
	v := f.version(p.Version)
	return fmt.Sprintf("pkgname=%s\npkgver=%s\npkgrel=1\npkgdesc=%s\narch=(%s)\nlicense=(%s)\ndepends=(%s)\nprovides=(%s)\n"+
		"options=(!strip !debug !zipman)\ninstall=install\npackage() { cp -R \"$startdir/%s/.\" \"$pkgdir\"; }\n",
		quoted(p.Name()), quoted(v), quoted(p.summary()), quoted(f.arch(p.Arch)), quoted(p.License), needs,
		quoted(virtual(p.Module)+"="+v), root)
}

// build runs makepkg. That pacman itself refuses to overwrite a file of dkms
// makes a script for that unnecessary.
func (f pacman) build(ctx context.Context, j *job) error {
	index := j.p.index("/")
	scripts := fmt.Sprintf("post_install() {\n%[1]s}\npost_upgrade() {\n%[1]s}\npost_remove() {\n%[1]s}\n", index)
	for name, text := range map[string]string{"PKGBUILD": f.pkgbuild(j.p), "install": scripts} {
		if err := j.write(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	err := j.exec(ctx, func(dir string) system.Cmd {
		return system.Cmd{
			// fakeroot closes every descriptor that there could be.
			Argv: []string{"sh", "-c", "ulimit -n 1024 && exec makepkg --force --nodeps --noconfirm"},
			Env: map[string]string{
				"PKGDEST": dir, "BUILDDIR": dir + "/work", "PKGEXT": ".pkg.tar.zst", "CARCH": f.arch(j.p.Arch), "PACKAGER": line(j.p.Packager),
			},
		}
	})
	if err != nil {
		return err
	}
	return os.Rename(filepath.Join(j.dir, fileName(f, j.p)), filepath.Join(j.dir, out))
}

func (pacman) contents(ctx context.Context, run *system.Runner, file string) (map[string]string, error) {
	return tarContents(ctx, run, "bsdtar", "-cf", "-", "--format=pax", "@"+file)
}

// owner asks pacman. The name of a kernel's package is the same for every
// release, so its version counts.
func (pacman) owner(ctx context.Context, d database, file, _ string) (Need, bool) {
	argv := []string{"pacman"}
	if d.root != "" {
		argv = append(argv, "--root", d.root)
	}
	name, ok := d.ask(ctx, append(argv, "-Qqo", filepath.Join("/", d.root, file))...)
	if !ok {
		return Need{}, false
	}
	found, ok := d.ask(ctx, append(argv, "-Q", name)...)
	_, v, _ := strings.Cut(found, " ")
	return Need{Name: name, Version: v}, ok && v != ""
}
