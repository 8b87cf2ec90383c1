package system

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestCaller: the outermost package manager among the ancestors is the caller,
// and two runs that it starts belong to one transaction.
func TestCaller(t *testing.T) {
	if os.Getenv("CALLER_TEST") != "" {
		json.NewEncoder(os.Stdout).Encode(ThisCaller(EnvMap(os.Environ())))
		os.Exit(0)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := func(name, line string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+line+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	me := self + " -test.run=TestCaller; "
	dpkg := script("dpkg", me+"true")
	apt := script("apt", dpkg+"; "+dpkg+"; true")
	for _, test := range []struct {
		program, env, want string
	}{
		{apt, "DPKG_MAINTSCRIPT_PACKAGE=foo-dkms", "apt (foo-dkms), alice"},
		{dpkg, "X=", "dpkg, alice"},
		{script("kernel-install", me+"true"), "X=", "kernel-install, alice"},
		{script("anything", me+"true"), "X=", "alice"},
	} {
		cmd := exec.Command(test.program)
		cmd.Env = []string{"CALLER_TEST=1", "SUDO_USER=alice", "PATH=" + os.Getenv("PATH"), test.env}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		transactions := map[string]bool{}
		n := 0
		for dec := json.NewDecoder(out); ; n++ {
			var c Caller
			if dec.Decode(&c) != nil {
				break
			}
			transactions[c.Transaction] = true
			if c.String() != test.want || (c.Transaction != "") != (test.program == apt || test.program == dpkg) {
				t.Errorf("%s: caller = %+v; want %s", test.program, c, test.want)
			}
		}
		cmd.Wait()
		if len(transactions) != 1 || n == 0 {
			t.Errorf("%s: %d runs in transactions %v; want one transaction", test.program, n, transactions)
		}
	}
}
