package testscripts

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// floors are the rooms of the house from the ground up: a package imports
// only what lies on a lower floor, or beside it on the ground floor.
var floors = [][]string{
	{"boot", "conf", "exit", "index", "kernel", "module", "report", "script", "sign", "system", "tree", "version", "archive", "image"},
	{"build", "install", "lint", "plan", "prebuilt"},
	{"machine"},
	{"fleet", "inspect"},
	{"run"},
	{"cli", "hook"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Doc        string
	Dir        string
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,Doc,Dir"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

// TestArrowsRunDown keeps the walls of the design where they are.
func TestArrowsRunDown(t *testing.T) {
	floor := map[string]int{}
	for i, rooms := range floors {
		for _, r := range rooms {
			floor["dkms/pkg/"+r] = i
		}
	}
	for _, p := range list(t, "./pkg/...") {
		own, known := floor[p.ImportPath]
		if !known {
			t.Errorf("%s has no floor in the house", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			if f, ok := floor[i]; ok && (f > own || f == own && own != 0) {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, i)
			}
		}
	}
}

// TestDoorsLinkWhatTheyNeed bans packages that have no business in a program
// that runs as root at every boot, and the command line from the hook.
func TestDoorsLinkWhatTheyNeed(t *testing.T) {
	banned := map[string][]string{
		"dkms/oneshot": {"net/http", "testing"},
		"dkms/hooks":   {"net/http", "testing", "github.com/alecthomas/kong", "dkms/pkg/cli"},
	}
	for _, p := range list(t, "./oneshot", "./hooks") {
		for _, b := range banned[p.ImportPath] {
			if slices.Contains(p.Deps, b) {
				t.Errorf("%s links %s", p.ImportPath, b)
			}
		}
	}
}

// TestPackagesAreDocumented wants two sentences or more of every package: what
// it is and what it guarantees.
func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range list(t, "./pkg/...") {
		files, _ := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		text := ""
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil {
				text += parsed.Doc.Text()
			}
		}
		if strings.Count(text, ".\n")+strings.Count(text, ". ") < 2 {
			t.Errorf("%s: the package comment says too little: %q", p.ImportPath, text)
		}
	}
}
