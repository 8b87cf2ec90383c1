package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// rpm installs the new package before it removes the old one, so that remove
// would delete the version that add has just registered. With
// --rpm_safe_upgrade, add leaves a mark that names the transaction, and remove
// does nothing if it finds the mark of its own transaction.
//
// A mark is an empty file in the dkms tree. The original's marks are in /tmp,
// but rpm can give each scriptlet a /tmp of its own.

// upgradePrefix is the prefix of the marks. The names are hidden, so that the
// listing of the original ignores them.
const upgradePrefix = ".upgrade-"

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

// prefix is the prefix of the marks of a transaction.
func (t transaction) prefix() string { return fmt.Sprintf("%s%d-%s-", upgradePrefix, t.pid, t.start) }

func (t transaction) mark(m *machine.Machine, id tree.ID) string {
	return filepath.Join(m.Tree.Dir(), t.prefix()+id.Name+"-"+id.Version)
}

// markUpgrade writes the mark for add and deletes the marks of transactions
// that have ended.
func markUpgrade(m *machine.Machine, id tree.ID) error {
	t, err := currentTransaction()
	if err != nil {
		return err
	}
	names, err := system.Match(m.Tree.Dir(), upgradePrefix, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		var pid int
		if n, _ := fmt.Sscanf(name, upgradePrefix+"%d-", &pid); n == 0 {
			continue
		}
		_, start, err := system.ProcessStat(pid)
		if err != nil || !strings.HasPrefix(name, transaction{pid, start}.prefix()) {
			os.Remove(filepath.Join(m.Tree.Dir(), name))
		}
	}
	return os.WriteFile(t.mark(m, id), nil, 0o600)
}

// upgrading tells whether the running transaction has just added id, and
// deletes the mark unless this is a dry run.
func upgrading(m *machine.Machine, id tree.ID, dry bool) bool {
	t, err := currentTransaction()
	if err != nil {
		return false
	}
	mark := t.mark(m, id)
	if dry {
		_, err = os.Lstat(mark)
	} else {
		err = os.Remove(mark)
	}
	return err == nil
}
