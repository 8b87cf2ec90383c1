package conf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
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
}

func (n note) String() string {
	if n.line == 0 {
		return n.path + ": " + n.text
	}
	return fmt.Sprintf("%s:%d: %s", n.path, n.line, n.text)
}

// syntax reports whether n is about text that bash cannot parse.
func (n note) syntax() bool {
	return n.line > 0 && (strings.HasPrefix(n.text, "syntax error") || strings.HasPrefix(n.text, "unexpected EOF"))
}

// evaluation is what came out of a chain of files.
type evaluation struct {
	values values
	notes  []note
}

// evaluate reads the files that next gives, each on top of what the ones
// before it have set, until it gives none. vars are set before. The error
// names the file that could not be evaluated to its end; other evaluations
// are not affected by it.
func (s *shell) evaluate(ctx context.Context, vars map[string]string, next func(values) (source, bool)) (*evaluation, error) {
	if err := s.start(ctx); err != nil {
		return nil, exit.Errorf(exit.Usage, "evaluating configuration: %w", err)
	}
	q := query{proc: s.proc, deadline: time.Now().Add(s.limit), known: s.names}
	err := q.run(vars, next)
	if err == nil {
		return &q.evaluation, nil
	}
	s.close()
	if ctx.Err() != nil {
		return nil, exit.Errorf(exit.Usage, "%s: %w", q.path, context.Cause(ctx))
	}
	return nil, q.explain(err, s.limit)
}

// query is one evaluation on its way.
type query struct {
	evaluation
	proc     *process
	deadline time.Time
	known    []string
	path     string // of the file at hand
}

var errTooMuch = errors.New("more than 1 MiB of values")

func (q *query) explain(err error, limit time.Duration) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return exit.Errorf(exit.BadConf, "%s: not evaluated within %s", q.path, limit)
	}
	return exit.Errorf(exit.BadConf, "%s: %w", q.path, err)
}

func (q *query) run(vars map[string]string, next func(values) (source, bool)) error {
	q.values = values{}
	begun := false
	for {
		src, ok := next(q.values)
		if !ok && !begun {
			return nil // nothing was asked
		}
		if !ok {
			return q.finish()
		}
		q.path = src.path
		if !begun {
			if err := q.begin(vars); err != nil {
				return err
			}
			begun = true
		}
		if err := q.file(src); err != nil {
			return err
		}
	}
}

// begin sets the variables, in the way of the second evaluation: bash reads
// from a file in one go, and requests byte by byte.
func (q *query) begin(vars map[string]string) error {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		b.WriteString(name + "=" + quote(vars[name]) + "\n")
	}
	if err := rewrite(q.proc.text, b.Bytes()); err != nil {
		return err
	}
	_, err := q.ask("begin", "assign", "")
	return err
}

func (q *query) finish() error {
	if err := q.proc.send("end", ""); err != nil {
		return err
	}
	line, err := q.proc.answer(q.deadline)
	if err == nil && line != "end" {
		err = fmt.Errorf("unexpected answer %q", line)
	}
	return err
}

// file evaluates one file twice.
func (q *query) file(src source) error {
	if err := rewrite(q.proc.text, src.text); err != nil {
		return err
	}
	rows, err := q.ask("read", src.path)
	if err != nil {
		return err
	}
	q.listen(func(line string) note { return sourceNote(src.path, line) })
	rows, complete := whole(rows)
	if !complete {
		q.notes = append(q.notes, note{path: src.path, text: "ends the shell before its values can be read"})
		rows = nil
	}
	text, owners := assignments(rows)
	if err := rewrite(q.proc.text, text); err != nil {
		return err
	}
	if rows, err = q.ask("assign", ""); err != nil {
		return err
	}
	q.listen(func(line string) note { return assignNote(src.path, owners, line) })
	if rows, complete = whole(rows); !complete {
		return errEnded
	}
	q.values = values{}
	for _, r := range rows {
		q.values.put(r)
	}
	return nil
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

// ask sends a request and returns the rows that it leaves.
func (q *query) ask(fields ...string) ([]row, error) {
	if err := q.proc.values.Truncate(0); err != nil {
		return nil, err
	}
	if err := q.proc.stderr.Truncate(0); err != nil {
		return nil, err
	}
	if err := q.proc.send(fields...); err != nil {
		return nil, err
	}
	line, err := q.proc.answer(q.deadline)
	if err != nil {
		return nil, err
	}
	if line != "ok" {
		return nil, errEnded
	}
	data, more, err := drain(q.proc.values, maxValues)
	if more {
		err = errTooMuch
	}
	return rows(data), err
}

// row is one element of one variable.
type row struct{ name, index, value string }

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
		if r.name == "DKMS_DIRECTIVE" {
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

// listen keeps what was said since the last request.
func (q *query) listen(parse func(line string) note) {
	data, _, err := drain(q.proc.stderr, maxStderr)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(data)) {
		line = printable(strings.TrimRight(line, "\r\n"))
		if line == "" || len(q.notes) >= 100 {
			continue
		}
		q.notes = append(q.notes, parse(line))
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

// textPath is the text on descriptor 3 as bash names it.
const textPath = "/proc/self/fd/100"

// numbered understands "path: line N: text".
func numbered(path, line string) (n int, text string, ok bool) {
	rest, ok := strings.CutPrefix(line, path+": line ")
	if !ok {
		return 0, "", false
	}
	number, text, ok := strings.Cut(rest, ": ")
	n, err := strconv.Atoi(number)
	return n, text, ok && err == nil
}

// sourceNote is what was said during the first evaluation.
func sourceNote(path, line string) note {
	for _, p := range []string{path, textPath} {
		if n, text, ok := numbered(p, line); ok {
			return note{path, n, text}
		}
	}
	return note{path: path, text: line}
}

// assignNote is what was said of the text of [assignments].
func assignNote(path string, owners []string, line string) note {
	n, text, ok := numbered(textPath, line)
	if !ok {
		return note{path: path, text: line}
	}
	if n < 1 || n > len(owners) {
		return note{path: path, text: text}
	}
	return note{path: path, text: owners[n-1] + ": " + text}
}
