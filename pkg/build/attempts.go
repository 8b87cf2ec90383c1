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

// Attempt is the log of one build, of a version for a target.
type Attempt struct {
	Path   string
	Target tree.Target
	// Time is when the build ended.
	Time time.Time
	// Failed says that nothing came of it.
	Failed bool
}

const (
	// attemptsName is hidden: the original passes over it.
	attemptsName = ".log"
	// attemptTime is UTC, and sorts.
	attemptTime = "20060102T150405Z"
	// maxAttempts is how many logs of failed builds are kept for a kernel.
	maxAttempts = 5
)

func attemptsDir(t *tree.Tree, id tree.ID) string {
	return filepath.Join(t.VersionDir(id), attemptsName)
}

// Attempts lists the logs that there are of a version, the newest first: those
// of the builds that are kept, that of a build that runs or has failed last,
// and those of earlier failures.
func Attempts(t *tree.Tree, id tree.ID) []Attempt {
	list := keptAttempts(t, id)
	if a, ok := scratchAttempt(t, id, t.ScratchLog(id)); ok {
		list = append(list, a)
	}
	private, _ := filepath.Glob(privateLog(t.PrivateDir(id, tree.Target{Kernel: "*", Arch: "*"})))
	for _, log := range private {
		if a, ok := scratchAttempt(t, id, log); ok {
			list = append(list, a)
		}
	}
	for _, v := range t.Versions(id.Name) {
		for _, b := range v.Builds {
			if st, err := os.Stat(t.Log(v.ID, b.Target)); v.ID == id && err == nil {
				list = append(list, Attempt{Path: t.Log(v.ID, b.Target), Target: b.Target, Time: st.ModTime()})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Attempt) int { return b.Time.Compare(a.Time) })
	return list
}

// keptAttempts are the logs in the directory of attempts; their names say
// what they are of.
func keptAttempts(t *tree.Tree, id tree.ID) []Attempt {
	files, _ := filepath.Glob(filepath.Join(attemptsDir(t, id), "*.log"))
	var list []Attempt
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".log")
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

// scratchAttempt is the log of a build in its scratch directory, unless it is
// one that came with the sources.
func scratchAttempt(t *tree.Tree, id tree.ID, path string) (Attempt, bool) {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return Attempt{}, false
	}
	k, ok := logTarget(path, id)
	return Attempt{Path: path, Target: k, Time: st.ModTime(), Failed: true}, ok
}

// logTarget reads the kernel off the title of a log. Its like of the original,
// and the log that came with the sources, may stand before it.
func logTarget(path string, id tree.ID) (k tree.Target, ok bool) {
	for line, err := range Lines(context.Background(), path) {
		if found, is := titleTarget(line, id); err == nil && is {
			k, ok = found, true
		}
	}
	return k, ok
}

// titleTarget understands "DKMS (...) make.log for NAME/VERSION for kernel
// RELEASE (ARCH)".
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

// keepAttempt moves the log of the last build of a version, if that has
// failed, out of the scratch directory, which is about to be made anew. The
// record of the failure then names its new place.
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
	for system.IsFile(to) { // two within a second: the file's own time tells which was first
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

// DropAttempts deletes the logs of failed builds for a target, for when its
// kernel is gone.
func DropAttempts(t *tree.Writer, id tree.ID, k tree.Target) {
	for _, a := range keptAttempts(t.Tree, id) {
		if a.Target == k {
			os.Remove(a.Path)
		}
	}
	os.Remove(attemptsDir(t.Tree, id)) // when it is empty
}
