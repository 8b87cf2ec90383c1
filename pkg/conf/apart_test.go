package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// hostile leaves processes running that answer for whatever is read after it:
// through the descriptors that it was given, and through those of others.
const hostile = plainConf + `
setsid bash -c 'while sleep 0.01; do
	for f in /proc/self/fd/101 /proc/[0-9]*/fd/101 /proc/[0-9]*/fd/5; do
		printf "MAKE\0000\000forged\000BUILD_SANDBOX\0000\000no\000" >>"$f"
	done
done 2>/dev/null' &
sleep 0.1
`

// TestApart reads a hostile configuration before, beside and after others.
func TestApart(t *testing.T) {
	r := newReader(t)
	r.Host.CPUs = 2
	dir := r.Host.Root.Dir
	victim := plainConf + "MAKE=own\nsleep 0.1\n"
	var refs []Ref
	for i := range 8 {
		text := victim
		if i%3 == 0 {
			text = hostile
		}
		refs = append(refs, Ref{File: write(t, filepath.Join(dir, fmt.Sprint(i), "dkms.conf"), text)})
	}
	for i, res := range r.Modules(t.Context(), refs) {
		if i%3 == 0 {
			continue // it may say of itself what it likes
		}
		if res.Err != nil || res.Conf.Make.At(0) != "own" || res.Conf.NoSandbox {
			t.Errorf("conf %d: %+v, %v; want its own values", i, res.Conf, res.Err)
		}
	}
}

// TestNothingLeft leaves processes running in every confinement that this
// system allows and looks for them afterwards.
func TestNothingLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("who is not root evaluates as who he is")
	}
	const text = "setsid sleep 1000 &\nsleep 1000 &\n"
	sh := newReader(t).shell([]string{"MAKE"})
	tried := 0
	for i, c := range sh.confinements() {
		if c.shared {
			continue
		}
		out, err := sh.evaluateIn(t.Context(), c, job{op: "read", src: source{"/none", []byte(text)}})
		if err != nil && impossible(err) {
			t.Logf("confinement %d is not possible here: %v", i, err)
			continue
		}
		if err != nil || !out.whole {
			t.Errorf("confinement %d: %+v, %v", i, out, err)
		}
		tried++
		user := 0
		if c.jail != nil {
			user = c.jail.UID
		} else {
			user = int(c.attr.Credential.Uid)
		}
		if left := processesOf(t, user); len(left) > 0 {
			t.Errorf("confinement %d leaves the processes %v", i, left)
		}
	}
	t.Logf("%d confinements", tried)
}

// processesOf lists the processes of a user that have not ended.
func processesOf(t *testing.T, user int) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		st, err := os.Stat("/proc/" + e.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, state, _ := strings.Cut(string(stat), ") ")
		if err == nil && int(st.Sys().(*syscall.Stat_t).Uid) == user && !strings.HasPrefix(state, "Z") {
			pids = append(pids, pid)
		}
	}
	return pids
}
