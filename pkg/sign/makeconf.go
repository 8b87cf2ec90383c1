package sign

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"dkms/pkg/system"
)

// These constants bound the nesting of sourced files and of directories, the
// number of files, and the length of a value with its variables expanded.
const (
	maxDepth = 10
	maxFiles = 1000
	maxValue = 64 << 10
)

// makeConf is the result of reading Portage's settings.
type makeConf struct {
	root system.Root
	// vars are the variables that later text can refer to.
	vars map[string]string
	// set are the variables that the files assign.
	set map[string]makeVar
	// files counts the files that were read, and top is the path of the
	// outermost one.
	files int
	top   string
}

// makeVar is a value with the path of its settings; err says why the value
// could not be expanded.
type makeVar struct {
	value, origin string
	err           error
}

// get returns a variable, and the path of the settings that assign it.
func (c *makeConf) get(name string) (value, origin string, err error) {
	v := c.set[name]
	return v.value, v.origin, v.err
}

// readMakeConf reads /etc/make.conf and /etc/portage/make.conf; the later file
// overrides the earlier one. Both may be missing.
func readMakeConf(root system.Root) (*makeConf, error) {
	c := &makeConf{root: root, vars: profileEnv(root), set: map[string]makeVar{}}
	maps.Copy(c.vars, map[string]string{
		"BROOT": "", "EPREFIX": "", "EROOT": "/", "ESYSROOT": "/",
		"PORTAGE_CONFIGROOT": "/", "ROOT": "/", "SYSROOT": "/",
	})
	for _, c.top = range []string{"/etc/make.conf", "/etc/portage/make.conf"} {
		if err := c.readPath(root.Path(c.top), 0); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// profileEnv reads the variables of env.d and does not expand their values. If
// a file has a syntax error, the assignments before the error count.
func profileEnv(root system.Root) map[string]string {
	vars := map[string]string{}
	data, err := readSmall(root.Path("/etc/profile.env"))
	if err != nil {
		return vars
	}
	lex := newLexer(string(data), "", nil)
	for {
		a, ok, err := lex.assignment()
		if !ok || err != nil {
			return vars
		}
		vars[a.name] = a.value
	}
}

// readPath reads a file, or all files of a directory in the order of their
// names.
func (c *makeConf) readPath(path string, depth int) error {
	base := filepath.Base(path)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~") {
		return nil
	}
	switch {
	case err != nil:
		return err
	case st.Mode().IsRegular():
		return c.readFile(path)
	case !st.IsDir() || slices.Contains([]string{"CVS", "RCS", "SCCS"}, base):
		return nil
	case depth > maxDepth:
		return fmt.Errorf("%s: more than %d directories deep", path, maxDepth)
	}
	names, err := os.ReadDir(path) // sorted
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.readPath(filepath.Join(path, name.Name()), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *makeConf) readFile(path string) error {
	text, err := c.load(path)
	if err != nil {
		return err
	}
	return c.parse(path, text)
}

func (c *makeConf) load(path string) (string, error) {
	if c.files++; c.files > maxFiles {
		return "", fmt.Errorf("%s: more than %d files of settings", path, maxFiles)
	}
	data, err := readSmall(path)
	return string(data) + "\n", err // a backslash may end the file
}

// parse reads the assignments of one file and of the files it sources.
func (c *makeConf) parse(path, text string) error {
	lex := newLexer(text, path, c.include)
	for {
		a, ok, err := lex.assignment()
		if !ok || err != nil {
			return err
		}
		if !validName(a.name) {
			return fmt.Errorf("%s: %q is not a variable name", lex.where(), a.name)
		}
		v := makeVar{origin: c.top}
		v.value, v.err = expandValue(a.value, c.vars)
		if v.err != nil {
			// Portage treats such a value as empty; whoever needs the value
			// should get the error.
			v.err = fmt.Errorf("%s: %s: %w", lex.where(), a.name, v.err)
		}
		c.set[a.name] = v
		c.vars[a.name] = v.value
	}
}

// include loads the file of a source statement.
func (c *makeConf) include(name, from string) (path, text string, err error) {
	path, err = expandValue(name, c.vars)
	switch {
	case err != nil:
		return "", "", err
	case path == "":
		return "", "", errors.New("source: no file given")
	case filepath.IsAbs(path):
		path = c.root.Path(path)
	default:
		path = filepath.Join(filepath.Dir(from), path)
	}
	if system.IsDir(path) || !system.IsFile(path) {
		return "", "", fmt.Errorf("source: %s: no such file", path)
	}
	text, err = c.load(path)
	return path, text, err
}

// validName reports whether Portage accepts name as the name of a variable.
func validName(name string) bool {
	for i, r := range name {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return true
}

// expandValue processes a value after the removal of quotes, as Portage does:
// it replaces variables, removes some backslashes and turns newlines into
// blanks. An apostrophe that is still in the value disables this until the next
// apostrophe, unless it is between double quotes.
func expandValue(s string, vars map[string]string) (string, error) {
	var b strings.Builder
	single, double := false, false
	for i := 0; i < len(s); {
		if b.Len() > maxValue {
			return "", fmt.Errorf("longer than %d bytes", maxValue)
		}
		switch ch := s[i]; {
		case ch == '\'' && !double:
			single = !single
		case ch == '"' && !single:
			double = !double
		case single:
		case ch == '\n':
			b.WriteByte(' ')
			i++
			continue
		case ch == '\\':
			i += unescape(&b, s[i:])
			continue
		case ch == '$' && i+1 < len(s):
			name, size, err := variable(s[i:])
			if err != nil {
				return "", err
			}
			b.WriteString(vars[name])
			i += size
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String(), nil
}

// unescape writes the meaning of the backslash at the start of s and the
// character after it, and returns the length of both. After a double backslash,
// a quote or dollar sign counts as plain text.
func unescape(b *strings.Builder, s string) int {
	if len(s) == 1 {
		b.WriteByte('\\')
		return 1
	}
	switch s[1] {
	case '$':
		b.WriteByte('$')
	case '\n':
	case '\\':
		b.WriteByte('\\')
		if len(s) > 2 && strings.IndexByte(`'"$`, s[2]) >= 0 {
			b.WriteByte(s[2])
			return 3
		}
	default:
		b.WriteString(s[:2])
	}
	return 2
}

// variable returns the name in the $NAME or ${NAME} at the start of s, and the
// length of the whole reference.
func variable(s string) (name string, size int, err error) {
	start := 1
	if s[1] == '{' {
		start = 2
	}
	end := start
	for end < len(s) && (s[end] == '_' || isAlnum(s[end])) {
		end++
	}
	name, size = s[start:end], end
	if start == 2 {
		if end == len(s) || s[end] != '}' {
			return "", 0, errors.New("${ without a name and }")
		}
		size++
	}
	if name == "" {
		return "", 0, errors.New("$ without a name")
	}
	return name, size, nil
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
