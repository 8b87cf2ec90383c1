package testscripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// wantMembers is "members ACTION FILE...": the JSON in the files has the
// members that dkms-json(5) has in the section of the action, each of them at least
// once, and no others.
func wantMembers(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: members ACTION FILE...")
	}
	manual, err := os.ReadFile(ts.Getenv("FAKEKERNEL") + "/../../dist/man/dkms-json.5")
	ts.Check(err)
	documented := membersOf(string(manual), args[0])
	allowed := maps.Clone(documented)
	if args[0] == "why" { // "as of status", says the manual
		maps.Copy(allowed, membersOf(string(manual), "status"))
	}
	seen := map[string]bool{}
	for _, file := range args[1:] {
		for dec := json.NewDecoder(strings.NewReader(ts.ReadFile(file))); ; {
			var v map[string]any
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				break
			}
			ts.Check(err)
			if v["schema"] != 1.0 {
				ts.Fatalf("%s: schema is %v", file, v["schema"])
			}
			ts.Check(members(v, "", seen))
		}
	}
	for path := range seen {
		if !allowed[path] && !isContainer(path, allowed) {
			ts.Fatalf("%s: %s is not in dkms-json(5)", args[0], path)
		}
	}
	for path := range documented {
		if !seen[path] && !seen[strings.TrimSuffix(path, "[]")] { // the list may be empty
			ts.Fatalf("%s: no file has %s, which is in dkms-json(5); there are %q", args[0], path, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// isContainer tells objects and lists whose members are what is documented.
func isContainer(path string, documented map[string]bool) bool {
	for d := range documented {
		if strings.HasPrefix(d, path+".") || strings.HasPrefix(d, path+"[]") {
			return true
		}
	}
	return false
}

var (
	memberItem = regexp.MustCompile(`(?m)^\.It Va (.*)$`)
	nested     = regexp.MustCompile(`(depends\[\]\.)+depends`)
)

// membersOf reads the members of an action from the section MEMBERS.
func membersOf(manual, action string) map[string]bool {
	_, section, _ := strings.Cut(manual, "\n.Sh MEMBERS")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	_, section, _ = strings.Cut(section, "\n.Ss "+action+"\n")
	section, _, _ = strings.Cut(section, "\n.Ss ")
	list := map[string]bool{}
	for _, m := range memberItem.FindAllStringSubmatch(section, -1) {
		for name := range strings.SplitSeq(m[1], " , ") {
			list[name] = true
		}
	}
	return list
}

// members notes the path of everything in a JSON value.
func members(v any, path string, seen map[string]bool) error {
	if path != "" {
		seen[nested.ReplaceAllString(path, "depends")] = true
	}
	switch v := v.(type) {
	case nil:
		return fmt.Errorf("%s is null", path)
	case []any:
		for _, element := range v {
			if err := members(element, path+"[]", seen); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, value := range v {
			if err := members(value, strings.TrimPrefix(path+"."+name, "."), seen); err != nil {
				return err
			}
		}
	}
	return nil
}
