package pack

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// rpm is the format of RPM, see the chapter "Spec file format" of its manual.
type rpm struct{}

func (rpm) programs() ([]string, string) {
	return []string{"rpmbuild", "rpm"}, "install rpmbuild: the package rpm-build, or rpm on Debian"
}

func (rpm) file() string { return "%s-%s.%s.rpm" }

func (rpm) relation() string { return "%s = %s" }

func (rpm) release() string { return "-1" }

func (rpm) version(v string) string { return version(v, "._+~^", "_") }

func (rpm) arch(arch string) string {
	if arch == "armv7l" {
		return "armv7hl"
	}
	return arch
}

// escaped is text without macros.
func escaped(s string) string { return strings.ReplaceAll(line(s), "%", "%%") }

func (f rpm) spec(p *Package) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Name: %s\nVersion: %s\nRelease: 1\nSummary: %s\nLicense: %s\nPackager: %s\nAutoReqProv: no\n",
		p.Name(), f.version(p.Version), escaped(p.summary()), escaped(p.License), escaped(p.Packager))
	fmt.Fprintf(&b, "Provides: %s = %s\nRequires: kmod\nRequires(post): kmod\nRequires(postun): kmod\n", virtual(p.Module), full(f, p.Version))
	for _, n := range p.Needs {
		fmt.Fprintf(&b, "Requires: %s\n", escaped(words(f, n)))
	}
	b.WriteString("%description\n")
	for _, fact := range p.Facts {
		fmt.Fprintf(&b, "%s: %s\n", fact.Name, escaped(fact.Value))
	}
	script := func(text string) string { return strings.ReplaceAll(text, "%", "%%") }
	fmt.Fprintf(&b, "%%install\ncp -R %%{_topdir}/%s/. %%{buildroot}/\n%%pre\n[ \"$1\" = 1 ] || exit 0\n%s%%post\n%s%%postun\n%[3]s%%files\n%%defattr(-,root,root,-)\n",
		root, script(p.refuse("")), script(p.index("/")))
	for _, dir := range f.dirs(p) {
		fmt.Fprintf(&b, "%%dir %s\n", dir)
	}
	for _, file := range p.Files {
		fmt.Fprintf(&b, "%s\n", file.Path)
	}
	return b.String()
}

// dirs are the directories that a package has for itself, or together with the
// kernel: rpm removes only directories that a package names.
func (rpm) dirs(p *Package) []string {
	set := map[string]bool{}
	for _, file := range p.Files {
		for dir := path.Dir(file.Path); strings.HasPrefix(dir, p.Kernels+"/") || strings.HasPrefix(dir, Records); dir = path.Dir(dir) {
			set[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// build runs rpmbuild without the steps by which distributions strip and
// compress what is in a package.
func (f rpm) build(ctx context.Context, j *job) error {
	if err := j.write("spec", []byte(f.spec(j.p)), 0o644); err != nil {
		return err
	}
	return j.exec(ctx, func(dir string) system.Cmd {
		argv := []string{"rpmbuild", "-bb", "--target", f.arch(j.p.Arch) + "-linux"}
		for _, define := range []string{
			"_topdir " + dir, "_tmppath " + dir, "_dbpath " + dir + "/db", "_rpmdir " + dir, "_rpmfilename " + out,
			"__os_install_post %{nil}", "debug_package %{nil}", "_build_id_links none", "_buildhost localhost",
			"_binary_filedigest_algorithm 8", "use_source_date_epoch_as_buildtime 1", "clamp_mtime_to_source_date_epoch 1",
		} {
			argv = append(argv, "--define", define)
		}
		return system.Cmd{Argv: append(argv, "spec")}
	})
}

// contents reads the list of files: path, size, time, digest and more.
func (rpm) contents(ctx context.Context, run *system.Runner, file string) (map[string]string, error) {
	text, err := run.Output(ctx, system.Cmd{Argv: []string{"rpm", "--dbpath", path.Join(path.Dir(file), "db"), "-qp", "--nosignature", "--dump", file}})
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for row := range strings.Lines(string(text)) {
		fields := strings.Fields(row)
		if len(fields) > 4 && strings.HasPrefix(fields[4], "0100") { // a regular file
			sums[fields[0]] = fields[3]
		}
	}
	return sums, nil
}

// owner asks rpm, if it has a database: it would make one for the question.
// Kernels of Fedora, RHEL and openSUSE provide a name with their release as its
// version; of others, the version of the package counts.
func (rpm) owner(ctx context.Context, d database, file, kernel string) (Need, bool) {
	if dir, ok := d.ask(ctx, "rpm", "--eval", "%{_dbpath}"); !ok || !system.IsDir(path.Join("/", d.root, dir)) {
		return Need{}, false
	}
	argv := []string{"rpm"}
	if d.root != "" {
		argv = append(argv, "--root", d.root)
	}
	found, ok := d.ask(ctx, append(argv, "-qf", "--queryformat", `%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\n`, file)...)
	fields := strings.Fields(found)
	if !ok || len(fields) != 3 {
		return Need{}, false
	}
	provides, _ := d.ask(ctx, append(argv, "-q", "--provides", fields[2])...)
	for row := range strings.SplitSeq(provides, "\n") {
		name, v, _ := strings.Cut(strings.TrimSpace(row), " = ")
		if strings.HasSuffix(name, "uname-r") && v == kernel {
			return Need{Name: name, Version: v}, true
		}
	}
	return Need{Name: fields[0], Version: fields[1]}, true
}
