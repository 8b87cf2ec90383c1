package build

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"dkms/pkg/conf"
	"dkms/pkg/report"
	"dkms/pkg/system"
)

// TestWatched runs commands that take longer than the limit: only one that does
// nothing is ended.
func TestWatched(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const limit = 2 * time.Second
	for _, test := range []struct {
		name, command string
		stalls        bool
	}{
		{"sleeps", "sleep 100", true},
		{"sleeps in a loop", "while sleep 0.5; do :; done", true},
		{"prints", "for i in 1 2 3 4 5 6 7; do echo $i; sleep 0.6; done", false},
		// Several at a time: on a busy machine one alone may get hardly anything.
		{"computes", "for i in 1 2 3 4 5 6; do timeout 4 sh -c 'while :; do :; done' & done; wait; true", false},
		{"is fast", "exit 3", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log := filepath.Join(dir, "make.log")
			w := &work{
				Builder: &Builder{Inputs: Inputs{Run: system.NewRunner(system.Host{}), Framework: &conf.Framework{BuildTimeLimit: limit}}, Report: report.New(io.Discard)},
				scratch: &scratch{dir: dir, log: log}, ticket: &ticket{pool: &Pool{}},
			}
			var err error
			if w.log, err = openLog(log, "title", time.Now); err != nil {
				t.Fatal(err)
			}
			defer w.log.Close()
			start := time.Now()
			err = w.shell(context.Background(), "Building module(s)", test.command)
			_, stalls := errors.AsType[*stalled](err)
			if stalls != test.stalls {
				t.Errorf("%s: shell = %v after %v; want it ended: %v", test.command, err, time.Since(start), test.stalls)
			}
			if status, ok := errors.AsType[*system.ExitError](err); test.name == "is fast" && (!ok || status.Status != 3) {
				t.Errorf("%s: shell = %v; want status 3", test.command, err)
			}
		})
	}
}

// TestProcessorTime counts what children use, also when they have ended, and of
// a process whose name looks like the rest of its line.
func TestProcessorTime(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "a) b (c")
	if err := os.Symlink("/bin/sh", odd); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(odd, "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo done; read line")
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
	if _, err := io.ReadFull(out, make([]byte, len("done\n"))); err != nil {
		t.Fatal(err)
	}
	if used := processorTime(cmd.Process.Pid); used < 50*time.Millisecond {
		t.Errorf("processorTime = %v after half a second of work", used)
	}
	in.Close()
	cmd.Wait()
	if got := processorTime(0); got != 0 {
		t.Errorf("processorTime of nothing = %v", got)
	}
}
