package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestProcessStat runs a program whose name looks like the end of a name: the
// kernel quotes nothing in /proc/PID/stat.
func TestProcessStat(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("there is no sleep to start")
	}
	odd := filepath.Join(t.TempDir(), "a) b (c")
	data, err := os.ReadFile(sleep)
	if err == nil {
		err = os.WriteFile(odd, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(odd, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	parent, start, err := ProcessStat(cmd.Process.Pid)
	if err != nil || parent != os.Getpid() {
		t.Errorf("ProcessStat of a child = %d, %v; want %d", parent, err, os.Getpid())
	}
	if n, err := strconv.ParseUint(start, 10, 64); err != nil || n == 0 || strings.TrimSpace(start) != start {
		t.Errorf("its start time is %q", start)
	}
}
