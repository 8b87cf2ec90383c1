package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// jailed runs a shell script in a jail and returns what it says.
func jailed(t *testing.T, j *Jail, script string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := NewRunner(ThisHost(os.Environ())).Run(context.Background(), Cmd{Argv: []string{"bash", "-c", script}, Stdout: &out, Stderr: &out, Jail: j})
	if je, ok := errors.AsType[*JailError](err); ok {
		t.Skip("no jails here: ", je)
	}
	return strings.TrimSpace(out.String()), err
}

func openDir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestJail(t *testing.T) {
	dir := t.TempDir()
	for above := range parents(dir) { // as closed as the test's directories may be, but not less
		if strings.HasPrefix(above, os.TempDir()+"/") {
			os.Chmod(above, 0o755)
		}
	}
	src, at, tmp, headers := openDir(t, dir+"/src"), openDir(t, dir+"/state/build"), openDir(t, dir+"/tmp"), openDir(t, dir+"/closed/headers")
	uid := BuildUser(3)
	for _, d := range []string{src, tmp} {
		if err := os.Chown(d, uid, uid); err != nil {
			t.Skip("only root can make jails: ", err)
		}
	}
	os.WriteFile(headers+"/Makefile", []byte("all:\n"), 0o644)
	os.Chmod(dir+"/closed", 0o700)
	os.WriteFile(dir+"/key", []byte("secret"), 0o644)
	j := &Jail{UID: uid, Writable: []Mount{{From: tmp, At: "/tmp"}, {From: src, At: at}}, Show: []string{headers}, Hide: []string{dir + "/key"}}
	for _, c := range []struct{ script, want string }{
		{"id -u; id -G", fmt.Sprintf("%d\n%[1]d", uid)},
		{"echo made >" + at + "/file && cat " + at + "/file", "made"},
		{"echo a >/tmp/a && cat /tmp/a && ls /var/tmp", "a"},
		{"cat " + headers + "/Makefile", "all:"},
		{"cat " + dir + "/key", ""},
		{"echo >/dev/null && head -c 1 /dev/zero | wc -c", "1"},
		{"ls /run", ""},
		{"ls /proc | grep -c '^[0-9]' | { read n; [ $n -lt 6 ] && echo few; }", "few"},
		{"ls /sys/class/net 2>/dev/null >/dev/null; cat /proc/net/dev | grep -c :", "1"},
		{"grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\\t'", "CapEff:0000000000000000\nCapBnd:0000000000000000\nNoNewPrivs:1"},
	} {
		got, err := jailed(t, j, c.script)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.script, got, err, c.want)
		}
	}
	for _, script := range []string{
		"echo >" + headers + "/x", "echo >/x", "echo >>/etc/passwd", "echo >" + dir + "/state/x", "mount -t tmpfs x /mnt",
		"cat /etc/shadow", "head -c 1 /dev/mem", "echo >/sys/kernel/uevent_helper",
	} {
		if got, err := jailed(t, j, script); err == nil {
			t.Errorf("%s: is possible: %q", script, got)
		}
	}
	if data, err := os.ReadFile(src + "/file"); err != nil || string(data) != "made\n" {
		t.Errorf("outside, the file is %q, %v", data, err)
	}
	if _, err := os.Stat(at + "/file"); err == nil {
		t.Error("the place that was mounted over is not what it was")
	}
}

// TestJailAdded: a directory appears where there is none, and what is beside it
// stays.
func TestJailAdded(t *testing.T) {
	dir := t.TempDir()
	for above := range parents(dir) {
		if strings.HasPrefix(above, os.TempDir()+"/") {
			os.Chmod(above, 0o755)
		}
	}
	from, above := openDir(t, dir+"/from"), openDir(t, dir+"/above")
	openDir(t, above+"/beside")
	openDir(t, above+"/covered/old")
	for _, err := range []error{
		os.WriteFile(from+"/new", []byte("new"), 0o644), os.WriteFile(above+"/file", []byte("file"), 0o644),
		os.Symlink("beside", above+"/link"), os.Symlink(above, dir+"/linked"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	j := &Jail{UID: BuildUser(3), Show: []string{dir}, Added: []Mount{
		{From: from, At: dir + "/linked/made/deep"}, {From: from, At: above + "/covered"}, {From: from, At: above + "/again"},
	}}
	if _, err := jailed(t, j, "true"); err != nil {
		t.Skip("only root can make jails: ", err)
	}
	for script, want := range map[string]string{
		"cd " + above + " && ls -1":                          "again\nbeside\ncovered\nfile\nlink\nmade",
		"cat " + above + "/made/deep/new " + above + "/file": "newfile",
		"ls " + above + "/covered":                           "new",
		"readlink " + above + "/link":                        "beside",
		"for d in made made/deep again covered beside .; do touch " + above + "/$d/x 2>/dev/null && echo wrote; done; true": "",
	} {
		if got, err := jailed(t, j, script); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", script, got, err, want)
		}
	}
	if entries, _ := os.ReadDir(above); len(entries) != 4 {
		t.Errorf("outside, the directory has %v", entries)
	}
}

// Nobody is root in a jail.
func TestJailOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make jails")
	}
	err := NewRunner(ThisHost(nil)).Run(context.Background(), Cmd{Argv: []string{"true"}, Jail: &Jail{}})
	if _, ok := errors.AsType[*JailError](err); !ok {
		t.Errorf("a jail of user 0: %v; want a JailError", err)
	}
}

// Files that only root may read are lent to the jail's user to read.
func TestJailLend(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make jails")
	}
	dir := t.TempDir()
	for above := range parents(dir + "/") {
		if strings.HasPrefix(above, os.TempDir()+"/") {
			os.Chmod(above, 0o755)
		}
	}
	closed := openDir(t, dir+"/closed")
	os.WriteFile(closed+"/file", []byte("text"), 0o600)
	os.WriteFile(closed+"/key", []byte("secret"), 0o600)
	os.Chmod(closed, 0o700)
	j := &Jail{UID: BuildUser(2), Lend: []string{closed}, Hide: []string{closed + "/key"}}
	if got, err := jailed(t, j, "cat "+closed+"/file "+closed+"/key"); err != nil || got != "text" {
		t.Errorf("reading: %q, %v", got, err)
	}
	if got, err := jailed(t, j, "echo >"+closed+"/file || chown 1 "+closed+"/file"); err == nil {
		t.Errorf("writing is possible: %q", got)
	}
}

// An idle program is nice to all others, in a jail or not.
func TestIdle(t *testing.T) {
	for _, jail := range []*Jail{nil, {UID: BuildUser(1)}} {
		if jail != nil && os.Geteuid() != 0 {
			continue
		}
		var out bytes.Buffer
		err := NewRunner(ThisHost(nil)).Run(context.Background(), Cmd{Argv: []string{"bash", "-c", "nice; ionice"}, Stdout: &out, Jail: jail, Idle: true})
		if je, ok := errors.AsType[*JailError](err); ok {
			t.Skip("no jails here: ", je)
		}
		if got := out.String(); err != nil || got != "19\nidle\n" {
			t.Errorf("nice and ionice say %q, %v; want 19 and idle", got, err)
		}
	}
}

// What a jailed program leaves running ends with it.
func TestJailEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make jails")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = NewRunner(ThisHost(nil)).Run(context.Background(), Cmd{
		Argv: []string{"bash", "-c", "setsid sleep 1000 & exit 3"}, ExtraFiles: []*os.File{w}, Jail: &Jail{UID: BuildUser(0)},
	})
	w.Close()
	if je, ok := errors.AsType[*JailError](err); ok {
		t.Skip("no jails here: ", je)
	}
	if e, ok := errors.AsType[*ExitError](err); !ok || e.Status != 3 {
		t.Errorf("the error is %v; want exit status 3", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil { // waits for the last holder of the other end
		t.Errorf("read %d, %v; want the end of the file", n, err)
	}
}
