package run

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// rpm installs the new package before it removes the old one, so that remove
// would delete the version that add has just registered. With
// --rpm_safe_upgrade, add leaves a mark that names the transaction, and remove
// does nothing if it finds the mark of its own transaction.

// upgradePrefix is the prefix of the marks, as in the original.
const upgradePrefix = "dkms_rpm_safe_upgrade_lock."

// transaction is the process that runs package scripts: the parent of the
// shell that is this program's parent.
type transaction struct {
	pid   int
	start string // clock ticks since boot, to detect a reused process ID
}

func currentTransaction() (transaction, error) {
	pid, _, err := system.ProcessStat(os.Getppid())
	if err != nil {
		return transaction{}, err
	}
	_, start, err := system.ProcessStat(pid)
	return transaction{pid, start}, err
}

// markUpgrade writes the mark for add.
func markUpgrade(m *machine.Machine, id tree.ID) error {
	t, err := currentTransaction()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(m.Framework.TmpLocation, fmt.Sprintf("%s%d.*", upgradePrefix, t.pid))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s-%s\n%s\n", id.Name, id.Version, t.start)
	return err
}

// upgrading tells whether the running transaction has just added id, and
// deletes the mark unless this is a dry run. It ignores marks of other users,
// since anybody can write to that directory.
func upgrading(m *machine.Machine, id tree.ID, dry bool) bool {
	t, err := currentTransaction()
	if err != nil || t.start == "" {
		return false
	}
	marks, _ := filepath.Glob(filepath.Join(m.Framework.TmpLocation, fmt.Sprintf("%s%d.*", upgradePrefix, t.pid)))
	for _, mark := range marks {
		st, err := os.Lstat(mark)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() {
			continue
		}
		data, err := os.ReadFile(mark)
		if err == nil && string(data) == fmt.Sprintf("%s-%s\n%s\n", id.Name, id.Version, t.start) {
			if !dry {
				os.Remove(mark)
			}
			return true
		}
	}
	return false
}
