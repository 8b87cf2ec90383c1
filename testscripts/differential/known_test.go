//go:build differential

package differential

import (
	"slices"
	"strings"
)

// difference is one that is meant to be.
type difference struct {
	name   string
	reason string
	// versions are those that have it, all if it is empty.
	versions string
	// example are commands that show it, on Debian unless on says otherwise.
	example string
	on      string
	// lasting says that the machines can go on with it: what it leaves
	// behind decides nothing later.
	lasting bool
	// is tells whether an item is this difference. steps are the commands so
	// far, the last of which made it; o has what was said.
	is func(steps []step, o *outcome, it item) bool
}

// knownOf are the differences from a version.
func knownOf(version string) (known []difference) {
	for _, d := range differences {
		if d.versions == "" || slices.Contains(strings.Fields(d.versions), version) {
			known = append(known, d)
		}
	}
	return known
}

// excuse finds the difference that an item is.
func excuse(known []difference, steps []step, o *outcome, it item) *difference {
	for i, d := range known {
		if d.is(steps, o, it) {
			return &known[i]
		}
	}
	return nil
}

// differences are tried in order.
var differences = []difference{
	{
		name:     "copy of the kernel's .config",
		versions: "3.0.10",
		example:  "dkms build plain/1.0 -k " + plainKernel,
		reason:   "3.0.10 keeps one beside make.log, 3.4.3 does not",
		lasting:  true,
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == files && strings.HasSuffix(it.path, "/log/.config") && it.ours == ""
		},
	},
	{
		name:     "log of patches",
		versions: "3.0.10",
		example:  "dkms build stale/1.0 -k " + plainKernel,
		reason:   "3.0.10 shows what patch says, 3.4.3 has it in make.log, which is there before make is started",
		lasting:  true,
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == files && strings.HasSuffix(it.path, "/build/make.log") && it.theirs == ""
		},
	},
	{
		name:     "BUILD_DEPENDS",
		versions: "3.0.10",
		example:  "dkms build depends/1.0 -k " + plainKernel,
		reason:   "3.0.10 heeds it in autoinstall only, 3.4.3 builds nothing whose dependencies are not installed (13)",
		is: func(_ []step, o *outcome, _ item) bool {
			return o.ours.exit == 13 && o.theirs.exit == 0
		},
	},
	{
		name:     "no headers",
		versions: "3.0.10",
		example:  "dkms build plain/1.0 -k 5.0.0-none",
		reason:   "3.0.10 ends with 1, or 11 for autoinstall, 3.4.3 with 21",
		is: func(_ []step, o *outcome, it item) bool {
			return it.kind == exitStatus && (it.theirs == "1" || it.theirs == "11") && it.ours == "21" &&
				strings.Contains(o.theirs.stderr, "Your kernel headers for kernel")
		},
	},
	{
		name:     "a build without its modules",
		versions: "3.0.10",
		example:  "dkms build plain/1.0 -k " + plainKernel + "\nrm /var/lib/dkms/plain/1.0/" + plainKernel + "/x86_64/module/plain.ko",
		reason:   "3.0.10 takes it for no build, in whose way its directory is (3), 3.4.3 for one whose modules are missing (6)",
		is: func(_ []step, o *outcome, it item) bool {
			if it.kind == exitStatus {
				return it.theirs == "3" && it.ours == "6" && strings.Contains(o.theirs.stderr, "has already been built")
			}
			return it.kind == status && strings.Contains(it.ours, "(Built modules are missing")
		},
	},
	{
		name:     "autoinstall of what is not for the kernel",
		versions: "3.0.10",
		example:  "dkms add excluded/1.0 -k " + plainKernel + "\ndkms autoinstall -k " + plainKernel,
		reason:   "3.0.10 calls it a failure, 3.4.3 skips it",
		is: func(steps []step, o *outcome, it item) bool {
			return it.kind == exitStatus && last(steps).verb == "autoinstall" && it.theirs == "11" && it.ours == "0" &&
				strings.Contains(o.theirs.stderr, "BUILD_EXCLUSIVE")
		},
	},
	{
		name:     "installing what is not for the kernel any more",
		versions: "3.0.10 3.2.2",
		example:  "dkms build plain/1.0 -k " + plainKernel + "\necho 'BUILD_EXCLUSIVE_ARCH=\"^ia64\"' >/etc/dkms/plain.conf\ndkms install plain/1.0 -k " + plainKernel,
		reason:   "3.0.10 and 3.2.2 install the build; ours says 77 (differences.md)",
		is: func(steps []step, o *outcome, _ item) bool {
			return last(steps).verb == "install" && o.theirs.exit == 0 && o.ours.exit == 77
		},
	},
	{
		name:     "the status of what is not for the kernel any more",
		versions: "3.4.3",
		example:  "dkms build plain/1.0 -k " + plainKernel + "\necho 'BUILD_EXCLUSIVE_ARCH=\"^ia64\"' >/etc/dkms/plain.conf\ndkms install plain/1.0 -k " + plainKernel,
		reason:   "3.4.3 ends with 6 and no reason, ours with 77, the status of what is not for a kernel (differences.md)",
		lasting:  true,
		is: func(steps []step, o *outcome, it item) bool {
			return last(steps).verb == "install" && it.kind == exitStatus && it.theirs == "6" && it.ours == "77"
		},
	},
	{
		name:     "originals",
		versions: "3.0.10",
		example:  "dkms install manual/1.0 -k " + plainKernel,
		reason:   "3.0.10 leaves them in place on Debian, 3.4.3 puts them aside there too",
		is: func(_ []step, o *outcome, it item) bool {
			return o.distribution == "debian" && o.has("/original_module/") && (it.kind == status ||
				strings.Contains(it.path, "/original_module") || strings.HasPrefix(it.path, "usr/lib/modules/"))
		},
	},
	{
		name:     "where originals came from",
		versions: "3.0.10",
		example:  "dkms install manual/1.0 -k " + plainKernel,
		on:       "arch",
		reason:   "3.4.3 writes it down, 3.0.10 does not",
		lasting:  true,
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == files && strings.HasSuffix(it.path, ".origin") && it.theirs == ""
		},
	},
	{
		name:     "words of status",
		versions: "3.0.10",
		example:  "dkms install plain/1.0 -k " + plainKernel + "\necho >>/lib/modules/" + plainKernel + "/updates/dkms/plain.ko",
		reason:   "3.4.3 has others than 3.0.10 for what it finds wrong",
		lasting:  true,
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == status && words.Replace(it.theirs) == it.ours
		},
	},
	{
		name:     "an older version over a newer one",
		versions: "3.0.10",
		example:  "dkms install multi/1.10 -k " + plainKernel + "\ndkms install multi/1.9 -k " + plainKernel,
		reason:   "Debian made 3.0.10 say that a module that stands back is installed; 3.4.3 ends with 6 and leaves it be",
		is: func(_ []step, o *outcome, _ item) bool {
			return strings.Contains(o.theirs.stderr, "is not newer than what is already found in kernel") && o.ours.exit == 6
		},
	},
	{
		name:     "where originals go back to",
		versions: "3.0.10",
		example:  "dkms install manual/1.0 -k " + plainKernel + "\ndkms uninstall manual/1.0 -k " + plainKernel,
		on:       "arch",
		reason:   "3.0.10 puts them where dkms.conf wants the module, 3.4.3 where they came from",
		is: func(_ []step, o *outcome, it item) bool {
			return it.kind == files && strings.HasPrefix(it.path, "usr/lib/modules/") &&
				strings.Contains(o.theirs.stdout, "Archived original module found in the DKMS tree")
		},
	},
	{
		name:     "a lost source link",
		versions: "3.0.10",
		example:  "dkms add plain/1.0 -k " + plainKernel + "\nrm /var/lib/dkms/plain/1.0/source",
		reason:   "3.0.10 does not show such a module, 3.4.3 calls it broken",
		is: func(_ []step, _ *outcome, it item) bool {
			return it.kind == status && strings.Contains(it.ours, ": broken\n")
		},
	},
	{
		name:     "what has lost its sources",
		versions: "3.2.2 3.4.3",
		example:  "dkms install plain/1.0 -k " + plainKernel + "\nrm -rf /usr/src/plain-1.0\ndkms uninstall plain/1.0 -k " + plainKernel,
		reason:   "the original takes nothing of it out (4), ours goes by the record of the build (differences.md, 31)",
		is: func(steps []step, o *outcome, _ item) bool {
			return slices.Contains([]string{"uninstall", "unbuild", "remove"}, last(steps).verb) && o.theirs.exit == 4 &&
				strings.Contains(o.theirs.stderr, " is broken!")
		},
	},
	{
		name:    "the status of several kernels",
		example: "rm /lib/modules/" + plainKernel + "/build\ndkms build plain/1.0 -k " + plainKernel + " -k " + xzKernel,
		reason:  "the original's is that of the last kernel, ours that of the first failure (differences.md, 12)",
		is: func(steps []step, _ *outcome, it item) bool {
			return it.kind == exitStatus && it.ours != "0" && strings.Count(last(steps).line, " -k ") > 1
		},
	},
	{
		name:     "match",
		versions: "3.0.10 3.2.2",
		example:  "dkms install plain/1.0 -k " + xzKernel + "\ndkms match --templatekernel " + xzKernel + " -k " + plainKernel,
		reason:   "3.0.10 reads M/V in its own status as a module name and fails",
		is: func(steps []step, o *outcome, _ item) bool {
			return last(steps).verb == "match" && strings.Contains(o.theirs.stdout, "Module:  ") && o.theirs.exit != 0
		},
	},
	{
		name:     "archives of several builds",
		versions: "3.0.10",
		example:  "dkms build plain/1.0 -k " + plainKernel + " -k " + xzKernel + "\ndkms mktarball plain/1.0 --all --binaries-only",
		reason:   "3.0.10 packs the first one only",
		is: func(steps []step, o *outcome, it item) bool {
			return last(steps).verb == "mktarball" && strings.Contains(o.theirs.stderr, "readonly variable") && it.theirs == ""
		},
	},
	{
		name:    "archives of nothing",
		example: "dkms add plain/1.0 -k " + plainKernel + "\ndkms mktarball plain/1.0 --all --binaries-only",
		reason:  "the original packs no binaries of a module without builds; ours says so (6)",
		is: func(steps []step, o *outcome, it item) bool {
			return last(steps).verb == "mktarball" && o.theirs.exit == 0 && o.ours.exit == 6 &&
				strings.Contains(last(steps).line, "--binaries-only")
		},
	},
	{
		name:     "dependencies that are not there",
		versions: "3.0.10 3.2.2",
		example:  "dkms add depends/1.0 -k " + plainKernel + "\ndkms autoinstall -k " + plainKernel,
		reason:   "3.0.10 calls a module that waits for one a failure, 3.4.3 only if dkms knows that one",
		is: func(steps []step, o *outcome, it item) bool {
			return last(steps).verb == "autoinstall" && it.kind == exitStatus && it.theirs == "11" && it.ours == "0" &&
				strings.Contains(o.theirs.stdout+o.theirs.stderr, "due to missing dependencies")
		},
	},
	{
		name:    "POST_REMOVE of a forced installation",
		example: "dkms install hooks/1.0 -k " + plainKernel + "\ndkms install hooks/1.0 -k " + plainKernel + " --force",
		reason:  "the original uninstalls first, ours replaces the files and removes nothing (differences.md, 7)",
		lasting: true,
		is: func(_ []step, _ *outcome, it item) bool {
			return it.path == "var/tmp/hooks" && strings.ReplaceAll(it.theirs, postRemove, "") == strings.ReplaceAll(it.ours, postRemove, "")
		},
	},
	{
		name:     "a forced installation that fails",
		versions: "3.2.2 3.4.3",
		example: "dkms install plain/1.0 -k " + plainKernel + "\nrm /var/lib/dkms/plain/1.0/" + plainKernel +
			"/x86_64/module/plain.ko\ndkms install plain/1.0 -k " + plainKernel + " --force",
		reason: "the original has uninstalled the module by then, with ours it stays (differences.md, 7); 3.0.10 builds it anew",
		is: func(steps []step, o *outcome, it item) bool {
			return last(steps).verb == "install" && strings.Contains(last(steps).line, "--force") && o.theirs.exit == 6 && o.ours.exit == 6 &&
				strings.Contains(o.theirs.stdout, "Before uninstall, this module version was ACTIVE") &&
				(it.kind == status || strings.Contains(it.path, "/kernel-"))
		},
	},
	{
		name:    "what is installed is damaged or outdated",
		example: "dkms install plain/1.0 -k " + plainKernel + "\necho >>/lib/modules/" + plainKernel + "/updates/dkms/plain.ko\ndkms install plain/1.0 -k " + plainKernel,
		reason:  "the original takes the link for the module, ours installs it again (dkms(8), DIFFERENCES)",
		is: func(_ []step, o *outcome, _ item) bool {
			return strings.Contains(o.ours.stderr, "it is installed again") || strings.Contains(o.ours.stderr, "since it was built: building it again")
		},
	},
	{
		name:    "builds go by their record",
		example: "dkms build plain/1.0 -k " + plainKernel + "\necho 'BUILT_MODULE_NAME[0]=other' >>/usr/src/plain-1.0/dkms.conf",
		reason:  "the original lists a build by today's dkms.conf without the overrides, ours by what was built (differences.md, 32 and 46)",
		is: func(steps []step, _ *outcome, it item) bool {
			return it.kind == status && slices.ContainsFunc(steps, func(s step) bool {
				return strings.Contains(s.line, "echo 'BUILT_MODULE_NAME[0]=") || strings.Contains(s.line, "echo 'DEST_MODULE_NAME[0]=")
			})
		},
	},
	{
		name:     "the newest version",
		versions: "3.0.10",
		example:  "dkms install multi/1.9 -k " + plainKernel + "\ndkms install multi/1.10 -k " + plainKernel + "\ndkms autoinstall -k " + plainKernel,
		reason:   "3.0.10 compares versions as text in autoinstall, so that 1.9 is newer than 1.10",
		is: func(steps []step, o *outcome, it item) bool {
			return last(steps).verb == "autoinstall" && strings.Contains(o.theirs.stdout+o.theirs.stderr, "Module version 1.9 for multi.ko") &&
				(it.kind == status || strings.Contains(it.path, "/multi"))
		},
	},
}

// postRemove is what that hook writes, as a snapshot has it.
const postRemove = `/usr/src/hooks-1.0 post_remove\n`

// words turns those of 3.0.10 into those of 3.4.3.
var words = strings.NewReplacer(
	"(original_module exists)", "(Original modules exist)",
	"(WARNING! Missing some built modules!)", "(Built modules are missing in the kernel modules folder)",
	"(WARNING! Diff between built and installed module!)", "(Differences between built and installed modules)",
)

func last(steps []step) step { return steps[len(steps)-1] }
