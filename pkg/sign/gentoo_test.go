//go:build gentoo

package sign

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"dkms/pkg/system"
)

// portageValues prints what Portage makes of each file that it is given: the
// variable A, or null where it refuses the file.
const portageValues = `
import json, sys
sys.path.insert(0, sys.argv[1] + "/lib")
from portage.exception import PortageException
from portage.util import getconfig

for file in sys.argv[2:]:
    try:
        settings = getconfig(file, allow_sourcing=True, expand={"ROOT": "/", "EPREFIX": "", "EROOT": "/"})
        print(json.dumps((settings or {}).get("A")))
    except PortageException:
        print("null")
`

// TestMakeConfLikePortage compares each form of make.conf with Portage itself,
// whose sources are in GENTOO_PORTAGE.
func TestMakeConfLikePortage(t *testing.T) {
	portage := os.Getenv("GENTOO_PORTAGE")
	if portage == "" {
		t.Fatal("GENTOO_PORTAGE does not say where Portage is")
	}
	if _, err := os.Stat(filepath.Join(portage, "objects")); err == nil {
		portage = checkout(t, portage)
	}
	dir := t.TempDir()
	args := []string{"-c", portageValues, portage}
	for i, form := range makeConfForms() {
		file := filepath.Join(dir, string(rune('a'+i/26))+string(rune('a'+i%26)))
		write(t, file, []byte(form.text))
		args = append(args, file)
	}
	cmd := exec.Command(need(t, "python3"), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(out)
	for _, form := range makeConfForms() {
		var got *string
		if err := answers.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got == nil || *got != form.want {
			t.Errorf("%q: Portage says %s; the table, and this program, say %q", form.text, said(got), form.want)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

func said(s *string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// checkout lays down what a git directory has committed.
func checkout(t *testing.T, git string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `git --git-dir="$1" archive HEAD lib | tar -x -C "$2"`, "-", git, dir)
	if out, err := cmd.CombinedOutput(); err != nil || !system.IsDir(filepath.Join(dir, "lib")) {
		t.Fatalf("%s: %v: %s", git, err, out)
	}
	return dir
}
