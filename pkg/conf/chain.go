package conf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// moduleNames are the variables that a dkms.conf sets, in the order in which
// bash passes them on. The order matters because text that breaks out of one
// value affects only the values after that one. The last name is what the
// original calls a record's STRIP internally; configurations can set that name
// as well.
var moduleNames = []string{
	"PACKAGE_NAME", "PACKAGE_VERSION",
	"POST_ADD", "POST_BUILD", "POST_INSTALL", "POST_REMOVE", "PRE_BUILD", "PRE_INSTALL",
	"BUILD_DEPENDS", "BUILD_DEPENDS_REBUILD",
	"BUILD_EXCLUSIVE_ARCH", "BUILD_EXCLUSIVE_CONFIG", "BUILD_EXCLUSIVE_KERNEL",
	"BUILD_EXCLUSIVE_KERNEL_MIN", "BUILD_EXCLUSIVE_KERNEL_MAX",
	"MAKE", "MAKE_MATCH", "PATCH", "PATCH_MATCH",
	"BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_NAME", "DEST_MODULE_LOCATION",
	"STRIP", "AUTOINSTALL", "NO_WEAK_MODULES",
	"OBSOLETE_BY", "CLEAN", "REMAKE_INITRD", "MODULES_CONF", "MODULES_CONF_OBSOLETES",
	"MODULES_CONF_ALIAS_TYPE", "MODULES_CONF_OBSOLETE_ONLY",
	"BUILD_SANDBOX", "BUILD_ENV", "BUILD_OPTIONAL", "ESSENTIAL",
	"strip",
}

// adminNames are the directives that count only where the administrator sets
// them: in /etc/dkms or with --directive.
var adminNames = []string{"BUILD_SANDBOX", "BUILD_ENV", "BUILD_OPTIONAL"}

// deprecatedNames are the directives whose use causes a note.
var deprecatedNames = []string{
	"OBSOLETE_BY", "CLEAN", "REMAKE_INITRD", "MODULES_CONF", "MODULES_CONF_OBSOLETES",
	"MODULES_CONF_ALIAS_TYPE", "MODULES_CONF_OBSOLETE_ONLY",
}

// chain yields the files of one module: the base file, then the overrides.
type chain struct {
	etc  string
	ref  Ref
	todo []source

	started, looked bool
	files           []string
	deprecated      []string
	unheeded        []string
	own             values // the adminNames that the package itself has set
	noted           []string
	err             error
}

// next returns the next file to evaluate; v holds the values that the earlier
// files have set.
func (c *chain) next(v values) (source, bool) {
	if c.started {
		c.note(v)
	}
	if c.started && !c.looked {
		c.looked = true
		c.disregard(v)
		c.todo, c.err = c.overrides(v)
	}
	c.started = true
	if len(c.todo) == 0 || c.err != nil {
		return source{}, false
	}
	src := c.todo[0]
	c.todo = c.todo[1:]
	c.files = append(c.files, src.path)
	return src, true
}

// disregard removes from v the adminNames that the package itself has set,
// since only the administrator may set them, and records a warning for each.
func (c *chain) disregard(v values) {
	c.own = values{}
	for _, name := range adminNames {
		if v[name] == nil {
			continue
		}
		c.own[name] = v[name]
		delete(v, name)
		c.unheeded = append(c.unheeded, fmt.Sprintf("%s: %s has no effect here: it counts in %s",
			c.files[0], name, filepath.Join(c.etc, cmp.Or(c.ref.Name, v.scalar("PACKAGE_NAME"), "NAME")+".conf")))
	}
}

// note records the deprecated directives that the last file has set.
func (c *chain) note(v values) {
	file := c.files[len(c.files)-1]
	for _, name := range deprecatedNames {
		if v[name] == nil || slices.Contains(c.noted, name) {
			continue
		}
		text := "is deprecated and has no effect"
		switch value := v.scalar(name); {
		case name == "OBSOLETE_BY":
			text = "is deprecated, use BUILD_EXCLUSIVE_KERNEL_MAX"
		case name == "CLEAN" && slices.Contains([]string{"true", "/bin/true", "/usr/bin/true"}, value):
			continue
		}
		c.noted = append(c.noted, name)
		c.deprecated = append(c.deprecated, file+": "+name+" "+text)
	}
}

// overrides returns the files of /etc/dkms for the module, general ones first.
func (c *chain) overrides(v values) ([]source, error) {
	name, version := c.ref.Name, c.ref.Version
	if name == "" {
		name, version = v.scalar("PACKAGE_NAME"), v.scalar("PACKAGE_VERSION")
	}
	if !system.PlainName(name) {
		return nil, nil
	}
	var list []source
	for _, base := range overrideNames(name, version, c.ref.Target.Release, c.ref.Target.Arch) {
		path := filepath.Join(c.etc, base+".conf")
		if filepath.Dir(path) != filepath.Clean(c.etc) {
			continue // the version or the kernel contains a slash
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		text, err := readText(path)
		if err != nil {
			return nil, err
		}
		list = append(list, source{path, text})
	}
	return list, nil
}

func overrideNames(name, version, release, arch string) []string {
	list := []string{name}
	if version != "" {
		list = append(list, name+"-"+version)
	}
	if release == "" {
		return list
	}
	middle := []string{""}
	if version != "" {
		middle = []string{version, ""}
	}
	for _, v := range middle {
		list = append(list, name+"-"+v+"-"+release)
		if arch != "" {
			list = append(list, name+"-"+v+"-"+release+"-"+arch)
		}
	}
	return list
}

// readText reads a configuration file of bounded size. The error is an
// [*exit.Error].
func readText(path string) ([]byte, error) { return readTextBy(system.ReadRegular, path) }

func readTextBy(read func(string, int64) ([]byte, error), path string) ([]byte, error) {
	text, err := read(path, MaxText)
	switch {
	case errors.Is(err, system.ErrNotRegular):
		return nil, exit.Errorf(exit.NoConf, "%s: %w", path, system.ErrNotRegular)
	case errors.Is(err, system.ErrTooLarge):
		return nil, exit.Errorf(exit.BadConf, "%s: larger than 1 MiB", path)
	case err != nil:
		return nil, exit.Errorf(exit.NoConf, "%s: %w", path, cause(err))
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return nil, exit.Errorf(exit.BadConf, "%s:%d: not a text file", path, 1+bytes.Count(text[:i], []byte("\n")))
	}
	return text, nil
}

// cause returns err without the path, because the message already has the path.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// moduleVars are the variables that a dkms.conf may use; dist/man/dkms.conf.5
// lists them.
func (r *Reader) moduleVars(ref Ref) map[string]string {
	vars := r.baseVars(ref.Target.Release)
	for name, value := range r.Host.Env {
		if isDirectiveName(name) {
			vars[name] = value
		}
	}
	vars["arch"] = ref.Target.Arch
	vars["kernel_source_dir"] = ref.Target.SourceDir
	vars["kernel_config"] = ref.Target.ConfigFile
	vars["module"] = ref.Name
	vars["module_version"] = ref.Version
	return vars
}

func isDirectiveName(name string) bool {
	return strings.HasPrefix(name, "DKMS_DIRECTIVE") && !strings.Contains(name, "[") && directiveName().MatchString(name)
}

// baseVars are the variables that every file may use.
func (r *Reader) baseVars(release string) map[string]string {
	root := r.Host.Root
	fw := r.Framework
	if fw == nil {
		fw = r.defaults()
	}
	return map[string]string{
		"kernelver":            release,
		"dkms_tree":            root.StateTree(),
		"source_tree":          root.SourceTree(),
		"install_tree":         root.InstallTree(),
		"tmp_location":         fw.TmpLocation,
		"parallel_jobs":        fw.Jobs(r.Host),
		"running_distribution": r.Distribution,
		"current_kernel":       r.Host.Release,
		"current_os":           "Linux",
		"addon_modules_dir":    r.Host.Env["ADDON_MODULES_DIR"],
		"verbose":              flag(r.Verbose || fw.Verbose),
		"force":                flag(r.Force),
		"symlink_modules":      flag(fw.SymlinkModules),
		"modprobe_on_install":  flag(fw.ModprobeOnInstall),
	}
}

// flag returns a switch in the form that shell scripts test.
func flag(on bool) string {
	if on {
		return "true"
	}
	return ""
}

// defaults returns the options that hold when there is no file at all.
func (r *Reader) defaults() *Framework {
	tmp := r.Host.Env["TMPDIR"]
	if tmp == "" {
		tmp = "/tmp"
	}
	root := r.Host.Root
	return &Framework{
		SourceTree:   root.SourceTree(),
		DKMSTree:     root.StateTree(),
		InstallTree:  root.InstallTree(),
		TmpLocation:  tmp,
		ParallelJobs: r.Host.Env["parallel_jobs"],
		CompressXZ:   "--check=crc32 --lzma2=dict=1MiB",
		CompressZstd: "-q --rm -T0",
		TrySign:      "not_in_chroot",

		CompilerLauncher: launcher(r.Host.Env["compiler_launcher"]),
		// The limit is longer than any driver takes on slow machines, and
		// shorter than people wait for a boot that hangs.
		BuildTimeLimit: 30 * time.Minute,
		FileLimit:      DefaultFileLimit, DiskLimit: DefaultDiskLimit, ProcessLimit: DefaultProcessLimit,
		PrebuiltTimeout: 30 * time.Second,
		KeepBuilds:      1,
		UpgradeGuard:    "warn", UpgradeGuardTime: 2 * time.Minute,
	}
}

// launcher returns the compiler launcher that the caller's environment asks
// for. The environment may only give the bare name of a program, not a path and
// no arguments.
func launcher(asked string) []string {
	words := strings.Fields(asked)
	if len(words) != 1 || !system.PlainName(words[0]) {
		return nil
	}
	return words
}

// jobMemory is the memory reserved for one compiler, in bytes: large files of
// large drivers take that much.
const jobMemory = 256 << 20

// Jobs returns the number for make -j: the configured number or, without one,
// one job for each processor, as far as memory allows. A configured 0 means no
// limit, which make expresses as -j without a number.
func (fw *Framework) Jobs(h system.Host) string {
	n, err := strconv.Atoi(fw.ParallelJobs)
	switch {
	case err != nil || n < 0:
		n = h.CPUs
		if h.Memory != nil && h.Memory() > 0 {
			n = min(n, int(h.Memory()/jobMemory))
		}
		return strconv.Itoa(max(n, 1))
	case n == 0:
		return ""
	default:
		return strconv.Itoa(n)
	}
}
