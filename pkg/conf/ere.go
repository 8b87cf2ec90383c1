package conf

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"dkms/pkg/system"
)

// matchERE reports whether the extended regular expression of [[ s =~ expr ]]
// matches s. An expression that bash rejects matches nothing, as in bash.
func matchERE(expr, s string) bool {
	re, err := compileERE(expr)
	return err == nil && re.matches(s)
}

// ere is an extended regular expression of the C library in the C locale,
// where every byte is a character.
type ere struct {
	re    *regexp.Regexp
	words *syntax.Prog // re as a program, if the expression has \< or \>
}

func (e ere) matches(s string) bool {
	if e.words != nil {
		return matchWords(e.words, s)
	}
	return e.re.MatchString(characters(s))
}

// characters makes one character of every byte, whatever the encoding of s.
func characters(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// compileERE translates an extended regular expression of the C library, GNU
// escapes included, to Go's syntax. The translation agrees with the C library
// on whether a string matches, but not on where. Back-references are not
// supported.
func compileERE(expr string) (ere, error) {
	t := translator{in: expr}
	if err := t.run(); err != nil {
		return ere{}, err
	}
	re, err := regexp.Compile("(?s)" + t.out)
	if err != nil || !t.words {
		return ere{re: re}, err
	}
	tree, err := syntax.Parse("(?s)"+t.out, syntax.Perl)
	if err != nil {
		return ere{}, err
	}
	program, err := syntax.Compile(tree.Simplify())
	return ere{re, program}, err
}

// wordStart and wordEnd are what \< and \> become. Go has nothing that tells
// the beginning of a word from its end; these two are free for it, as ^ and $
// of the C library know no lines.
const (
	wordStart = "(?m:^)"
	wordEnd   = "(?m:$)"
)

// matchWords runs a program in which a line begins and ends where a word does.
func matchWords(program *syntax.Prog, s string) bool {
	var states []uint32 // the instructions that read the next character
	before := rune(-1)
	for _, next := range append([]rune(characters(s)), -1) {
		at := syntax.EmptyOpContext(before, next) &^ (syntax.EmptyBeginLine | syntax.EmptyEndLine)
		switch {
		case syntax.IsWordChar(next) && !syntax.IsWordChar(before):
			at |= syntax.EmptyBeginLine
		case syntax.IsWordChar(before) && !syntax.IsWordChar(next):
			at |= syntax.EmptyEndLine
		}
		seen := make([]bool, len(program.Inst))
		todo, reading := append(states, uint32(program.Start)), []uint32(nil)
		for len(todo) > 0 {
			pc := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[pc] {
				continue
			}
			seen[pc] = true
			switch in := &program.Inst[pc]; in.Op {
			case syntax.InstMatch:
				return true
			case syntax.InstAlt, syntax.InstAltMatch:
				todo = append(todo, in.Out, in.Arg)
			case syntax.InstCapture, syntax.InstNop:
				todo = append(todo, in.Out)
			case syntax.InstEmptyWidth:
				if syntax.EmptyOp(in.Arg)&^at == 0 {
					todo = append(todo, in.Out)
				}
			case syntax.InstFail:
			default:
				if in.MatchRune(next) {
					reading = append(reading, in.Out)
				}
			}
		}
		states, before = reading, next
	}
	return false
}

// translator translates an expression piece by piece and appends to out. A
// repetition applies to the piece that begins at offset atom of out; atom is -1
// where nothing can be repeated.
type translator struct {
	in, out string
	pos     int
	atom    int
	groups  []int // offsets in out at which the open groups begin
	words   bool  // there is a \< or \>
}

var (
	errRepeat  = errors.New("nothing to repeat")
	errBracket = errors.New("unfinished bracket expression")
)

func (t *translator) run() error {
	t.atom = -1
	for t.pos < len(t.in) {
		c := t.in[t.pos]
		t.pos++
		if err := t.piece(c); err != nil {
			return err
		}
	}
	if len(t.groups) > 0 {
		return errors.New("unfinished group")
	}
	return nil
}

func (t *translator) piece(c byte) error {
	switch {
	case c == '(':
		t.groups = append(t.groups, len(t.out))
		t.out += "(?:"
		t.atom = -1
	case c == ')' && len(t.groups) > 0:
		t.out += ")"
		t.atom = t.groups[len(t.groups)-1]
		t.groups = t.groups[:len(t.groups)-1]
	case c == '|':
		t.out += "|"
		t.atom = -1
	case c == '^':
		t.out += `\A`
		t.atom = -1
	case c == '$':
		t.out += `\z`
		t.atom = -1
	case c == '*' || c == '+' || c == '?':
		return t.repeat(string(c))
	case c == '{':
		return t.interval()
	case c == '[':
		return t.bracket()
	case c == '\\':
		return t.escape()
	case c == '.':
		t.add(".")
	default:
		t.pos--
		t.literal()
	}
	return nil
}

// add appends a piece that can be repeated.
func (t *translator) add(s string) {
	t.atom = len(t.out)
	t.out += s
}

// literal translates the byte at pos.
func (t *translator) literal() {
	t.add(regexp.QuoteMeta(string(rune(t.in[t.pos]))))
	t.pos++
}

func (t *translator) repeat(op string) error {
	if t.atom < 0 {
		return errRepeat
	}
	t.out = t.out[:t.atom] + "(?:" + t.out[t.atom:] + ")" + op
	return nil
}

// interval translates the interval behind an opening brace.
func (t *translator) interval() error {
	text, _, ok := strings.Cut(t.in[t.pos:], "}")
	if !ok {
		return errors.New("unfinished interval")
	}
	t.pos += len(text) + 1
	// The C library ignores a backslash here, unless a number behind the
	// backslash makes a back-reference.
	low, high, ranged := strings.Cut(strings.NewReplacer(`\,`, ",", `\0`, "0").Replace(text), ",")
	if low == "" && ranged {
		low = "0"
	}
	least, ok := number(low)
	most, bounded := number(high)
	if !ok || high != "" && (!bounded || most < least) {
		return fmt.Errorf("invalid interval {%s}", text)
	}
	return t.count(least, most, ranged, bounded)
}

// count repeats the last piece. Go's syntax allows counts up to a thousand
// only, so a larger count becomes several repetitions in a row.
func (t *translator) count(least, most int, ranged, bounded bool) error {
	if t.atom < 0 {
		return errRepeat
	}
	atom := "(?:" + t.out[t.atom:] + ")"
	counted := times(atom, least, "")
	switch {
	case bounded:
		counted += times(atom, most-least, "0,")
	case ranged:
		counted += atom + "*"
	}
	t.out = t.out[:t.atom] + "(?:" + counted + ")"
	return nil
}

// times returns n repetitions of atom; with least "0," each of them is
// optional.
func times(atom string, n int, least string) string {
	var b strings.Builder
	for ; n > 0; n -= 1000 {
		fmt.Fprintf(&b, "%s{%s%d}", atom, least, min(n, 1000))
	}
	return b.String()
}

// number parses a count by the C library's rules.
func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && n <= 32767
}

// escapes are the escapes that stand for a class of characters.
var escapes = map[byte]string{
	'w': `[A-Za-z0-9_]`, 'W': `[^A-Za-z0-9_]`, 's': `[[:space:]]`, 'S': `[^[:space:]]`,
}

// edges match between characters; nothing can repeat them.
var edges = map[byte]string{'b': `\b`, 'B': `\B`, '`': `\A`, '\'': `\z`, '<': wordStart, '>': wordEnd}

func (t *translator) escape() error {
	if t.pos == len(t.in) {
		return errors.New("nothing follows the last backslash")
	}
	c := t.in[t.pos]
	switch {
	case c >= '1' && c <= '9':
		return errors.New("back-references are not supported")
	case edges[c] != "":
		t.out += edges[c]
		t.atom = -1
		t.words = t.words || c == '<' || c == '>'
	case escapes[c] != "":
		t.add(escapes[c])
	default:
		t.literal()
		return nil
	}
	t.pos++
	return nil
}

// bracket translates the bracket expression behind an opening bracket.
func (t *translator) bracket() error {
	out := "["
	if strings.HasPrefix(t.in[t.pos:], "^") {
		out += "^"
		t.pos++
	}
	for first := true; ; first = false {
		if t.pos >= len(t.in) {
			return errBracket
		}
		if t.in[t.pos] == ']' && !first {
			t.pos++
			t.add(out + "]")
			return nil
		}
		item, err := t.item()
		if err != nil {
			return err
		}
		out += item
	}
}

var className = system.Pattern(`^\[:(alnum|alpha|blank|cntrl|digit|graph|lower|print|punct|space|upper|xdigit):\]`)

// item translates one class, character or range of a bracket expression.
func (t *translator) item() (string, error) {
	rest := t.in[t.pos:]
	if strings.HasPrefix(rest, "[:") {
		class := className().FindString(rest)
		if class == "" {
			return "", errors.New("unknown character class")
		}
		t.pos += len(class)
		return class, nil
	}
	low, err := t.endpoint()
	if err != nil {
		return "", err
	}
	rest = t.in[t.pos:]
	if len(rest) < 2 || rest[0] != '-' || rest[1] == ']' {
		return escapeRune(low), nil
	}
	t.pos++
	high, err := t.endpoint()
	if err != nil {
		return "", err
	}
	if high < low {
		return "", errors.New("range out of order")
	}
	rest = t.in[t.pos:]
	if len(rest) >= 2 && rest[0] == '-' && rest[1] != ']' {
		return "", errors.New("range without a beginning")
	}
	return escapeRune(low) + "-" + escapeRune(high), nil
}

// endpoint parses one character, also in the forms [.x.] and [=x=].
func (t *translator) endpoint() (rune, error) {
	rest := t.in[t.pos:]
	for _, mark := range []string{".", "="} {
		if !strings.HasPrefix(rest, "["+mark) {
			continue
		}
		name, _, ok := strings.Cut(rest[2:], mark+"]")
		if !ok || len(name) != 1 {
			return 0, errors.New("unknown collating element")
		}
		t.pos += 5
		return rune(name[0]), nil
	}
	if rest == "" {
		return 0, errBracket
	}
	t.pos++
	return rune(rest[0]), nil
}

func escapeRune(r rune) string { return fmt.Sprintf(`\x{%x}`, r) }
