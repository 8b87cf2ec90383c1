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
)

// values are the variables that count after an evaluation.
type values map[string]Array

// scalar is what bash takes for the value of NAME without an index.
func (v values) scalar(name string) string { return v[name].At(0) }

// source is a file to evaluate.
type source struct {
	path string
	text []byte
}

// note is something that bash or a program said about a file. Line is 0
// where it is not known.
type note struct {
	path string
	line int
	text string
	// broken says that bash could not parse what begins there, and left out
	// the rest of the file.
	broken bool
}

func (n note) String() string {
	if n.line == 0 {
		return n.path + ": " + n.text
	}
	return fmt.Sprintf("%s:%d: %s", n.path, n.line, n.text)
}

// unparsable tells whether a complaint is about text that bash cannot parse.
func unparsable(text string) bool {
	return strings.HasPrefix(text, "syntax error") || strings.HasPrefix(text, "unexpected EOF")
}

// evaluation is what came out of a chain of files.
type evaluation struct {
	values values
	notes  []note
}

// errLate says that the time for an evaluation is over.
var errLate = errors.New("late")

var (
	errTooMuch = errors.New("more than 1 MiB of values")
	// errEnded says that bash did not come to the end of an evaluation.
	errEnded = errors.New("ends the shell that reads it")
)

// setting is what a chain of files finds.
type setting struct {
	// vars are set before each, and env is in the environment.
	vars, env map[string]string
	// show are directories that the files may look into, wherever they are.
	show []string
}

// query is the evaluation of a chain of files on its way.
type query struct {
	evaluation
	setting
	shell    *shell
	deadline time.Time // set when bash is first needed
}

// read evaluates the files that next gives, each on top of what the ones
// before it have set, until it gives none. The error names the file that could
// not be evaluated to its end; other evaluations are not affected by it.
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
	}
	return exit.Errorf(exit.Usage, "evaluating %s: %w", path, err)
}

// file evaluates one file twice, without bash where it is plain enough.
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

// again is the second evaluation of src, of the text that the first has left,
// where it has not happened with that.
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

// take puts what a file has set on top of what was set before.
func (q *query) take(list []row) {
	for _, r := range list {
		q.values.put(r)
	}
}

// known are the variables that a file finds.
func (q *query) known() map[string]string {
	if len(q.env) == 0 {
		return q.vars
	}
	all := maps.Clone(q.env)
	maps.Copy(all, q.vars)
	return all
}

// bash runs one evaluation within what is left of the time.
func (q *query) bash(ctx context.Context, op string, src source) (outcome, error) {
	if q.deadline.IsZero() {
		q.deadline = time.Now().Add(q.shell.limit)
	}
	ctx, cancel := context.WithDeadlineCause(ctx, q.deadline, errLate)
	defer cancel()
	return q.shell.evaluate(ctx, job{setting: q.setting, op: op, values: q.values, src: src})
}

// unchanged tells whether a second evaluation changes nothing: between double
// quotes four characters mean more than themselves.
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
	// What was blanks around the value is one blank by now, and means nothing.
	v[r.name][i] = strings.Trim(r.value, " ")
}

// row is one element of one variable.
type row struct{ name, index, value string }

// directs tells whether r stands for an assignment of another name.
func (r row) directs() bool { return r.name == "DKMS_DIRECTIVE" }

func rows(data []byte) []row {
	var list []row
	fields := bytes.Split(data, []byte{0})
	for ; len(fields) > 3; fields = fields[3:] {
		list = append(list, row{string(fields[0]), string(fields[1]), string(fields[2])})
	}
	return list
}

// whole cuts the closing row off and reports whether it was there.
func whole(list []row) ([]row, bool) {
	n := len(list) - 1
	if n < 0 || list[n] != (row{}) {
		return nil, false
	}
	return list[:n], true
}

// assignments is the text that the second evaluation reads. owners names the
// element that each of its lines assigns.
//
// The values stand between the quotes as they are: that they are interpreted
// once more is what configurations rely on.
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

var directiveName = pattern(`^[A-Za-z_][A-Za-z0-9_]*(\[[0-9]{1,5}\])?$`)

// directiveLine is the assignment that a DKMS_DIRECTIVE variable asks for.
// The original breaks where the value holds a second "=", blanks or
// characters of the shell; here the value is taken as it is.
func directiveLine(text string) (owner, line string) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || !directiveName().MatchString(name) || strings.HasPrefix(name, "__dkms") {
		return "", ""
	}
	return "DKMS_DIRECTIVE " + name, name + "=" + quote(value) + "\n"
}

// listen keeps what was said about src, each thing once; owners are the
// elements that the lines of the second evaluation assign.
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

// printable replaces what could drive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// textPath is the text of the first evaluation as bash names it, secondPath
// that of the second.
const textPath, secondPath = "/proc/self/fd/100", "/proc/self/fd/102"

// numbered understands "path: line N: text", and what bash puts between.
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

// sourceNote is what was said during the first evaluation.
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

// byteOrderMark is what some editors put before the first line.
var byteOrderMark = []byte("\xef\xbb\xbf")

// assignNote is what was said of the text of [assignments], with the line of
// src that sets what it is about.
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

// lineOf is the last line of text that plainly assigns an element, or 0.
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
