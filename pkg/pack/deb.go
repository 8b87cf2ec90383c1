package pack

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// deb is the format of dpkg, see deb(5), deb-control(5) and, for what the
// scripts are called with, Debian Policy, chapter 6.
type deb struct{}

func (deb) programs() ([]string, string) { return []string{"dpkg-deb"}, "install the package dpkg" }

func (deb) file() string { return "%s_%s_%s.deb" }

func (deb) relation() string { return "%s (= %s)" }

func (deb) release() string { return "-1" }

func (deb) version(v string) string {
	v = version(v, ".+~-", "+")
	if v[0] < '0' || v[0] > '9' {
		v = "0+" + v
	}
	return v
}

// arch is Debian's name of an architecture, see dpkg-architecture(1).
func (deb) arch(arch string) string {
	names := map[string]string{
		"x86_64": "amd64", "aarch64": "arm64", "i686": "i386", "armv7l": "armhf", "ppc64le": "ppc64el", "loongarch64": "loong64",
	}
	if name := names[arch]; name != "" {
		return name
	}
	return plain(arch)
}

func (f deb) control(p *Package, size int) string {
	var b strings.Builder
	needs := []string{"kmod"}
	for _, n := range p.Needs {
		needs = append(needs, line(words(f, n)))
	}
	v := full(f, p.Version)
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: %s\nInstalled-Size: %d\nDepends: %s\nProvides: %s (= %s)\n",
		p.Name(), v, f.arch(p.Arch), line(p.Packager), size, strings.Join(needs, ", "), virtual(p.Module), v)
	fmt.Fprintf(&b, "Section: kernel\nPriority: optional\nDescription: %s\n", p.summary())
	for _, fact := range p.Facts {
		fmt.Fprintf(&b, "Dkms-%s: %s\n", fact.Name, line(fact.Value))
	}
	return b.String()
}

// build lays the control files beside the files, as dpkg-deb wants them.
func (f deb) build(ctx context.Context, j *job) error {
	var sums bytes.Buffer
	size := 0
	for _, file := range j.p.Files {
		data, err := file.read()
		if err != nil {
			return err
		}
		size += (len(data) + 1023) / 1024
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(data), strings.TrimPrefix(file.Path, "/"))
	}
	const head = "#!/bin/sh\nset -e\n"
	index := j.p.index(`"${DPKG_ROOT:-/}"`)
	for _, file := range []struct {
		name string
		mode fs.FileMode
		text string
	}{
		{"control", 0o644, f.control(j.p, size)},
		{"md5sums", 0o644, sums.String()},
		{"preinst", 0o755, head + "[ \"$1\" = install ] || exit 0\n" + j.p.refuse("$DPKG_ROOT")},
		{"postinst", 0o755, head + "[ \"$1\" = configure ] || exit 0\n" + index},
		{"postrm", 0o755, head + "[ \"$1\" = remove ] || exit 0\n" + index},
	} {
		if err := j.write(filepath.Join(root, "DEBIAN", file.name), []byte(file.text), file.mode); err != nil {
			return err
		}
	}
	return j.exec(ctx, func(dir string) system.Cmd {
		return system.Cmd{
			Argv: []string{"dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, out},
			Env:  map[string]string{"DPKG_DEB_THREADS_MAX": "1"},
		}
	})
}

func (deb) contents(ctx context.Context, run *system.Runner, file string) (map[string]string, error) {
	return tarContents(ctx, run, "dpkg-deb", "--fsys-tarfile", file)
}

// owner asks dpkg. A package whose name has the release of the kernel is for
// that kernel in every version: Debian's kernels keep their interface under one
// release.
func (deb) owner(ctx context.Context, d database, file, kernel string) (Need, bool) {
	dir := "--admindir=" + filepath.Join("/", d.root, "var/lib/dpkg")
	found, ok := d.ask(ctx, "dpkg-query", dir, "--search", file)
	name, _, _ := strings.Cut(found, ": ")
	if !ok || strings.Contains(name, ",") || strings.HasPrefix(name, "diversion by ") {
		return Need{}, false
	}
	bare, _, _ := strings.Cut(name, ":")
	if strings.Contains(bare, kernel) {
		return Need{Name: bare}, true
	}
	v, ok := d.ask(ctx, "dpkg-query", dir, "--show", "--showformat=${Version}\n", name)
	return Need{Name: bare, Version: v}, ok
}
