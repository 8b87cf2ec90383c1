package version

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	ascending := [][]string{
		{"1.0", "1.1", "1.2", "1.10", "2.0"},
		{"1.999", "1.1000"},
		{"3.10.0-957.el7", "3.10.0-1160.el7"},
		{"6.1", "6.1.0", "6.1.0-56-amd64"},
		{"", "0"},
	}
	for _, list := range ascending {
		for i := 1; i < len(list); i++ {
			if Compare(list[i-1], list[i]) >= 0 || Compare(list[i], list[i-1]) <= 0 {
				t.Errorf("Compare(%q, %q) is not ascending", list[i-1], list[i])
			}
		}
	}
	for _, p := range [][2]string{{"1.01", "1.1"}, {"1 .0", "1.0"}, {"a", "a"}} {
		if c := Compare(p[0], p[1]); c != 0 {
			t.Errorf("Compare(%q, %q) = %d; want 0", p[0], p[1], c)
		}
	}
}

// TestNatural lets sort -V judge.
func TestNatural(t *testing.T) {
	lines := strings.Fields(`installed/a built/a 6.1.0-56-amd64 6.1.0-9-amd64 6.10 6.9 1.0rc1 1.0 1.0~rc1
		5.10.0-rc1 5.10.0 40-dkms.install 100-z 9-foo dkms zz 1.0.tar.gz 1.0.1.tar.gz a.b a.1 a1b a01b a001 a1 x.~y x`)
	cmd := exec.Command("sort", "-V")
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(bytes.TrimSpace(out)))
	slices.SortFunc(lines, Natural)
	if !slices.Equal(lines, want) {
		t.Errorf("Natural order:\n%q\nsort -V:\n%q", lines, want)
	}
}
