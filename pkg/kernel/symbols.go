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

// SymbolVersions reads the symbol versions of a kernel, as RHEL and SUSE ship
// them or its headers have them; nil where neither is there.
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

// ParseSymvers reads lines of a checksum, a symbol and more
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

// Misfit says why a module cannot be loaded by a kernel with the symbol
// versions known: a symbol that it imports is missing there or has another
// version.
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

// SymbolVersions are the symbol versions of the kernel. Where nothing lists
// them they are put together from what its own modules import, which is most of
// what any module does; whole tells which of the two it was.
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

// Vermagic is what the kernel wants a module to say of how it was built, read
// from one of its own modules; "" where it has none.
func (k *Kernel) Vermagic() string {
	vermagic := ""
	k.ownModules(func(info *module.Info) bool {
		vermagic = info.Vermagic
		return vermagic == ""
	})
	return vermagic
}

// ownModules reads the modules that came with the kernel, until more is false.
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
