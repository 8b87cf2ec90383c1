package dist_test

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLicenses: what the two programs link, as the programs themselves say, is
// what licenses.txt has the licences of, and those are the ones of these
// versions.
func TestLicenses(t *testing.T) {
	need(t, "go", "sh")
	dir := t.TempDir()
	withGo(t, "go", "build", "-o", dir+"/", "../oneshot", "../hooks")
	linked := map[string]bool{}
	for _, line := range strings.Split(withGo(t, "go", "version", "-m", dir), "\n") {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "dep" {
			linked[words[1]+" "+words[2]] = true
		}
	}
	text := read(t, "doc/licenses.txt")
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^-{72}\n(\S+/\S+ v\S+)\n-{72}$`).FindAllStringSubmatch(text, -1) {
		listed[m[1]] = true
	}
	if len(linked) < 3 {
		t.Fatalf("go version -m lists only %v", linked)
	}
	if got, want := sorted(listed), sorted(linked); !slices.Equal(got, want) {
		t.Errorf("licenses.txt has\n%s\nlinked are\n%s\nrun make licenses", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if generated := withGo(t, "sh", "package/licenses.sh"); generated != text {
		t.Error("licenses.txt is not what package/licenses.sh prints; run make licenses")
	}
}

func sorted(set map[string]bool) (list []string) {
	for k := range set {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// withGo runs a program that may need the caller's caches of Go.
func withGo(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}
