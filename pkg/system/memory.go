package system

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// controller describes where a version of control groups keeps the memory limit
// and use of a group (cgroups(7); Documentation/admin-guide/cgroup-v2.rst and
// cgroup-v1/memory.rst).
type controller struct {
	// prefix is the start of its line in /proc/self/cgroup, after the number.
	prefix string
	// dir is the directory of its groups. limit and used are files of a group.
	// cache is the line of memory.stat with the page cache that the kernel
	// reclaims first.
	dir, limit, used, cache string
}

var controllers = []controller{
	{":", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
	{"memory:", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
}

// availableMemory is how many bytes programs may still use, according to the
// kernel's estimate (MemAvailable, proc_meminfo(5)) and to the limits of the
// control groups of this process. 0 is unknown. root is the directory with proc
// and sys.
func availableMemory(root string) int64 {
	least := memAvailable(filepath.Join(root, "proc/meminfo"))
	data, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return least
	}
	for line := range strings.Lines(string(data)) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), ":")
		for _, c := range controllers {
			if group, ok := strings.CutPrefix(line, c.prefix); ok {
				if free := c.free(root, group); free > 0 && (least == 0 || free < least) {
					least = free
				}
			}
		}
	}
	return least
}

// free is the memory that a group and its parents leave, or 0 without a limit.
// Unused page cache counts as used, but the kernel reclaims it for programs.
func (c controller) free(root, group string) (least int64) {
	for dir := group; ; dir = filepath.Dir(dir) {
		at := filepath.Join(root, c.dir, dir)
		limit, limited := readNumber(filepath.Join(at, c.limit))
		used, known := readNumber(filepath.Join(at, c.used))
		if limited && known {
			free := max(limit-used+readField(filepath.Join(at, "memory.stat"), c.cache), 1)
			if least == 0 || free < least {
				least = free
			}
		}
		if dir == "." || dir == "/" || dir == "" {
			return least
		}
	}
}

// readField reads the number after a name in a file of such lines; 0 means that
// the name is missing.
func readField(file, name string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return 0
}

func memAvailable(file string) int64 {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if fields := strings.Fields(scan.Text()); len(fields) == 3 && fields[0] == "MemAvailable:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// readNumber reads a file that contains a number, or "max" for no limit.
func readNumber(file string) (int64, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}
