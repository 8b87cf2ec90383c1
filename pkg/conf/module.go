package conf

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Module is a valid dkms.conf with its overrides.
type Module struct {
	// File is the base file; Files are all that took part.
	File  string
	Files []string
	// Name and Version are PACKAGE_NAME and PACKAGE_VERSION.
	Name, Version string
	Records       []Record

	Make, MakeMatch, Patch, PatchMatch Array

	// BuildDepends are names of other modules, which may be patterns.
	BuildDepends                                    []string
	BuildDependsRebuild, Autoinstall, NoWeakModules bool

	// NoSandbox is the administrator's BUILD_SANDBOX=no: the module is not
	// built in isolation. AsksNoSandbox is the same in the package's own file,
	// which does not count, where the administrator says nothing.
	NoSandbox, AsksNoSandbox bool
	// Env are the variables that the administrator sets for the build and the
	// scripts, with BUILD_ENV and --env; the configuration has seen them.
	Env map[string]string

	// The hooks are a script with its arguments.
	PostAdd, PreBuild, PostBuild, PreInstall, PostInstall, PostRemove string

	Exclusive  Exclusive
	ObsoleteBy string
	// Deprecated are notes on deprecated directives, each once. They are for
	// those who write the file.
	Deprecated []string
	// Warnings are for those who prepare a module: a conf without records,
	// and what bash said while it read the files.
	Warnings []string
	// Broken are those of the warnings that are about text which bash could
	// not parse. What stands behind it does not count.
	Broken []string
}

// Record is one module file of a package.
type Record struct {
	Index int
	// BuiltName and BuiltLocation say where make leaves the file. The
	// location is empty or ends in a slash.
	BuiltName, BuiltLocation string
	DestName                 string
	// DestLocation is as the conf has it; see [Record.Destination].
	DestLocation string
	Strip        bool
	// Optional is the administrator's BUILD_OPTIONAL: the package is whole
	// without this module.
	Optional bool
}

// maxRecords bounds the highest index. The largest packages known have some
// hundred records.
const maxRecords = 10000

// builder makes a Module of the values of its variables.
type builder struct {
	file     string
	tree     string // the dkms tree
	values   values
	own      values // what the package has set of the administrator's
	notes    []note
	m        *Module
	problems []string
}

func (b *builder) problem(format string, args ...any) {
	b.problems = append(b.problems, b.file+": "+fmt.Sprintf(format, args...))
}

// direct assigns the NAME=VALUE of --directive.
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

// module returns the finished module, or every problem of it. What bash said
// comes first among the problems, since it tends to be their cause.
//
// Behind a syntax error bash leaves out the rest of a file. As with the
// original, a configuration that is complete without the rest is valid.
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

// hooks refuses scripts that lead out of the directory that they are run in;
// a name that begins with a slash is one in it, too.
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

// inside reports whether path, which is used in the directory dir, stays in it.
func inside(dir, path string) bool {
	_, ok := within(dir, path)
	return ok
}

// within is path as seen from dir, in which it is used, if it stays in there.
func within(dir, path string) (string, bool) {
	rel, err := filepath.Rel(dir, filepath.Join(dir, path))
	return rel, err == nil && filepath.IsLocal(rel)
}

// plain is a value that becomes a part of paths below the trees, which the
// original lets escape from them.
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

func (b *builder) records() {
	n := 0
	for _, name := range []string{"BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_NAME", "DEST_MODULE_LOCATION"} {
		n = max(n, b.values[name].Len())
	}
	if n > maxRecords {
		b.problem("record #%d is beyond the limit of %d", n-1, maxRecords)
		return
	}
	for i := range n {
		r := Record{
			Index:         i,
			BuiltName:     b.values["BUILT_MODULE_NAME"].At(i),
			BuiltLocation: b.values["BUILT_MODULE_LOCATION"].At(i),
			DestName:      b.values["DEST_MODULE_NAME"].At(i),
			DestLocation:  b.values["DEST_MODULE_LOCATION"].At(i),
			Strip:         b.strip(i),
		}
		if n == 1 {
			r.BuiltName = cmp.Or(r.BuiltName, b.m.Name)
		}
		if r.BuiltLocation != "" && !strings.HasSuffix(r.BuiltLocation, "/") {
			r.BuiltLocation += "/"
		}
		b.builtName(r)
		b.builtLocation(&r)
		r.DestName = cmp.Or(r.DestName, r.BuiltName)
		r.Optional = b.optional(r)
		b.destName(r)
		b.destLocation(&r)
		b.m.Records = append(b.m.Records, r)
	}
}

// strip says whether record i is stripped: its own STRIP, else that of record
// 0, else yes.
func (b *builder) strip(i int) bool {
	text := cmp.Or(b.values["STRIP"].At(i), b.values["STRIP"].At(0), b.values["strip"].At(0))
	return !strings.HasPrefix(text, "n") && !strings.HasPrefix(text, "N")
}

func (b *builder) builtName(r Record) {
	switch {
	case r.BuiltName == "":
		b.problem("BUILT_MODULE_NAME[%d] is not set", r.Index)
	case hasSuffix(r.BuiltName):
		b.problem("BUILT_MODULE_NAME[%d]=%s ends in .o or .ko", r.Index, r.BuiltName)
	}
}

// builtLocation keeps what make leaves inside the build directory. The name
// may have a path of its own. An absolute location can only be the build
// directory's own path, which configurations make from $dkms_tree.
func (b *builder) builtLocation(r *Record) {
	file := r.BuiltLocation + r.BuiltName
	if file == "" {
		return
	}
	if below, absolute := strings.CutPrefix(file, b.tree+"/"); absolute {
		if !filepath.IsLocal(below) {
			b.problem("BUILT_MODULE_LOCATION[%d]=%s leads out of the build directory", r.Index, r.BuiltLocation)
		}
		return
	}
	build := filepath.Join(b.tree, b.m.Name, b.m.Version, "build")
	location, ok := within(build, r.BuiltLocation)
	if !ok || filepath.IsAbs(file) || !inside(build, file) {
		b.problem("BUILT_MODULE_LOCATION[%d]=%s leads out of the build directory", r.Index, r.BuiltLocation)
		return
	}
	if slices.Contains(strings.Split(r.BuiltLocation, "/"), "..") {
		r.BuiltLocation = strings.TrimPrefix(location+"/", "./")
	}
}

// optional tells whether BUILD_OPTIONAL names the module of a record.
func (b *builder) optional(r Record) bool {
	for _, i := range b.values["BUILD_OPTIONAL"].Indexes() {
		if slices.Contains(strings.Fields(b.values["BUILD_OPTIONAL"][i]), filepath.Base(r.BuiltName)) {
			return true
		}
	}
	return false
}

func (b *builder) destName(r Record) {
	switch {
	case r.DestName == "":
	case hasSuffix(r.DestName):
		b.problem("DEST_MODULE_NAME[%d]=%s ends in .o or .ko", r.Index, r.DestName)
	case !system.PlainName(r.DestName):
		b.problem("DEST_MODULE_NAME[%d]=%s cannot be a file name", r.Index, r.DestName)
	}
}

// destLocation keeps what is installed in the directories for modules.
func (b *builder) destLocation(r *Record) {
	if r.DestLocation == "" {
		b.problem("DEST_MODULE_LOCATION[%d] is not set", r.Index)
		return
	}
	path := r.DestLocation
	if slices.Contains(strings.Split(path, "/"), "..") {
		local, ok := within("/lib/modules/K", path)
		if !ok {
			b.problem("DEST_MODULE_LOCATION[%d]=%s leads out of the kernel's module directory", r.Index, path)
			return
		}
		path = "/" + local
	}
	starts := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	if !slices.ContainsFunc([]string{"/kernel", "/updates", "/extra"}, starts) {
		b.problem("DEST_MODULE_LOCATION[%d]=%s does not begin with /kernel, /updates or /extra", r.Index, r.DestLocation)
	}
	r.DestLocation = path
}

func hasSuffix(name string) bool {
	return strings.HasSuffix(name, ".o") || strings.HasSuffix(name, ".ko")
}

// patterns warns of regular expressions that can never match.
func (b *builder) patterns() {
	for _, name := range []string{"BUILD_EXCLUSIVE_KERNEL", "BUILD_EXCLUSIVE_ARCH", "MAKE_MATCH", "PATCH_MATCH"} {
		for _, i := range b.values[name].Indexes() {
			if _, err := compileERE(b.values[name][i]); err != nil {
				b.m.Warnings = append(b.m.Warnings, fmt.Sprintf("%s: %s[%d]=%s never matches: %v", b.file, name, i, b.values[name][i], err))
			}
		}
	}
}

// CheckStrict checks what only those who prepare a module care for: no two
// records may share a built or a destination name.
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
