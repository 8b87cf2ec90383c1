package conf

import (
	"errors"
	"fmt"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Module is a valid dkms.conf with its overrides.
type Module struct {
	// File is the base file; Files are all files that were evaluated.
	File  string
	Files []string
	// Name and Version are PACKAGE_NAME and PACKAGE_VERSION.
	Name, Version string
	Records       []Record

	Make, MakeMatch, Patch, PatchMatch Array

	// BuildDepends are names of other modules; a name may be a pattern.
	BuildDepends                                    []string
	BuildDependsRebuild, Autoinstall, NoWeakModules bool
	// Essential says whether a kernel without the module is of no use: "yes" or
	// "no", or "" where no file says it.
	Essential string

	// NoSandbox is the administrator's BUILD_SANDBOX=no: the module is not
	// built in isolation. AsksNoSandbox reports BUILD_SANDBOX=no in the
	// package's own file where the administrator sets nothing; it has no
	// effect.
	NoSandbox, AsksNoSandbox bool
	// Env are the variables that the administrator sets, with BUILD_ENV and
	// --env, for the build and the scripts. They were set when the
	// configuration was evaluated.
	Env map[string]string

	// Each hook is a script with its arguments.
	PostAdd, PreBuild, PostBuild, PreInstall, PostInstall, PostRemove string

	Exclusive  Exclusive
	ObsoleteBy string
	// Deprecated are notes on deprecated directives, each once, for the author
	// of the file.
	Deprecated []string
	// Warnings are for people who prepare a module: a configuration without
	// records, and bash's messages about the files.
	Warnings []string
	// Broken are those warnings that are about text which bash could not parse.
	// Bash ignores everything behind such text.
	Broken []string
}

// Record is one module file of a package.
type Record struct {
	Index int
	// BuiltName and BuiltLocation say where make leaves the file. BuiltLocation
	// is empty or ends in a slash.
	BuiltName, BuiltLocation string
	DestName                 string
	// DestLocation is the value in the configuration; see [Record.Destination].
	DestLocation string
	Strip        bool
	// Optional is the administrator's BUILD_OPTIONAL: the package counts as
	// complete without this module.
	Optional bool
}

// builder makes a Module from the values of the variables.
type builder struct {
	file     string
	tree     string // the dkms tree
	values   values
	own      values // the adminNames that the package itself has set
	notes    []note
	m        *Module
	problems []string
}

func (b *builder) problem(format string, args ...any) {
	b.problems = append(b.problems, b.file+": "+fmt.Sprintf(format, args...))
}

// direct assigns the NAME=VALUE arguments of --directive.
func (b *builder) direct(directives []string) {
	for _, d := range directives {
		name, value, ok := strings.Cut(d, "=")
		if !ok || !directiveName().MatchString(name) || strings.Contains(name, "[") {
			b.m.Warnings = append(b.m.Warnings, fmt.Sprintf("--directive %s: not NAME=VALUE", d))
			continue
		}
		if b.values[name] == nil {
			b.values[name] = Array{}
		}
		b.values[name][0] = value
	}
}

// module returns the finished module, or an error with all its problems. Bash's
// messages come first, because they usually name the cause of the other
// problems.
//
// After a syntax error bash skips the rest of a file. As in the original, a
// configuration that is complete without that rest is valid.
func (b *builder) module() (*Module, error) {
	b.scalars()
	b.hooks()
	b.records()
	b.arrays()
	b.patterns()
	var said []string
	for _, n := range b.notes {
		text := n.String()
		if n.broken {
			text += "; the rest of the file is left out"
			b.m.Broken = append(b.m.Broken, text)
		}
		said = append(said, text)
	}
	if len(b.m.Broken) > 0 && len(b.m.Records) == 0 {
		b.problem("no modules are specified before the syntax error")
	}
	if len(b.problems) > 0 {
		return nil, badConf(append(said, b.problems...))
	}
	b.m.Warnings = append(b.m.Warnings, said...)
	if len(b.m.Records) == 0 {
		b.m.Warnings = append(b.m.Warnings, b.file+": no modules are specified")
	}
	return b.m, nil
}

func badConf(problems []string) error {
	return exit.Errorf(exit.BadConf, "%w", errors.New(strings.Join(problems, "\n")))
}

func (b *builder) scalars() {
	m, v := b.m, b.values
	m.Name = b.plain("PACKAGE_NAME")
	m.Version = b.plain("PACKAGE_VERSION")
	m.PostAdd = v.scalar("POST_ADD")
	m.PreBuild = v.scalar("PRE_BUILD")
	m.PostBuild = v.scalar("POST_BUILD")
	m.PreInstall = v.scalar("PRE_INSTALL")
	m.PostInstall = v.scalar("POST_INSTALL")
	m.PostRemove = v.scalar("POST_REMOVE")
	m.ObsoleteBy = v.scalar("OBSOLETE_BY")
}

// hooks rejects scripts outside the directory in which they run. A name that
// begins with a slash is relative to that directory, too.
func (b *builder) hooks() {
	for _, h := range []struct{ name, line, dir string }{
		{"POST_ADD", b.m.PostAdd, "source"}, {"PRE_BUILD", b.m.PreBuild, "build"}, {"POST_BUILD", b.m.PostBuild, "build"},
		{"PRE_INSTALL", b.m.PreInstall, "source"}, {"POST_INSTALL", b.m.PostInstall, "source"}, {"POST_REMOVE", b.m.PostRemove, "source"},
	} {
		words := strings.Fields(h.line)
		if len(words) > 0 && !inside(h.dir, words[0]) {
			b.problem("%s=%s leads out of the sources", h.name, words[0])
		}
	}
}

// plain returns a value that becomes part of paths below the trees. It rejects
// values that would lead out of the trees, which the original accepts.
func (b *builder) plain(name string) string {
	value := b.values.scalar(name)
	switch {
	case value == "":
		b.problem("%s is not set", name)
	case !system.PlainName(value):
		b.problem("%s=%s cannot be a directory name", name, value)
	}
	return value
}

func (b *builder) arrays() {
	m, v := b.m, b.values
	m.Make, m.MakeMatch = v["MAKE"], v["MAKE_MATCH"]
	m.Patch, m.PatchMatch = v["PATCH"], v["PATCH_MATCH"]
	for _, i := range v["BUILD_DEPENDS"].Indexes() {
		m.BuildDepends = append(m.BuildDepends, strings.Fields(v["BUILD_DEPENDS"][i])...)
	}
	m.Autoinstall = b.yes("AUTOINSTALL")
	if v.scalar("ESSENTIAL") != "" {
		m.Essential = map[bool]string{true: "yes", false: "no"}[b.yes("ESSENTIAL")]
	}
	m.NoSandbox = v.scalar("BUILD_SANDBOX") != "" && !b.yes("BUILD_SANDBOX")
	m.AsksNoSandbox = strings.EqualFold(b.own.scalar("BUILD_SANDBOX"), "no") && v.scalar("BUILD_SANDBOX") == ""
	m.NoWeakModules = b.yes("NO_WEAK_MODULES")
	m.BuildDependsRebuild = b.yes("BUILD_DEPENDS_REBUILD")
	m.Exclusive = Exclusive{
		Kernel:    v["BUILD_EXCLUSIVE_KERNEL"],
		KernelMin: v["BUILD_EXCLUSIVE_KERNEL_MIN"],
		KernelMax: v["BUILD_EXCLUSIVE_KERNEL_MAX"],
		Arch:      v["BUILD_EXCLUSIVE_ARCH"],
		Config:    v["BUILD_EXCLUSIVE_CONFIG"],
	}
	if m.ObsoleteBy != "" && !m.Exclusive.hasMax() {
		m.Exclusive.obsoleteBy = m.ObsoleteBy
	}
}

func (b *builder) yes(name string) bool {
	value := b.values.scalar(name)
	switch strings.ToLower(value) {
	case "yes":
		return true
	case "", "no":
	default:
		b.problem("%s=%s is neither yes nor no", name, value)
	}
	return false
}

// patterns warns about regular expressions that can never match.
func (b *builder) patterns() {
	for _, name := range []string{"BUILD_EXCLUSIVE_KERNEL", "BUILD_EXCLUSIVE_ARCH", "MAKE_MATCH", "PATCH_MATCH"} {
		for _, i := range b.values[name].Indexes() {
			if _, err := compileERE(b.values[name][i]); err != nil {
				b.m.Warnings = append(b.m.Warnings, fmt.Sprintf("%s: %s[%d]=%s never matches: %v", b.file, name, i, b.values[name][i], err))
			}
		}
	}
}

// CheckStrict checks rules that matter only to people who prepare a module: no
// two records may share a built name or a destination name.
func (m *Module) CheckStrict() error {
	var problems []string
	built, dest := map[string]int{}, map[string]int{}
	for _, r := range m.Records {
		if first, ok := built[r.BuiltLocation+r.BuiltName]; ok {
			problems = append(problems, fmt.Sprintf("%s: records #%d and #%d are both built as %s", m.File, first, r.Index, r.BuiltLocation+r.BuiltName))
		} else {
			built[r.BuiltLocation+r.BuiltName] = r.Index
		}
		if first, ok := dest[r.DestName]; ok {
			problems = append(problems, fmt.Sprintf("%s: records #%d and #%d are both installed as %s", m.File, first, r.Index, r.DestName))
		} else {
			dest[r.DestName] = r.Index
		}
	}
	if len(problems) > 0 {
		return badConf(problems)
	}
	return nil
}
