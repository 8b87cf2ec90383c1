package system

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A program may have any name.
func TestProcessStat(t *testing.T) {
	for _, name := range []string{"plain", "a) b", ") S 1 1", "(", "a)b("} {
		program := filepath.Join(t.TempDir(), name)
		cat, err := exec.LookPath("cat")
		if err != nil {
			t.Skip(err)
		}
		if err := os.Symlink(cat, program); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in.Write([]byte("x\n")) // once it answers it has its name
		bufio.NewReader(out).ReadString('\n')
		parent, start, err := ProcessStat(cmd.Process.Pid)
		if err != nil || parent != os.Getpid() || start == "" {
			t.Errorf("%q: ProcessStat = %d, %q, %v; want the parent %d", name, parent, start, err, os.Getpid())
		}
		in.Close()
		cmd.Wait()
	}
	if _, _, err := ProcessStat(1 << 30); err == nil {
		t.Error("there is no such process")
	}
}
