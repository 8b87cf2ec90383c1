package system

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMain is also the other process of the tests: with DKMS_TEST_LOCK it
// takes that lock, says so and holds it until its standard input ends.
func TestMain(m *testing.M) {
	if path := os.Getenv("DKMS_TEST_LOCK"); path != "" {
		os.Exit(holdLock(path))
	}
	os.Exit(m.Run())
}

func holdLock(path string) int {
	unlock, _, err := Lock(context.Background(), path, "the other (process 1)\nsecond line", func(string) {})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("locked")
	io.Copy(io.Discard, os.Stdin)
	unlock("")
	return 0
}

// other starts a process that holds the lock; closing stdin ends it.
func other(t *testing.T, path string) (cmd *exec.Cmd, stdin io.Closer) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DKMS_TEST_LOCK="+path)
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
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd, in
}

func TestLockWaits(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd, io.Closer){
		"unlocked": func(_ *exec.Cmd, in io.Closer) { in.Close() },
		"killed":   func(c *exec.Cmd, _ io.Closer) { c.Process.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			cmd, in := other(t, path)
			var told []string
			unlock, _, err := Lock(context.Background(), path, "this", func(holder string) {
				told = append(told, holder)
				end(cmd, in)
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(told) != 1 || told[0] != "the other (process 1)" {
				t.Errorf("waiting was called with %q; want once with the first line of the holder", told)
			}
			if got, err := os.ReadFile(path); string(got) != "this\n" {
				t.Errorf("the lock file says %q, %v; want this", got, err)
			}
			unlock("")
			if got, err := os.ReadFile(path); err != nil || len(got) > 0 {
				t.Errorf("after unlocking the lock file says %q, %v; want nothing", got, err)
			}
		})
	}
}

func TestLockStopsWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other(t, path)
	stop := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(context.Background())
	unlock, _, err := Lock(ctx, path, "this", func(string) { cancel(stop) })
	if !errors.Is(err, stop) || unlock != nil {
		t.Errorf("Lock = %v; want %v", err, stop)
	}
	if got, _ := os.ReadFile(path); string(got) != "the other (process 1)\nsecond line\n" {
		t.Errorf("who gave up left %q in the file of the holder", got)
	}
}

func TestLockFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for range 2 {
		unlock, _, err := Lock(context.Background(), path, "this", func(holder string) { t.Errorf("waiting for %q", holder) })
		if err != nil {
			t.Fatal(err)
		}
		unlock("")
	}
	if err := os.Symlink("lock", path+"-link"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Lock(context.Background(), path+"-link", "this", func(string) {}); err == nil {
		t.Error("Lock followed a link")
	}
	if _, _, err := Lock(context.Background(), filepath.Join(path, "x"), "this", func(string) {}); err == nil {
		t.Error("Lock below a file succeeded")
	}
}

// A holder that has not said who it is yet is still a holder.
func TestLockUnknownHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told := ""
	if _, _, err := Lock(ctx, path, "this", func(holder string) { told = holder; cancel() }); err == nil {
		t.Error("Lock took a lock that is held")
	}
	if told != "another process" {
		t.Errorf("the holder is called %q", told)
	}
}
