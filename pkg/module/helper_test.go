package module

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var need = testkit.Need

// TestMain gives [built] a directory and removes it afterwards.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "module-test-")
	if err != nil {
		panic(err)
	}
	built = sync.OnceValues(func() (modules, error) { return build(dir) })
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// built compiles the modules at its first call; set by [TestMain].
var built func() (modules, error)

// missing skips a test that lacks a judge, or fails it under CI.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

// output runs a judge that must agree to run.
func output(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := run(nil, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func run(stdin []byte, argv ...string) ([]byte, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, stderr.Bytes())
	}
	return out, err
}

func runner() *system.Runner {
	return system.NewRunner(system.ThisHost(os.Environ()))
}

// modules are two real modules; the second needs the first.
type modules struct {
	dir, kernel, release string
	first, second        string
}

const firstSource = `
#include <linux/module.h>
int judge_first(int x);
int judge_first(int x) { pr_info("%d\n", x); return x + 1; }
EXPORT_SYMBOL(judge_first);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("nobody");
MODULE_ALIAS("judge-first-a");
MODULE_ALIAS("judge=first b");
MODULE_VERSION("1.2-rc3 with = and blanks");
`

const secondSource = `
#include <linux/module.h>
#include <linux/slab.h>
int judge_first(int x);
static int __init start(void) { kfree(kmalloc(judge_first(64), GFP_KERNEL)); return 0; }
static void __exit stop(void) { }
module_init(start);
module_exit(stop);
MODULE_LICENSE("Dual MIT/GPL");
`

var errNoHeaders = errors.New("no kernel headers in /lib/modules/*/build")

func build(dir string) (modules, error) {
	found, _ := filepath.Glob("/lib/modules/*/build/Makefile")
	if len(found) == 0 {
		return modules{}, errNoHeaders
	}
	m := modules{dir: dir, kernel: filepath.Dir(found[0])}
	m.release = filepath.Base(filepath.Dir(m.kernel))
	m.first, m.second = filepath.Join(dir, "judge-first.ko"), filepath.Join(dir, "judge-second.ko")
	for name, text := range map[string]string{
		"judge-first.c": firstSource, "judge-second.c": secondSource,
		"Makefile": "obj-m := judge-first.o judge-second.o\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return m, err
		}
	}
	if _, err := run(nil, "make", "-C", m.kernel, "M="+dir, "modules"); err != nil {
		return m, err
	}
	return m, nil
}

// buildModules compiles them once for all tests.
func buildModules(t testing.TB) modules {
	t.Helper()
	need(t, "make", "gcc", "modinfo")
	m, err := built()
	if errors.Is(err, errNoHeaders) {
		missing(t, "a kernel's headers")
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// machineCode is n bytes of an ELF file: this very program.
func machineCode(t testing.TB, n int) []byte {
	t.Helper()
	data := readFile(t, "/proc/self/exe")
	for len(data) < n {
		data = append(data, data...)
	}
	return data[:n]
}
