package system

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// controller is where a version of control groups keeps what memory a group may
// use (cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst).
type controller struct {
	// prefix begins its line in /proc/self/cgroup, behind the number.
	prefix string
	// dir is where its groups are; limit and used are files of a group, and
	// cache is the line of memory.stat with the page cache that is given up
	// first.
	dir, limit, used, cache string
}

var controllers = []controller{
	{":", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
	{"memory:", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
}

// availableMemory is how many bytes programs may still use, by what the
// kernel estimates (MemAvailable, proc_meminfo(5)) and by the limits of the
// control groups above this process. 0 is unknown. root is where proc and sys
// are.
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

// free is what a group and those above it leave, or 0 without a limit. Page
// cache that nobody uses counts as used, but is given up for programs.
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

// readField reads a number behind a name in a file of such lines; 0 is without.
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

// readNumber reads a file that holds a number, or "max" for none.
func readNumber(file string) (int64, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}
