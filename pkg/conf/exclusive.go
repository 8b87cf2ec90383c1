package conf

import (
	"fmt"
	"strings"

	"dkms/pkg/version"
)

// Exclusive is what BUILD_EXCLUSIVE_* requires of a kernel. Index 0 applies to
// every record; any other index applies, in addition, to the record of that
// index.
type Exclusive struct {
	Kernel, KernelMin, KernelMax, Arch, Config Array

	obsoleteBy string // OBSOLETE_BY where it takes the place of KernelMax
}

func (e Exclusive) hasMax() bool {
	for _, max := range e.KernelMax {
		if max != "" {
			return true
		}
	}
	return false
}

// Excluded reports whether BUILD_EXCLUSIVE_* leaves nothing to build, with the
// reason in words. config returns the value of a symbol such as CONFIG_MODULES,
// or "" where the symbol is unset; a nil config means that there is no kernel
// configuration. As in the original, a package without records is never
// excluded.
func (m *Module) Excluded(t Target, config func(symbol string) string) (bool, string) {
	why := ""
	for _, r := range m.Records {
		reason := m.Exclusive.refuses(r.Index, t, config)
		if reason == "" {
			return false, ""
		}
		if why == "" {
			why = reason
		}
	}
	return why != "", why
}

// Active returns the records that BUILD_EXCLUSIVE_* leaves for t, in index
// order. config is as for [Module.Excluded].
func (m *Module) Active(t Target, config func(symbol string) string) []Record {
	var list []Record
	for _, r := range m.Records {
		if m.Exclusive.refuses(r.Index, t, config) == "" {
			list = append(list, r)
		}
	}
	return list
}

// refuses returns why record i is not for t, or "".
func (e Exclusive) refuses(i int, t Target, config func(string) string) string {
	if why := e.refusesAt(0, t, config); why != "" || i == 0 {
		return why
	}
	return e.refusesAt(i, t, config)
}

func (e Exclusive) refusesAt(i int, t Target, config func(string) string) string {
	name := func(directive string) string {
		if i == 0 {
			return "BUILD_EXCLUSIVE_" + directive
		}
		return fmt.Sprintf("BUILD_EXCLUSIVE_%s[%d]", directive, i)
	}
	kernel := func(limit string) string { return "=" + limit + " and the kernel is " + t.Release }
	switch {
	case e.Kernel.At(i) != "" && !matchERE(e.Kernel.At(i), t.Release):
		return name("KERNEL") + kernel(e.Kernel.At(i))
	case e.KernelMin.At(i) != "" && version.Compare(t.Release, e.KernelMin.At(i)) < 0:
		return name("KERNEL_MIN") + kernel(e.KernelMin.At(i))
	case e.KernelMax.At(i) != "" && version.Compare(t.Release, e.KernelMax.At(i)) > 0:
		return name("KERNEL_MAX") + kernel(e.KernelMax.At(i))
	case i == 0 && e.obsoleteBy != "" && version.Compare(t.Release, e.obsoleteBy) > 0:
		return "OBSOLETE_BY" + kernel(e.obsoleteBy)
	case e.Arch.At(i) != "" && !matchERE(e.Arch.At(i), t.Arch):
		return name("ARCH") + "=" + e.Arch.At(i) + " and the architecture is " + t.Arch
	}
	if why := refusesConfig(e.Config.At(i), config); why != "" {
		return name("CONFIG") + "=" + e.Config.At(i) + " and " + why
	}
	return ""
}

// refusesConfig returns why the kernel does not satisfy a list of CONFIG_X and
// !CONFIG_X, or "".
func refusesConfig(list string, config func(string) string) string {
	if config == nil {
		return ""
	}
	for word := range strings.FieldsSeq(list) {
		symbol, unwanted := strings.CutPrefix(word, "!")
		value := config(symbol)
		enabled := value == "y" || value == "m"
		switch {
		case unwanted && enabled:
			return symbol + " is " + value
		case !unwanted && !enabled:
			return symbol + " is not set"
		}
	}
	return ""
}
