package system

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ProcessStat is the parent of a process and its start time in clock ticks
// since boot, which distinguishes processes with the same ID (proc(5),
// /proc/PID/stat, fields 4 and 22).
func ProcessStat(pid int) (parent int, start string, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", err
	}
	return parseStat(string(data))
}

// parseStat reads the fields after the name of the program. The name is in
// parentheses and may contain any character, so the last parenthesis ends it.
func parseStat(text string) (parent int, start string, err error) {
	end := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[end+1:])
	if end < 0 || len(fields) < 20 {
		return 0, "", errors.New("/proc: unknown format of stat")
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err
}
