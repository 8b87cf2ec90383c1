package hostile

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// proofs are the tests of the statements in "What is isolated, and what is not"
// of dkms(8), by the words that a statement begins with.
var proofs = map[string][]string{
	"user":         {"a build writes and reads outside", "headers for root's eyes only make a build root", "the same where they cannot be lent"},
	"files":        {"a build writes and reads outside", "a build has what it may have"},
	"keys":         {"a build reads the signing key"},
	"processes":    {"a build writes and reads outside", "a build that obeys no signal holds dkms"},
	"terminal":     {"a build types on root's terminal", "a dkms.conf types on root's terminal under lint", "a build has what it may have"},
	"descriptors":  {"a build uses the caller's descriptors"},
	"keyrings":     {"a build uses root's session keyring"},
	"network":      {"a build writes and reads outside", "a build is allowed network and sockets"},
	"sockets":      {"a build reaches a socket of another user", "a build reaches a pipe of another user", "a build is allowed network and sockets"},
	"system calls": {"a build uses system calls that no build needs", "the same by a dkms.conf under lint"},
	"limits":       {"a build makes a huge file", "a build forks without end", "a build fills the disk with a file that has no name"},
	"caches":       {"a module changes what another one compiles through its cache"},
	"not isolated": {"scripts of an installation are root's", "the admin switches the isolation of a module off", "the package switches its isolation off"},
}

func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../dist/man/dkms.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), ".Sh WHAT IS ISOLATED, AND WHAT IS NOT\n")
	section, _, _ = strings.Cut(section, ".Sh ")
	var stated []string
	for _, m := range regexp.MustCompile(`(?m)^\.It (.*)$`).FindAllStringSubmatch(section, -1) {
		stated = append(stated, m[1])
	}
	var tests strings.Builder
	for _, file := range []string{"jail_calls_test.go", "jail_facts_test.go", "jail_files_test.go", "jail_terminal_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	for _, s := range stated {
		if proofs[s] == nil {
			t.Errorf("dkms(8) says something of %s that nothing proves", s)
		}
	}
	for s, list := range proofs {
		if !slices.Contains(stated, s) {
			t.Errorf("dkms(8) says nothing of %s", s)
		}
		for _, name := range list {
			if !strings.Contains(tests.String(), `(t, "`+name+`", func`) {
				t.Errorf("%s: there is no test %q", s, name)
			}
		}
	}
}
