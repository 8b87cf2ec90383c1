package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReasons goes through testdata/reasons.txt.
func TestReasons(t *testing.T) {
	data, err := os.ReadFile("testdata/reasons.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split(string(data), "\n== ")[1:]
	if len(cases) < 45 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		name, rest, _ := strings.Cut(c, "\n")
		parts := map[string]string{}
		part := "log"
		for _, line := range strings.SplitAfter(rest, "\n") {
			if head, ok := strings.CutPrefix(line, "-- "); ok {
				part = strings.TrimSpace(head)
				parts[part] = ""
				continue
			}
			parts[part] += line
		}
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "make.log")
			if err := os.WriteFile(file, []byte(parts["log"]), 0o644); err != nil {
				t.Fatal(err)
			}
			lines := FirstError(file)
			if got, want := strings.Join(lines, "\n"), strings.TrimSuffix(parts["quote"], "\n"); got != want {
				t.Errorf("FirstError = %q; want %q", got, want)
			}
			d := diagnose(append(lines, "make failed: exit status 2"), "6.12", strings.HasSuffix(name, ", confined"))
			want := strings.TrimSpace(parts["words"])
			if got := d.words(); !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("words = %q; want %q", got, want)
			}
			if hint := d.advice("the log", "foo", ""); !strings.Contains(hint, strings.TrimSpace(parts["hint"])) || strings.TrimSpace(parts["hint"]) == "the log" && hint != "the log" {
				t.Errorf("advice = %q; want %q", hint, parts["hint"])
			}
			if _, passes := parts["passes"]; d.transient() != passes {
				t.Errorf("passes = %v; want %v", d.transient(), passes)
			}
		})
	}
}
