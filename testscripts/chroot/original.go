package chroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// suites are the releases of Debian that a version of DKMS comes from. The
// systems are bookworm whatever the version is: dkms is a shell script.
var suites = map[string]string{"3.0.10": "bookworm", "3.2.2": "trixie"}

// Original is a DKMS to compare ours with: Debian's of a version, or that of a
// checkout of the project's repository, which the tester has.
type Original struct{ Version, checkout string }

// FindOriginal takes one of the versions that Debian has.
func FindOriginal(version string) (Original, error) {
	if suites[version] == "" {
		return Original{}, fmt.Errorf("%s: no Debian that the tests know has this version of dkms", version)
	}
	return Original{Version: version}, nil
}

var release = regexp.MustCompile(`(?m)^RELEASE_(?:MAJOR|MINOR|MICRO) := (\d+)$`)

// ReadOriginal takes a checkout; its Makefile says which version it is.
func ReadOriginal(dir string) (Original, error) {
	data, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		return Original{}, err
	}
	var numbers []string
	for _, m := range release.FindAllStringSubmatch(string(data), -1) {
		numbers = append(numbers, m[1])
	}
	if len(numbers) != 3 {
		return Original{}, fmt.Errorf("%s/Makefile: no RELEASE_MAJOR, RELEASE_MINOR and RELEASE_MICRO; this is no checkout of DKMS", dir)
	}
	return Original{strings.Join(numbers, "."), dir}, nil
}

// make makes the system with it: a package once, a checkout always, as the
// tester may have changed it.
func (o Original) make(base, dir string) error {
	if o.checkout == "" {
		return Once(dir, func(dir string) error { return errors.Join(copyTree(base, dir), installDebians(dir, o.Version)) })
	}
	if err := Once(dir, func(dir string) error { return copyTree(base, dir) }); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "dkms-original")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	return errors.Join(Run("cp", "-a", o.checkout+"/.", temp), Run("make", "-C", temp, "DESTDIR="+dir, "install-debian"))
}

// installDebians installs the package of a version, with what it depends on
// from bookworm.
func installDebians(dir, version string) error {
	const script = `set -e
mount -t proc proc "$0/proc"
cd "$0"
mkdir -p tmp/lists
echo "deb $2 $3 main" >tmp/sources
exec chroot . sh -ec '
	from="-o Dir::Etc::SourceList=/tmp/sources -o Dir::State::Lists=/tmp/lists -o APT::Sandbox::User=root"
	cd /tmp
	apt-get update -qq $from
	apt-get download -qq $from dkms
	case $(dpkg-deb -f dkms_*.deb Version) in "$0"-*) ;; *) echo "this is not $0: $(echo dkms_*.deb)"; exit 1 ;; esac
	apt-get install -qy --no-install-recommends ./dkms_*.deb
	rm -r dkms_*.deb lists sources' "$1"`
	return Run("unshare", "--mount", "sh", "-c", script, dir, version, Mirror(), suites[version])
}
