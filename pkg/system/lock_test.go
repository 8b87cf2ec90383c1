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
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the other process of the tests: with DKMS_TEST_LOCK it
// takes that lock, says so and holds it until its standard input ends; with
// DKMS_TEST_FLOCK it does so as somebody who knows only flock(2).
func TestMain(m *testing.M) {
	if path := os.Getenv("DKMS_TEST_FLOCK"); path != "" {
		os.Exit(holdFlock(path))
	}
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

func holdFlock(path string) int {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("locked")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// other starts a process that holds the lock; closing stdin ends it.
func other(t *testing.T, path string) (cmd *exec.Cmd, stdin io.Closer) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "DKMS_TEST_LOCK="+path)
	return start(t, cmd)
}

// stranger starts a process of another user that holds the lock on a file
// which that user can open.
func stranger(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "DKMS_TEST_FLOCK="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	start(t, cmd)
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd) (*exec.Cmd, io.Closer) {
	t.Helper()
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

// A deadline bounds the wait, and the error names the holder.
func TestLockBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 2*lockPoll)
	defer cancel()
	_, _, err := Lock(ctx, path, "this", func(string) {})
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.Holder != "the other (process 1)" || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Lock = %v; want a HeldError that names the other", err)
	}
	if want := path + ": held by the other (process 1), which did not end in time"; err.Error() != want {
		t.Errorf("the error says %q; want %q", err, want)
	}
}

// Strangers cannot open a lock file, and one that could before holds nothing
// that stops anybody.
func TestLockStranger(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "dkms-lock") // where another user gets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "lock")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, []byte("dkms install (process 1)\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := stranger(t, path)
	if !Held(path) {
		t.Error("Held = false while a stranger has the lock")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	unlock, left, err := Lock(ctx, path, "this", func(string) {})
	if err != nil || left != "dkms install (process 1)" {
		t.Fatalf("Lock = %q, %v; want a lock file of our own with the text of the old one", left, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the lock file is %v, %v; want mode 600", st, err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left beside the lock: %v", names)
	}
	cmd.Process.Kill()
	if !Held(path) {
		t.Error("Held = false although we have the lock")
	}
	unlock("")
	if Held(path) {
		t.Error("Held = true after unlocking")
	}
}

// One of our own that waits for a file which is then deleted takes the new one.
func TestLockBriefly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := LockBriefly(t.Context(), path, "first")
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan string, 1)
	got := make(chan error)
	go func() {
		unlock, _, err := Lock(t.Context(), path, "second", func(holder string) { waits <- holder })
		if err == nil && !Held(path) {
			err = errors.New("the lock is on a file that has no name")
		}
		if err == nil {
			unlock("")
		}
		got <- err
	}()
	if holder := <-waits; holder != "first" {
		t.Errorf("the holder is called %q", holder)
	}
	first()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// An older lock file that nobody holds is tightened as it is.
func TestLockTightens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte("dkms install (process 1)\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	unlock, left, err := Lock(t.Context(), path, "this", func(string) {})
	if err != nil || left != "dkms install (process 1)" {
		t.Fatalf("Lock = %q, %v", left, err)
	}
	unlock("")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the lock file is %v, %v; want mode 600", st, err)
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
	cmd, _ := other(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told := ""
	if _, _, err := Lock(ctx, path, "this", func(holder string) { told = holder; cancel() }); err == nil {
		t.Error("Lock took a lock that is held")
	}
	if want := fmt.Sprintf("another process (process %d)", cmd.Process.Pid); told != want {
		t.Errorf("the holder is called %q", told)
	}
}
