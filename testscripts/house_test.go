package testscripts

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows are the rooms of the house and what each may import, from the ground
// up. An arrow that is not here is a decision to be made, and written down.
var arrows = map[string]string{
	// Nouns.
	"exit":      "",
	"version":   "",
	"system":    "exit",
	"report":    "exit",
	"module":    "system",
	"script":    "system",
	"sign":      "exit system",
	"boot":      "system version",
	"index":     "module system",
	"conf":      "exit system version",
	"tree":      "exit system version",
	"history":   "system tree",
	"initramfs": "module system",
	"kernel":    "exit initramfs module system version",
	"archive":   "exit system tree",
	"makefile":  "system",
	"image":     "archive exit system",
	"pack":      "exit system",
	// What to do, how to build it, and where to put it.
	"plan":     "exit tree",
	"lint":     "conf exit makefile system version",
	"draft":    "exit makefile system",
	"prebuilt": "exit image kernel module sign system tree",
	"build":    "conf exit kernel module report script sign system tree",
	"install":  "conf exit index kernel module report system tree version",
	// The machine, and what is done with it or told of it.
	"machine": "boot build conf exit history initramfs install kernel module plan report sign system tree version",
	"fleet":   "archive build conf exit image machine module pack prebuilt report sign system tree",
	"inspect": "boot build conf exit history install kernel lint machine report sign system tree version",
	"run":     "archive boot build conf draft exit fleet history install kernel machine module plan prebuilt report script sign system tree version",
	// The doors.
	"hook": "exit machine report run system",
	"cli":  "build exit fleet inspect machine report run system tree",
}

const (
	mostOfTheHouse = 5   // a room is no more than this part of all lines
	longestFile    = 400 // lines
	mostMethods    = 40  // of a type
)

// outgrown are the rooms, files and types that are larger than that. None is
// added: what shrinks is taken out.
var outgrown = map[string]bool{
	"archive/unpack.go": true, "build/build.go": true, "conf/framework.go": true, "install/transaction.go": true,
	"tree/tree.go": true, "tree.Tree": true,
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

// TestArrows keeps the walls of the design where they are.
func TestArrows(t *testing.T) {
	for _, p := range list(t, "./pkg/...") {
		room := strings.TrimPrefix(p.ImportPath, "dkms/pkg/")
		allowed, known := arrows[room]
		if !known {
			t.Errorf("%s has no place in the house", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			if to, ours := strings.CutPrefix(i, "dkms/"); ours && !slices.Contains(strings.Fields(allowed), strings.TrimPrefix(to, "pkg/")) {
				t.Errorf("%s imports %s, which is no arrow of the house", room, i)
			}
		}
	}
}

// TestSizes wants every room, file and type to be of a size that a reader can
// keep in mind.
func TestSizes(t *testing.T) {
	lines, all := map[string]int{}, 0
	methods := map[string]int{}
	files, err := filepath.Glob("../pkg/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(path, "../pkg/")
		room := filepath.Dir(name)
		n := strings.Count(string(text), "\n")
		lines[room] += n
		all += n
		limit(t, name, n, longestFile)
		parsed, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[room+"."+receiver(f)]++
			}
		}
	}
	for _, room := range slices.Sorted(maps.Keys(lines)) {
		limit(t, room, lines[room], all/mostOfTheHouse)
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		limit(t, name, methods[name], mostMethods)
	}
}

// limit holds a size against what it may be.
func limit(t *testing.T, name string, size, most int) {
	t.Helper()
	switch {
	case size > most && !outgrown[name]:
		t.Errorf("%s has %d; at most %d", name, size, most)
	case size <= most && outgrown[name]:
		t.Errorf("%s has %d and is no exception any more", name, size)
	}
}

// receiver is the type that a method belongs to.
func receiver(f *ast.FuncDecl) (name string) {
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		if i, ok := n.(*ast.Ident); ok && name == "" {
			name = i.Name
		}
		return name == ""
	})
	return name
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
