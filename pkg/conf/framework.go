package conf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkms/pkg/exit"
)

// Framework is the content of framework.conf and framework.conf.d.
type Framework struct {
	// The trees are below the root, like all paths.
	SourceTree, DKMSTree, InstallTree string
	TmpLocation                       string

	Verbose, SymlinkModules, AutoinstallAllKernels, ModprobeOnInstall bool
	// ContinueOnError applies to the scripts of packages.
	ContinueOnError bool

	// ParallelJobs is the configured number of jobs, or ""; see
	// [Framework.Jobs].
	ParallelJobs string
	// The compression options are the administrator's text, unparsed.
	CompressGzip, CompressXZ, CompressZstd string

	// BuildEnvironment and PostTransaction are raw text where they contain
	// expansions; [Reader.BuildEnvironment] and [Reader.PostTransaction] return
	// their values.
	BuildEnvironment, PostTransaction string

	// Only [Reader.Signing] sets valid signing options.
	SignFile, SigningKey, Certificate, TrySign string

	// Depmod is "program" where depmod must always write the module indexes.
	Depmod string
	// InstallAs is "sysext" where modules become an extension of the system if the
	// kernel's directory cannot be written, and otherwise "files" or empty.
	InstallAs string
	// HookErrors is empty or "fail".
	HookErrors string
	// BuildSandbox says whether builds are confined: "yes" or empty where
	// possible, "no" never, "require" always.
	BuildSandbox string
	// SandboxAllow lists exceptions for confined builds: directories that
	// builds may write to, "network" and "sockets".
	SandboxAllow []string
	// FileLimit bounds one file of a confined build and DiskLimit all files
	// together, in MiB; ProcessLimit bounds the number of its processes. 0
	// means no limit.
	FileLimit, DiskLimit, ProcessLimit int
	// IdleBuilds gives the builds of hooks and of the boot service only the
	// processor time that no other process wants.
	IdleBuilds bool
	// CompilerLauncher is a command to put before the compiler's command.
	CompilerLauncher []string
	// BuildTimeLimit ends a build that takes longer; 0 means no limit.
	BuildTimeLimit time.Duration
	// RefreshInitramfs says that images which contain a changed module are
	// regenerated.
	RefreshInitramfs bool
	// KeepBuilds is how many previous builds of a module for a kernel are kept,
	// for dkms undo.
	KeepBuilds int
	// UpgradeGuard says what happens before a kernel is installed that a module
	// will not build for: "warn", "refuse" or "off". UpgradeGuardTime bounds the
	// rehearsal that finds that out.
	UpgradeGuard     string
	UpgradeGuardTime time.Duration
	// BootGuard keeps the last kernel with working builds of all essential
	// modules the default of the boot loader.
	BootGuard bool

	// PrebuiltSource is the first place to look for a build, one made
	// elsewhere. PrebuiltCertificate is a file or directory of the certificates
	// that may have signed such a build. PrebuiltInsecure allows connections
	// without TLS. PrebuiltTimeout is how long to wait for an answer.
	PrebuiltSource, PrebuiltCertificate string
	PrebuiltInsecure                    bool
	PrebuiltTimeout                     time.Duration

	// Files are all files that were read.
	Files []string
	// Warnings are bash's messages about the files.
	Warnings []string
}

// Where returns, for messages, the place that sets an option: "path:line", or
// the name of the main file where no line assigns the option literally.
func (fw *Framework) Where(name string) string {
	for _, file := range slices.Backward(fw.Files) {
		text, err := readText(file)
		if err != nil {
			continue
		}
		lines := strings.Split(string(text), "\n")
		for i, line := range slices.Backward(lines) {
			if strings.HasPrefix(strings.TrimSpace(line), name+"=") {
				return file + ":" + strconv.Itoa(i+1)
			}
		}
	}
	return "framework.conf"
}

// generalNames are read at every start, with an empty kernelver; lateNames are
// read only when they are needed.
var (
	generalNames = []string{
		"source_tree", "dkms_tree", "install_tree", "tmp_location", "verbose", "symlink_modules",
		"autoinstall_all_kernels", "modprobe_on_install", "parallel_jobs",
		"compress_gzip_opts", "compress_xz_opts", "compress_zstd_opts",
		"continue_on_error", "depmod", "hook_errors", "install_as", "build_sandbox", "build_sandbox_allow",
		"build_priority", "build_time_limit", "build_file_limit", "build_disk_limit", "build_process_limit", "compiler_launcher", "refresh_initramfs",
		"keep_builds", "upgrade_guard", "upgrade_guard_time", "boot_guard",
		"prebuilt_source", "prebuilt_certificate", "prebuilt_timeout", "prebuilt_insecure",
	}
	signingNames = []string{"sign_file", "mok_signing_key", "mok_certificate", "try_sign_modules"}
	lateNames    = append([]string{"build_environment", "post_transaction"}, signingNames...)
)

// ReadFramework reads the options that every command needs. It starts no
// process unless one of those options is more than literal text.
//
// The environment can set parallel_jobs only. In the original it can set
// commands and paths for root, which is a security hole.
func (r *Reader) ReadFramework(ctx context.Context) (*Framework, error) {
	f, err := r.options(ctx, append(slices.Clone(generalNames), "build_environment", "post_transaction"), "", false)
	if err != nil {
		return nil, err
	}
	return r.framework(f)
}

// Signing reads the options again for one kernel, because sign_file and the
// other signing options may contain $kernelver.
func (r *Reader) Signing(ctx context.Context, release string) (*Framework, error) {
	f, err := r.options(ctx, signingNames, release, true)
	if err != nil {
		return nil, err
	}
	fw := r.defaults()
	if r.Framework != nil {
		*fw = *r.Framework
	}
	fw.Files = f.files
	fw.Warnings = f.warnings
	fw.SignFile = f.values["sign_file"]
	fw.SigningKey = f.values["mok_signing_key"]
	fw.Certificate = f.values["mok_certificate"]
	if try, ok := f.values["try_sign_modules"]; ok {
		fw.TrySign = try
	}
	return fw, nil
}

// PostTransaction returns the command to run after a transaction for a kernel.
// The command may contain the release of the kernel, so the release must be a
// plain name: the shell that runs the command must find nothing else in it.
func (r *Reader) PostTransaction(ctx context.Context, release string) (string, error) {
	if !isAll(release, isLiteral) {
		return "", exit.Errorf(exit.Usage, "kernel %s: a name with characters of the shell", release)
	}
	f, err := r.options(ctx, []string{"post_transaction"}, release, true)
	if err != nil {
		return "", err
	}
	return f.values["post_transaction"], nil
}

// BuildEnvironment returns the file that build_environment names.
func (r *Reader) BuildEnvironment(ctx context.Context) (string, error) {
	f, err := r.options(ctx, []string{"build_environment"}, "", true)
	if err != nil {
		return "", err
	}
	return f.values["build_environment"], nil
}

// options are values from the files of the framework.
type options struct {
	files    []string
	values   map[string]string
	warnings []string
}

// options reads the options names. Unless exact is set, the lateNames among
// them may stay raw text.
func (r *Reader) options(ctx context.Context, names []string, release string, exact bool) (*options, error) {
	sources, skipped, err := r.frameworkFiles()
	if err != nil {
		return nil, err
	}
	o := &options{values: map[string]string{}, warnings: skipped}
	plain := true
	for _, src := range sources {
		o.files = append(o.files, src.path)
		plain = plain && o.literal(src, names, exact)
	}
	if plain {
		return o, nil
	}
	o = &options{values: map[string]string{}, warnings: skipped}
	return o, r.evaluated(ctx, o, sources, names, release)
}

// literal reads the options of one file without a shell. It reports whether
// that is possible.
func (o *options) literal(src source, names []string, exact bool) bool {
	list, ok := literals(src.text)
	if !ok {
		return false
	}
	for _, a := range list {
		if !slices.Contains(names, a.name) {
			continue
		}
		if a.raw && (exact || !slices.Contains(lateNames, a.name)) {
			return false
		}
		o.values[a.name] = a.value
	}
	return true
}

// evaluated has bash evaluate the files.
func (r *Reader) evaluated(ctx context.Context, o *options, sources []source, names []string, release string) error {
	vars := r.frameworkVars(release)
	todo := sources
	ev, err := r.shell(names).read(ctx, setting{vars: vars}, func(v values) (source, bool) {
		if len(o.files) > 0 {
			o.note(v, vars)
		}
		if len(todo) == 0 {
			return source{}, false
		}
		src := todo[0]
		todo = todo[1:]
		o.files = append(o.files, src.path)
		return src, true
	})
	if err != nil {
		return err
	}
	return o.listen(ev.notes)
}

// frameworkVars returns the variables that the files may use. Paths among them
// do not include the root; the root is added after the evaluation.
func (r *Reader) frameworkVars(release string) map[string]string {
	vars := r.baseVars(release)
	for _, name := range []string{"dkms_tree", "source_tree", "install_tree"} {
		if inside, ok := strings.CutPrefix(vars[name], filepath.Clean(r.Host.Root.Dir)+"/"); ok {
			vars[name] = "/" + inside
		}
	}
	d := r.defaults()
	vars["tmp_location"] = d.TmpLocation
	vars["parallel_jobs"] = r.Host.Env["parallel_jobs"]
	vars["verbose"] = ""
	vars["symlink_modules"], vars["modprobe_on_install"] = "", ""
	vars["compress_gzip_opts"] = d.CompressGzip
	vars["compress_xz_opts"] = d.CompressXZ
	vars["compress_zstd_opts"] = d.CompressZstd
	return vars
}

// note stores the values that a file has set. A variable that still has its
// first value counts as not set.
func (o *options) note(v values, first map[string]string) {
	for name := range v {
		value := v.scalar(name)
		old, ok := o.values[name]
		if !ok {
			old, ok = first[name]
		}
		if !ok || old != value {
			o.values[name] = value
		}
	}
}

// listen turns messages about text that bash cannot parse into an error, and
// all messages into warnings.
func (o *options) listen(notes []note) error {
	var broken []string
	for _, n := range notes {
		if n.broken {
			broken = append(broken, n.String())
		}
		o.warnings = append(o.warnings, n.String())
	}
	if len(broken) > 0 {
		return badConf(broken)
	}
	return nil
}

// frameworkFiles returns the files that exist, in the order in which they
// apply. An ordinary user may be unable to read some of them; those are
// skipped, so that the user can still do everything else.
func (r *Reader) frameworkFiles() (list []source, skipped []string, err error) {
	etc := r.Host.Root.Path("/etc/dkms")
	paths := []string{filepath.Join(etc, "framework.conf")}
	dir := filepath.Join(etc, "framework.conf.d")
	entries, err := os.ReadDir(dir) // sorted by name
	switch {
	case errors.Is(err, fs.ErrPermission) && r.Host.UID != 0:
		skipped = append(skipped, fmt.Sprintf("%s: %v", dir, cause(err)))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, nil, exit.Errorf(exit.NoConf, "%s: %w", dir, cause(err))
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".conf") && !strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	for _, path := range paths {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		text, err := readText(path)
		if errors.Is(err, fs.ErrPermission) && r.Host.UID != 0 {
			skipped = append(skipped, err.Error())
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		list = append(list, source{path, text})
	}
	return list, skipped, nil
}

// framework converts the options to their types and fills in the defaults.
func (r *Reader) framework(o *options) (*Framework, error) {
	fw := r.defaults()
	fw.Files, fw.Warnings = o.files, o.warnings
	for name, field := range map[string]*string{
		"source_tree": &fw.SourceTree, "dkms_tree": &fw.DKMSTree, "install_tree": &fw.InstallTree,
	} {
		if v := o.values[name]; v != "" {
			*field = r.Host.Root.Path(v)
		}
	}
	for name, field := range map[string]*string{
		"tmp_location": &fw.TmpLocation, "compress_gzip_opts": &fw.CompressGzip,
		"compress_xz_opts": &fw.CompressXZ, "compress_zstd_opts": &fw.CompressZstd,
		"build_environment": &fw.BuildEnvironment, "post_transaction": &fw.PostTransaction,
		"upgrade_guard": &fw.UpgradeGuard, "depmod": &fw.Depmod, "hook_errors": &fw.HookErrors, "install_as": &fw.InstallAs,
		"build_sandbox":   &fw.BuildSandbox,
		"prebuilt_source": &fw.PrebuiltSource, "prebuilt_certificate": &fw.PrebuiltCertificate,
	} {
		if v, ok := o.values[name]; ok {
			*field = v
		}
	}
	for name, field := range map[string]*bool{
		"verbose": &fw.Verbose, "symlink_modules": &fw.SymlinkModules,
		"autoinstall_all_kernels": &fw.AutoinstallAllKernels, "modprobe_on_install": &fw.ModprobeOnInstall,
		"refresh_initramfs": &fw.RefreshInitramfs, "prebuilt_insecure": &fw.PrebuiltInsecure,
	} {
		*field = o.values[name] != ""
	}
	fw.ContinueOnError = o.values["continue_on_error"] == "" || o.values["continue_on_error"] == "true"
	for name, field := range map[string]*[]string{
		"build_sandbox_allow": &fw.SandboxAllow, "compiler_launcher": &fw.CompilerLauncher,
	} {
		if words := strings.Fields(o.values[name]); len(words) > 0 {
			*field = words
		}
	}
	fw.BootGuard = o.values["boot_guard"] == "yes"
	fw.IdleBuilds = o.values["build_priority"] == "idle"
	if err := r.check(fw, o); err != nil {
		return nil, err
	}
	return fw, nil
}

// check rejects values without a meaning instead of guessing one.
func (r *Reader) check(fw *Framework, o *options) error {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(o.values)) {
		value := o.values[name]
		if value == "" {
			continue
		}
		switch name {
		case "parallel_jobs":
			if n, err := strconv.Atoi(value); err != nil || n < 0 {
				problems = append(problems, fw.Where(name)+": parallel_jobs="+value+" is not a number")
			}
			fw.ParallelJobs = value
		case "build_time_limit":
			limit, ok := duration(value, time.Minute)
			if !ok {
				problems = append(problems, fw.Where(name)+": build_time_limit="+value+" is not a number of minutes up to a year")
			}
			fw.BuildTimeLimit = limit
		case "build_sandbox":
			if !slices.Contains([]string{"yes", "no", "require"}, value) {
				problems = append(problems, fw.Where(name)+": build_sandbox="+value+" is none of yes, no and require")
			}
		case "build_sandbox_allow":
			for _, word := range fw.SandboxAllow {
				if word != "network" && word != "sockets" && !filepath.IsAbs(word) {
					problems = append(problems, fw.Where(name)+": build_sandbox_allow: "+word+" is none of network, sockets and an absolute path")
				}
			}
		case "build_file_limit", "build_disk_limit", "build_process_limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > maxLimit {
				problems = append(problems, fmt.Sprintf("%s: %s=%s is not a number between 0 and %d", fw.Where(name), name, value, maxLimit))
			}
			*map[string]*int{"build_file_limit": &fw.FileLimit, "build_disk_limit": &fw.DiskLimit, "build_process_limit": &fw.ProcessLimit}[name] = n
		case "keep_builds":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > maxKeepBuilds {
				problems = append(problems, fmt.Sprintf("%s: keep_builds=%s is not a number between 0 and %d", fw.Where(name), value, maxKeepBuilds))
			}
			fw.KeepBuilds = n
		case "upgrade_guard":
			if !slices.Contains([]string{"warn", "refuse", "off"}, value) {
				problems = append(problems, fw.Where(name)+": upgrade_guard="+value+" is none of warn, refuse and off")
			}
		case "upgrade_guard_time":
			limit, ok := duration(value, time.Second)
			if !ok || limit == 0 {
				problems = append(problems, fw.Where(name)+": upgrade_guard_time="+value+" is not a number of seconds from 1 up to a year")
			}
			fw.UpgradeGuardTime = limit
		case "boot_guard":
			if value != "yes" && value != "no" {
				problems = append(problems, fw.Where(name)+": boot_guard="+value+" is neither yes nor no")
			}
		case "build_priority":
			if value != "normal" && value != "idle" {
				problems = append(problems, fw.Where(name)+": build_priority="+value+" is neither normal nor idle")
			}
		case "prebuilt_timeout":
			timeout, ok := duration(value, time.Second)
			if !ok || timeout == 0 {
				problems = append(problems, fw.Where(name)+": prebuilt_timeout="+value+" is not a number of seconds from 1 up to a year")
			}
			fw.PrebuiltTimeout = timeout
		case "prebuilt_source":
			if !filepath.IsAbs(value) && !isRepository(value) {
				problems = append(problems, fw.Where(name)+": prebuilt_source="+value+" is neither docker://REGISTRY/REPOSITORY nor an absolute path")
			}
		case "prebuilt_certificate":
			if !filepath.IsAbs(value) {
				problems = append(problems, fw.Where(name)+": prebuilt_certificate="+value+" is not an absolute path")
			}
		case "depmod":
			if value != "program" {
				problems = append(problems, fw.Where(name)+": depmod="+value+" is neither empty nor program")
			}
		case "install_as":
			if value != "files" && value != "sysext" {
				problems = append(problems, fw.Where(name)+": install_as="+value+" is neither files nor sysext")
			}
		case "hook_errors":
			if value != "fail" {
				problems = append(problems, fw.Where(name)+": hook_errors="+value+" is neither empty nor fail")
			}
		}
	}
	if len(problems) > 0 {
		return badConf(problems)
	}
	return nil
}

// duration parses a number of units. It rejects more than a year: a larger
// number is a mistake, and could overflow the count of nanoseconds.
func duration(value string, unit time.Duration) (time.Duration, bool) {
	const year = 366 * 24 * time.Hour
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > int(year/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// The default limits of a build are larger than any driver needs.
const (
	DefaultFileLimit, DefaultDiskLimit = 8 << 10, 32 << 10 // MiB
	DefaultProcessLimit                = 8 << 10
)

// maxKeepBuilds bounds how many previous builds may be kept.
const maxKeepBuilds = 99

// maxLimit is the largest limit of a build: 1 TiB, in MiB.
const maxLimit = 1 << 20

// isRepository reports whether s names a repository in a registry, without a
// tag.
func isRepository(s string) bool {
	name, ok := strings.CutPrefix(strings.TrimSuffix(s, "/"), "docker://")
	slash := strings.LastIndexByte(name, '/')
	return ok && slash > 0 && slash+1 < len(name) && !strings.ContainsAny(name[slash:], ":@") && !strings.ContainsAny(name, " \t\n")
}

// noOSRelease is the error for a system without an os-release file.
func noOSRelease() error {
	return exit.Errorf(exit.NoOSRelease, "/etc/os-release: neither it nor /usr/lib/os-release can be read")
}
