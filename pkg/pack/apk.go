package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"dkms/pkg/system"
)

// apk is the format of apk-tools 3, see apk-mkpkg(8) and apk-package(5).
type apk struct{}

func (apk) programs() ([]string, string) {
	return []string{"apk", "fakeroot"}, "apk add apk-tools fakeroot (apk-tools 3, which Alpine has since 3.23)"
}

func (apk) file() string { return "%[1]s-%[2]s.apk" }

func (apk) relation() string { return "%s=%s" }

func (apk) release() string { return "-r1" }

func (apk) arch(arch string) string {
	names := map[string]string{"i686": "x86", "armv7l": "armv7", "armv6l": "armhf"}
	if name := names[arch]; name != "" {
		return name
	}
	return arch
}

var (
	// apkVersion is a version without the number of the packaging.
	apkVersion = system.Pattern(`^\d+(\.\d+)*[a-z]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)\d*)*$`)
	// apkWord is a number, or what stands before a number.
	apkWord = system.Pattern(`\d+|_?(alpha|beta|pre|rc)\d*`)
)

// version keeps the numbers of a version and what makes it older than a release.
// Where other words are lost, a digest keeps two versions apart.
func (apk) version(v string) string {
	if apkVersion().MatchString(v) {
		return v
	}
	made, suffix := "", false
	for _, word := range apkWord().FindAllString(v, -1) {
		switch number := word[0] >= '0' && word[0] <= '9'; {
		case !number:
			made, suffix = made+"_"+strings.TrimPrefix(word, "_"), true
		case suffix:
			made += "_p" + word
		case made != "":
			made += "." + word
		default:
			made = word
		}
	}
	if !apkVersion().MatchString(made) {
		made = "0" + made
	}
	lost := strings.ToLower(strings.Join(apkWord().Split(v, -1), ""))
	if strings.ContainsFunc(lost, func(c rune) bool { return c >= 'a' && c <= 'z' }) {
		sum := sha256.Sum256([]byte(v))
		made += "~" + hex.EncodeToString(sum[:4])
	}
	return made
}

// tag is a fact in the characters that tags have.
func (apk) tag(f Fact) string {
	return "dkms:" + strings.ToLower(f.Name) + "=" + version(line(f.Value), "._+-,:/[]=", "_")
}

// info are the fields of a package. A list is one word with blanks.
func (f apk) info(p *Package) []string {
	needs, tags := []string{"kmod"}, []string{}
	for _, n := range p.Needs {
		needs = append(needs, line(words(f, n)))
	}
	for _, fact := range p.Facts {
		tags = append(tags, f.tag(fact))
	}
	v := full(f, p.Version)
	return []string{
		"name:" + p.Name(), "version:" + v, "description:" + p.summary(), "arch:" + f.arch(p.Arch), "license:" + line(p.License),
		"maintainer:" + line(p.Packager), "build-time:" + strconv.FormatInt(p.Time.Unix(), 10),
		"depends:" + strings.Join(needs, " "), "provides:" + virtual(p.Module) + "=" + v, "tags:" + strings.Join(tags, " "),
	}
}

// build runs apk mkpkg. The package has no signature: that of the build is in
// it, and apk adbsign adds that of a repository.
func (f apk) build(ctx context.Context, j *job) error {
	const head = "#!/bin/sh\nset -e\n"
	index := head + j.p.index("/")
	argv := []string{"sh", "-c", `ulimit -n 1024 && exec fakeroot -- "$@"`, "sh", "apk", "mkpkg", "--files", root, "--output", out}
	for _, script := range []struct{ when, text string }{
		{"pre-install", head + j.p.refuse("")}, {"post-install", index}, {"post-upgrade", index}, {"post-deinstall", index},
	} {
		if err := j.write(script.when, []byte(script.text), 0o755); err != nil {
			return err
		}
		argv = append(argv, "--script", script.when+":"+script.when)
	}
	for _, field := range f.info(j.p) {
		argv = append(argv, "--info", field)
	}
	return j.exec(ctx, func(string) system.Cmd { return system.Cmd{Argv: argv} })
}

// contents reads the description of the files, which has their digests and
// owners: fakeroot cannot reach a static apk, which then packs those of the build.
func (apk) contents(ctx context.Context, run *system.Runner, file string) (map[string]string, error) {
	text, err := run.Output(ctx, system.Cmd{Argv: []string{"apk", "adbdump", "--format", "json", file}})
	if err != nil {
		return nil, err
	}
	var made struct {
		Paths []struct {
			Name  string
			Files []struct {
				Name, Hash string
				ACL        struct{ User string }
			}
		}
	}
	if err := json.Unmarshal(text, &made); err != nil {
		return nil, fmt.Errorf("apk adbdump: %w", err)
	}
	sums := map[string]string{}
	for _, dir := range made.Paths {
		for _, f := range dir.Files {
			name := path.Join("/", dir.Name, f.Name)
			if user := f.ACL.User; user != "" && user != "root" {
				return nil, fmt.Errorf("%s belongs to %s in the package: fakeroot needs an apk that is linked dynamically", name, user)
			}
			sums[name] = f.Hash
		}
	}
	return sums, nil
}

// owner asks apk, which prints the name and the version in one word. The name of
// a kernel's package is the same for every release, so its version counts.
func (apk) owner(ctx context.Context, d database, file, _ string) (Need, bool) {
	ask := func(option string) (string, bool) {
		return d.ask(ctx, "apk", "--root", filepath.Join("/", d.root), "info", option, file)
	}
	name, ok := ask("-qW")
	if !ok || !system.PlainName(name) {
		return Need{}, false
	}
	found, ok := ask("-W")
	_, v, named := strings.Cut(found, " is owned by "+name+"-")
	return Need{Name: name, Version: v}, ok && named && v != ""
}
