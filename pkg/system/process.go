package system

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ProcessStat reads the parent and the start time of a process (proc(5),
// /proc/PID/stat, fields 4 and 22). The name of its program stands in
// parentheses before them, and may hold any of those itself.
func ProcessStat(pid int) (parent int, start string, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, "", fmt.Errorf("/proc/%d/stat: unknown format", pid)
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err
}
