package build

import (
	"bytes"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// session lists variables of the caller that mean nothing to a build, or that
// builds set themselves.
var session = []string{
	"_", "HOME", "KERNELRELEASE", "LANG", "LC_ALL", "LOGNAME", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "OLDPWD", "PATH", "PWD",
	"SHELL", "SHLVL", "TERM", "TMPDIR", "USER",
	// dkms passes these on.
	"CCACHE_DIR", "DISTCC_HOSTS", "ICECC_VERSION", "LC_CTYPE", "NO_COLOR", "SOURCE_DATE_EPOCH",
}

// maxText bounds how many bytes of a file are searched for variables.
const maxText = 1 << 20

// warnDropped names the variables of the caller's environment that the
// package's files refer to. Builds do not see these variables, so a build may
// behave differently from what its user intended, and the warning explains why.
func (w *work) warnDropped() {
	texts := w.texts()
	for _, name := range slices.Sorted(maps.Keys(w.Host.Env)) {
		if _, seen := w.env[name]; seen || slices.Contains(session, name) {
			continue
		}
		if file := refersTo(texts, name); file != "" {
			w.Report.Warnf("%s: %s refers to %s, which is set here, but builds do not see it: --env %[3]s=\"$%[3]s\" passes it on once, BUILD_ENV[0]=\"%[3]s=VALUE\" in /etc/dkms/%s.conf always",
				w.ID, file, name, w.ID.Name)
		}
	}
}

// refersTo is the first file that uses a variable in the syntax of a shell or of
// make.
func refersTo(texts []text, name string) string {
	use := regexp.MustCompile(`\$[({]?` + regexp.QuoteMeta(name) + `(?:[^A-Za-z0-9_]|$)`)
	for _, t := range texts {
		if bytes.Contains(t.data, []byte(name)) && use.Match(t.data) {
			return t.file
		}
	}
	return ""
}

// text is a file of the package.
type text struct {
	file string
	data []byte
}

// texts reads the package's files that a build starts with.
func (w *work) texts() (texts []text) {
	list := []string{"dkms.conf", "Makefile", "makefile", "GNUmakefile", "Kbuild"}
	for _, line := range []string{w.Conf.PreBuild, w.Conf.PostBuild} {
		if words := strings.Fields(line); len(words) > 0 && filepath.IsLocal(words[0]) {
			list = append(list, words[0])
		}
	}
	for _, file := range list {
		if data, err := system.ReadRegular(filepath.Join(w.scratch.real, file), maxText); err == nil {
			texts = append(texts, text{file, data})
		}
	}
	return texts
}
