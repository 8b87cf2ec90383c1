package conf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// values are the variables that hold after an evaluation.
type values map[string]Array

// scalar returns the value that bash takes for NAME without an index.
func (v values) scalar(name string) string { return v[name].At(0) }

// source is a file to evaluate.
type source struct {
	path string
	text []byte
}

// note is a message of bash or of a program about a file. Line is 0 where the
// line is not known.
type note struct {
	path string
	line int
	text string
	// broken says that bash could not parse the text at that line and skipped
	// the rest of the file.
	broken bool
}

func (n note) String() string {
	if n.line == 0 {
		return n.path + ": " + n.text
	}
	return fmt.Sprintf("%s:%d: %s", n.path, n.line, n.text)
}

// unparsable reports whether a message is about text that bash cannot parse.
func unparsable(text string) bool {
	return strings.HasPrefix(text, "syntax error") || strings.HasPrefix(text, "unexpected EOF")
}

// evaluation is the result of evaluating a chain of files.
type evaluation struct {
	values values
	notes  []note
}

// errLate says that an evaluation has exceeded its time limit.
var errLate = errors.New("late")

var (
	errTooMuch = errors.New("more than 1 MiB of values")
	// errEnded says that bash did not reach the end of an evaluation.
	errEnded = errors.New("ends the shell that reads it")
)

// setting is the environment in which a chain of files is evaluated.
type setting struct {
	// vars are set before each file; env is in the environment of bash.
	vars, env map[string]string
	// show are directories that the files may read, wherever the directories
	// are.
	show []string
}

// query is one evaluation of a chain of files in progress.
type query struct {
	evaluation
	setting
	shell    *shell
	deadline time.Time // set when bash is first needed
}

// read evaluates the files that next returns, until next returns none. Each
// file starts from the values that the files before it have set. The error
// names the file whose evaluation did not complete; other evaluations are not
// affected.
func (s *shell) read(ctx context.Context, in setting, next func(values) (source, bool)) (*evaluation, error) {
	q := query{evaluation: evaluation{values: values{}}, setting: in, shell: s}
	for {
		src, ok := next(q.values)
		if !ok {
			return &q.evaluation, nil
		}
		if err := q.file(ctx, src); err != nil {
			return nil, q.explain(ctx, src.path, err)
		}
	}
}

func (q *query) explain(ctx context.Context, path string, err error) error {
	switch {
	case ctx.Err() != nil:
		return exit.Errorf(exit.Usage, "%s: %w", path, context.Cause(ctx))
	case errors.Is(err, errLate):
		return exit.Errorf(exit.BadConf, "%s: not evaluated within %s", path, q.shell.limit)
	case errors.Is(err, errTooMuch) || errors.Is(err, errEnded):
		var said []string
		for _, n := range q.notes {
			said = append(said, n.String())
		}
		return badConf(append(said, path+": "+err.Error()))
	case errors.Is(err, system.ErrNoProgram):
		return exit.Errorf(exit.Usage, "evaluating %s: %w", path, err).WithHint("install bash and run the same command again")
	}
	return exit.Errorf(exit.Usage, "evaluating %s: %w", path, err)
}

// file evaluates one file twice; a file that is plain enough needs no bash.
func (q *query) file(ctx context.Context, src source) error {
	if v, ok := plain(src.text, q.shell.names, q.known(), q.values); ok {
		q.values = v
		return nil
	}
	out, err := q.bash(ctx, "read", src)
	if err != nil {
		return err
	}
	text, owners := assignments(out.rows)
	q.listen(src, owners, out.stderr)
	switch {
	case !out.whole:
		q.notes = append(q.notes, note{path: src.path, text: "ends the shell before its values can be read"})
		return nil
	case unchanged(out.rows):
		q.take(out.rows)
		return nil
	case out.second != nil && !slices.ContainsFunc(out.rows, row.directs):
		q.take(out.second)
		return nil
	}
	return q.again(ctx, source{src.path, text}, src, owners)
}

// again is the second evaluation of src. It evaluates left, the text that the
// first evaluation has produced, where the first process has not done so
// itself.
func (q *query) again(ctx context.Context, left, src source, owners []string) error {
	out, err := q.bash(ctx, "assign", left)
	if err != nil {
		return err
	}
	q.listen(src, owners, bytes.ReplaceAll(out.stderr, []byte(textPath), []byte(secondPath)))
	if !out.whole {
		return errEnded
	}
	q.take(out.rows)
	return nil
}

// take stores the values of one file over the values of earlier files.
func (q *query) take(list []row) {
	for _, r := range list {
		q.values.put(r)
	}
}

// known returns the variables that are set when a file is evaluated.
func (q *query) known() map[string]string {
	if len(q.env) == 0 {
		return q.vars
	}
	all := maps.Clone(q.env)
	maps.Copy(all, q.vars)
	return all
}

// bash runs one evaluation within the rest of the time limit.
func (q *query) bash(ctx context.Context, op string, src source) (outcome, error) {
	if q.deadline.IsZero() {
		q.deadline = time.Now().Add(q.shell.limit)
	}
	ctx, cancel := context.WithDeadlineCause(ctx, q.deadline, errLate)
	defer cancel()
	return q.shell.evaluate(ctx, job{setting: q.setting, op: op, values: q.values, src: src})
}

// unchanged reports whether a second evaluation would change nothing. Between
// double quotes bash interprets four characters only.
func unchanged(list []row) bool {
	return !slices.ContainsFunc(list, func(r row) bool {
		i, err := strconv.Atoi(r.index)
		return r.directs() || err != nil || strconv.Itoa(i) != r.index || strings.ContainsAny(r.value, "$`\\\"")
	})
}

func (v values) put(r row) {
	i, err := strconv.Atoi(r.index)
	if err != nil || i < 0 {
		return
	}
	if v[r.name] == nil {
		v[r.name] = Array{}
	}
	// The first evaluation has reduced blanks around the value to one, which
	// has no meaning.
	v[r.name][i] = strings.Trim(r.value, " ")
}

// row is one element of one variable.
type row struct{ name, index, value string }

// directs reports whether r asks for an assignment to another name.
func (r row) directs() bool { return r.name == "DKMS_DIRECTIVE" }

func rows(data []byte) []row {
	var list []row
	fields := bytes.Split(data, []byte{0})
	for ; len(fields) > 3; fields = fields[3:] {
		list = append(list, row{string(fields[0]), string(fields[1]), string(fields[2])})
	}
	return list
}

// whole removes the closing row and reports whether the row was there.
func whole(list []row) ([]row, bool) {
	n := len(list) - 1
	if n < 0 || list[n] != (row{}) {
		return nil, false
	}
	return list[:n], true
}

// assignments returns the text that the second evaluation reads. owners names
// the element that each line of the text assigns.
//
// The values stand between the quotes unescaped, because configurations rely on
// the second interpretation.
func assignments(list []row) (text []byte, owners []string) {
	var b bytes.Buffer
	for _, r := range list {
		owner := r.name + "[" + r.index + "]"
		line := owner + `="` + r.value + "\"\n"
		if r.directs() {
			if owner, line = directiveLine(r.value); line == "" {
				continue
			}
		}
		b.WriteString(line)
		for range strings.Count(line, "\n") {
			owners = append(owners, owner)
		}
	}
	return b.Bytes(), owners
}

var directiveName = system.Pattern(`^[A-Za-z_][A-Za-z0-9_]*(\[[0-9]{1,5}\])?$`)

// directiveLine returns the assignment that a DKMS_DIRECTIVE variable asks for.
// The original breaks where the value holds a second "=", blanks or special
// characters of the shell; here the value is taken literally.
func directiveLine(text string) (owner, line string) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || !directiveName().MatchString(name) || strings.HasPrefix(name, "__dkms") {
		return "", ""
	}
	return "DKMS_DIRECTIVE " + name, name + "=" + quote(value) + "\n"
}

// listen records the messages about src, each once. owners are the elements
// that the lines of the second evaluation assign.
func (q *query) listen(src source, owners []string, data []byte) {
	for line := range strings.Lines(string(data)) {
		line = printable(strings.TrimRight(line, "\r\n"))
		if line == "" || len(q.notes) >= 100 {
			continue
		}
		n, ok := assignNote(src, owners, line)
		if !ok {
			n = sourceNote(src, line)
		}
		if !slices.Contains(q.notes, n) {
			q.notes = append(q.notes, n)
		}
	}
}

// printable replaces the characters that could control a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// textPath is bash's name for the text of the first evaluation, secondPath its
// name for the text of the second.
const textPath, secondPath = "/proc/self/fd/100", "/proc/self/fd/102"

// numbered parses "path: line N: text", also with the words that bash inserts.
func numbered(path, line string) (n int, text string, ok bool) {
	rest, ok := strings.CutPrefix(line, path+": ")
	if !ok {
		return 0, "", false
	}
	rest = strings.TrimPrefix(rest, "command substitution: ")
	number, text, ok := strings.Cut(strings.TrimPrefix(rest, "line "), ": ")
	n, err := strconv.Atoi(number)
	return n, text, ok && err == nil
}

// sourceNote parses a message of the first evaluation.
func sourceNote(src source, line string) note {
	for _, p := range []string{src.path, textPath} {
		n, text, ok := numbered(p, line)
		if !ok {
			continue
		}
		if n == 1 && bytes.HasPrefix(src.text, byteOrderMark) {
			text = "begins with a byte order mark, which makes this line unreadable: save the file as UTF-8 without one"
		}
		return note{src.path, n, text, unparsable(text)}
	}
	return note{path: src.path, text: line}
}

// byteOrderMark is what some editors write before the first line.
var byteOrderMark = []byte("\xef\xbb\xbf")

// assignNote parses a message about the text of [assignments]. The note has the
// line of src that sets the element in question.
func assignNote(src source, owners []string, line string) (note, bool) {
	n, text, ok := numbered(secondPath, line)
	if !ok || n < 1 || n > len(owners) {
		return note{path: src.path, text: text}, ok
	}
	owner, broken := owners[n-1], unparsable(text)
	if broken {
		text = "second evaluation: " + text
	}
	return note{src.path, lineOf(src.text, owner), owner + ": " + text, broken}, true
}

// lineOf returns the last line of text that literally assigns an element, or 0.
func lineOf(text []byte, element string) int {
	found, n := 0, 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimLeft(line, " \t")
		for _, name := range []string{element, strings.TrimSuffix(element, "[0]")} {
			rest, ok := bytes.CutPrefix(line, []byte(name))
			if ok && (bytes.HasPrefix(rest, []byte("=")) || bytes.HasPrefix(rest, []byte("+="))) {
				found = n
			}
		}
	}
	return found
}
