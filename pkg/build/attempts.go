package build

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Attempt is the log of one build of a version for a target.
type Attempt struct {
	Path   string
	Target tree.Target
	// Time is when the build ended.
	Time time.Time
	// Failed says that the build produced nothing.
	Failed bool
}

const (
	// attemptsName is hidden, so that the original ignores the directory.
	attemptsName = ".log"
	// attemptTime is the layout of UTC times that sort as text.
	attemptTime = "20060102T150405Z"
	// maxAttempts is how many logs of failed builds are kept per kernel.
	maxAttempts = 5
)

func attemptsDir(t *tree.Tree, id tree.ID) string {
	return filepath.Join(t.VersionDir(id), attemptsName)
}

// Attempts lists the logs of a version, newest first: the logs of kept builds,
// the log of the build that is running or failed last, and the logs of earlier
// failures.
func Attempts(t *tree.Tree, id tree.ID) []Attempt {
	list := keptAttempts(t, id)
	if a, ok := scratchAttempt(t, id, t.ScratchLog(id)); ok {
		list = append(list, a)
	}
	for _, dir := range t.PrivateDirs(id) {
		if a, ok := scratchAttempt(t, id, privateLog(dir)); ok {
			list = append(list, a)
		}
	}
	versions, _ := t.Versions(id.Name)
	for _, v := range versions {
		for _, b := range v.Builds {
			if st, err := os.Stat(t.Log(v.ID, b.Target)); v.ID == id && err == nil {
				list = append(list, Attempt{Path: t.Log(v.ID, b.Target), Target: b.Target, Time: st.ModTime()})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Attempt) int { return b.Time.Compare(a.Time) })
	return list
}

// keptAttempts lists the logs in the directory of attempts. The name of a log
// gives its kernel and time.
func keptAttempts(t *tree.Tree, id tree.ID) []Attempt {
	files, _ := system.Match(attemptsDir(t, id), "", ".log")
	var list []Attempt
	for _, file := range files {
		path, name := filepath.Join(attemptsDir(t, id), file), strings.TrimSuffix(file, ".log")
		rest, stamp, ok := cutLast(name, "-")
		_, err := time.Parse(attemptTime, stamp)
		kernel, arch, split := cutLast(rest, "-")
		k := tree.Target{Kernel: kernel, Arch: arch}
		if !ok || !split || err != nil || k.Check() != nil {
			continue
		}
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			list = append(list, Attempt{Path: path, Target: k, Time: st.ModTime(), Failed: true})
		}
	}
	return list
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// scratchAttempt is the log of a build in its scratch directory. A log that
// came with the sources does not count.
func scratchAttempt(t *tree.Tree, id tree.ID, path string) (Attempt, bool) {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return Attempt{}, false
	}
	k, ok := logTarget(path, id)
	return Attempt{Path: path, Target: k, Time: st.ModTime(), Failed: true}, ok
}

// logTarget reads the kernel from the title of a log. Titles of the original,
// or of a log that came with the sources, may precede our title.
func logTarget(path string, id tree.ID) (k tree.Target, ok bool) {
	for line, err := range Lines(context.Background(), path) {
		if found, is := titleTarget(line, id); err == nil && is {
			k, ok = found, true
		}
	}
	return k, ok
}

// titleTarget parses "DKMS (...) make.log for NAME/VERSION for kernel RELEASE
// (ARCH)".
func titleTarget(line string, id tree.ID) (k tree.Target, ok bool) {
	if !strings.HasPrefix(line, "DKMS (") {
		return k, false
	}
	_, rest, ok := strings.Cut(line, ") make.log for "+id.String()+" for kernel ")
	if !ok {
		return k, false
	}
	k.Kernel, k.Arch, ok = strings.Cut(strings.TrimSuffix(rest, ")"), " (")
	return k, ok && k.Check() == nil
}

// The scratch directory is about to be emptied, so keepAttempt moves the log of
// a version's last build out of it if that build failed. The record of the
// failure then names the new place of the log.
func keepAttempt(t *tree.Writer, id tree.ID) error {
	a, ok := scratchAttempt(t.Tree, id, t.ScratchLog(id))
	if !ok {
		return nil
	}
	dir := attemptsDir(t.Tree, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	to := attemptPath(dir, a)
	for system.IsFile(to) { // two logs may have the same second: the time of the file gives their order
		a.Time = a.Time.Add(time.Second)
		to = attemptPath(dir, a)
	}
	if err := os.Rename(a.Path, to); err != nil {
		return err
	}
	if err := cutLog(context.Background(), to); err != nil {
		return err
	}
	if f := t.Failure(id, a.Target); f != nil && f.Log == a.Path {
		f.Log = to
		f.Hint = strings.ReplaceAll(f.Hint, a.Path, to)
		if err := t.RecordFailure(id, a.Target, *f); err != nil {
			return err
		}
	}
	prune(keptAttempts(t.Tree, id))
	return nil
}

func attemptPath(dir string, a Attempt) string {
	return filepath.Join(dir, a.Target.Kernel+"-"+a.Target.Arch+"-"+a.Time.UTC().Format(attemptTime)+".log")
}

// prune deletes all but the newest logs of every kernel.
func prune(list []Attempt) {
	slices.SortFunc(list, func(a, b Attempt) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Path, b.Path)) })
	kept := map[tree.Target]int{}
	for _, a := range list {
		if kept[a.Target]++; kept[a.Target] > maxAttempts {
			os.Remove(a.Path)
		}
	}
}

// DropAttempts deletes the logs of failed builds for a target whose kernel is
// gone.
func DropAttempts(t *tree.Writer, id tree.ID, k tree.Target) {
	for _, a := range keptAttempts(t.Tree, id) {
		if a.Target == k {
			os.Remove(a.Path)
		}
	}
	os.Remove(attemptsDir(t.Tree, id)) // succeeds only when the directory is empty
}
