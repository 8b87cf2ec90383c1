package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// rpm installs the new package before it removes the old one: what add has
// just registered, remove would take away. With --rpm_safe_upgrade, add leaves
// a mark that names the transaction, and remove, finding the mark of its own
// transaction, does nothing.

// upgradePrefix begins the names of the marks, as in the original.
const upgradePrefix = "dkms_rpm_safe_upgrade_lock."

// transaction is the process that runs package scripts: the parent of the
// shell that is this program's parent.
type transaction struct {
	pid   int
	start string // clock ticks since boot, so that a pid used again differs
}

func currentTransaction() (transaction, error) {
	pid, _, err := system.ProcessStat(os.Getppid())
	if err != nil {
		return transaction{}, err
	}
	_, start, err := system.ProcessStat(pid)
	return transaction{pid, start}, err
}

// markUpgrade leaves the mark of add.
func (e *Engine) markUpgrade(id tree.ID) error {
	t, err := currentTransaction()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(e.framework.TmpLocation, fmt.Sprintf("%s%d.*", upgradePrefix, t.pid))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s-%s\n%s\n", id.Name, id.Version, t.start)
	return err
}

// upgrading tells whether the running transaction has just added id, and
// forgets about it unless this is a dry run. Marks of other users do not
// count: anybody can put files where they lie.
func (e *Engine) upgrading(id tree.ID, dry bool) bool {
	t, err := currentTransaction()
	if err != nil || t.start == "" {
		return false
	}
	marks, _ := filepath.Glob(filepath.Join(e.framework.TmpLocation, fmt.Sprintf("%s%d.*", upgradePrefix, t.pid)))
	for _, m := range marks {
		st, err := os.Lstat(m)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() {
			continue
		}
		data, err := os.ReadFile(m)
		if err == nil && string(data) == fmt.Sprintf("%s-%s\n%s\n", id.Name, id.Version, t.start) {
			if !dry {
				os.Remove(m)
			}
			return true
		}
	}
	return false
}

// forcedInstall looks the package up in the lists of modules whose
// installation distributions force: a word NAME stands for --force, a word
// NAME_version-override for --force-version-override.
func (e *Engine) forcedInstall(name string) (force, version bool) {
	lists, _ := filepath.Glob(e.host.Root.Path("/usr/share/dkms/modules_to_force_install/*"))
	for _, file := range lists {
		if !system.IsFile(file) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			e.report.Warnf("%v", err)
			continue
		}
		for _, word := range strings.Fields(string(data)) {
			switch word {
			case name:
				return true, false
			case name + "_version-override":
				return false, true
			}
		}
	}
	return false, false
}
