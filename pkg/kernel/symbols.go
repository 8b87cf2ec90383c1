package kernel

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// maxSymvers bounds a list of symbol versions, in bytes; real ones have 2 MB.
const maxSymvers = 64 << 20

// SymbolVersions reads the symbol versions of a kernel from the list that RHEL
// and SUSE ship or from its headers; it returns nil where neither exists.
func SymbolVersions(root system.Root, release string) map[string]uint32 {
	dir := filepath.Join(root.InstallTree(), release)
	for _, path := range []string{
		filepath.Join(dir, "symvers.gz"), filepath.Join(dir, "symvers.xz"),
		root.Path("/boot/symvers-" + release + ".gz"), filepath.Join(dir, "build", "Module.symvers"),
	} {
		data, err := system.ReadRegular(path, maxSymvers)
		if err != nil {
			continue
		}
		if data, err = module.Decompress(data); err == nil {
			return ParseSymvers(data)
		}
	}
	return nil
}

// ParseSymvers parses lines that begin with a checksum and a symbol
// (Documentation/kbuild/modules.rst, "Symbols and Modversions").
func ParseSymvers(data []byte) map[string]uint32 {
	versions := map[string]uint32{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if crc, err := strconv.ParseUint(strings.TrimPrefix(fields[0], "0x"), 16, 32); err == nil {
			versions[fields[1]] = uint32(crc)
		}
	}
	return versions
}

// Misfit returns why a kernel with the symbol versions known cannot load a
// module, or "". A symbol that the module imports may be missing in the kernel
// or have another version.
func Misfit(info *module.Info, release string, known map[string]uint32) string {
	for _, name := range slices.Sorted(maps.Keys(info.Symbols)) {
		want, ok := known[name]
		switch {
		case !ok:
			return fmt.Sprintf("%s does not have the symbol %s", release, name)
		case want != info.Symbols[name]:
			return fmt.Sprintf("%s has another version of the symbol %s", release, name)
		}
	}
	return ""
}

// SymbolVersions returns the symbol versions of the kernel; whole reports
// whether they are complete. Where no file lists them, they are collected from
// the imports of the kernel's own modules, which cover most of what any module
// imports.
func (k *Kernel) SymbolVersions() (known map[string]uint32, whole bool) {
	if data, err := system.ReadRegular(filepath.Join(k.Headers, "Module.symvers"), maxSymvers); err == nil {
		return ParseSymvers(data), true
	}
	if known = SymbolVersions(k.root, k.Release); known != nil {
		return known, true
	}
	known = map[string]uint32{}
	k.ownModules(func(info *module.Info) bool {
		maps.Copy(known, info.Symbols)
		return true
	})
	return known, false
}

// Vermagic returns the vermagic that the kernel requires, read from one of its
// own modules, or "" where the kernel has none.
func (k *Kernel) Vermagic() string {
	vermagic := ""
	k.ownModules(func(info *module.Info) bool {
		vermagic = info.Vermagic
		return vermagic == ""
	})
	return vermagic
}

// ownModules reads the modules that came with the kernel, until read returns
// false.
func (k *Kernel) ownModules(read func(*module.Info) (more bool)) {
	filepath.WalkDir(filepath.Join(k.ModuleDir(), "kernel"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if _, _, ok := module.ParseSuffix(d.Name()); !ok {
			return nil
		}
		if info, err := module.Read(path); err == nil && !read(info) {
			return fs.SkipAll
		}
		return nil
	})
}
