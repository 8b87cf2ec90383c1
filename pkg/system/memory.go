package system

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// availableMemory is how many bytes programs may still use, by what the
// kernel estimates (MemAvailable, proc_meminfo(5)) and by the limits of the
// control groups above this process (memory.max, cgroups(7)). 0 is unknown.
// root is where proc and sys are.
func availableMemory(root string) int64 {
	least := memAvailable(filepath.Join(root, "proc/meminfo"))
	data, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return least
	}
	for line := range strings.Lines(string(data)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		for dir := group; ; dir = filepath.Dir(dir) {
			at := filepath.Join(root, "sys/fs/cgroup", dir)
			limit, limited := readNumber(filepath.Join(at, "memory.max"))
			used, known := readNumber(filepath.Join(at, "memory.current"))
			if free := max(limit-used, 1); limited && known && (least == 0 || free < least) {
				least = free
			}
			if dir == "." || dir == "/" || dir == "" {
				break
			}
		}
	}
	return least
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
