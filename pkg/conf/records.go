package conf

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// maxRecords bounds the highest index. The largest known packages have some
// hundred records.
const maxRecords = 10000

// records makes one record for each index of the four arrays that describe
// modules.
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

// strip reports whether record i is stripped, as its own STRIP says or, without
// one, the STRIP of record 0. The default is yes.
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

// builtLocation makes sure that the built file is inside the build directory.
// The name may contain a path. An absolute location can only be the path of the
// build directory, which configurations derive from $dkms_tree.
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

// optional reports whether BUILD_OPTIONAL names the module of a record.
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

// destLocation makes sure that the destination is inside the directories for
// modules.
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

// inside reports whether path, relative to the directory dir, stays in dir.
func inside(dir, path string) bool {
	_, ok := within(dir, path)
	return ok
}

// within returns path relative to the directory dir, if path stays in dir.
func within(dir, path string) (string, bool) {
	rel, err := filepath.Rel(dir, filepath.Join(dir, path))
	return rel, err == nil && filepath.IsLocal(rel)
}
