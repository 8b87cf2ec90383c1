package sign

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// fake is a root with the files given as path and content.
func fake(t testing.TB, files map[string]string) system.Root {
	t.Helper()
	root := system.Root{Dir: t.TempDir()}
	for path, content := range files {
		write(t, root.Path(path), []byte(content))
	}
	return root
}

// makeConfForms are texts of make.conf and the value that A has then.
func makeConfForms() []struct{ text, want string } {
	return []struct{ text, want string }{
		{`A=b`, "b"},
		{`A = b`, "b"},
		{"A=\nb", "b"},
		{"A\n=\nb", "b"},
		{"export A=b", "b"},
		{"export\nA=b", "b"},
		{`A=a#b`, "a"},
		{"# A=x\nA=b # c", "b"},
		{`A=b"c d"e`, "bc de"},
		{`A='b'"c"d`, "bcd"},
		{`A=""`, ""},
		{`A="pkcs11:token=foo;object=bar"`, "pkcs11:token=foo;object=bar"},
		{`B=x A=$B`, "x"},
		{`B=x A=${B}y`, "xy"},
		{`B=x A="${B}/$B"`, "x/x"},
		{`B=x A='$B'`, "x"},
		{`B=x A="'$B' $B"`, "'$B' x"},
		{`B=x A="it's $B"`, "it's $B"},
		{`B=x A='"$B"'`, `"x"`},
		{`B=x A='"it'"'"'s $B"'`, `"it's x"`},
		{`A=$NOPE/x`, "/x"},
		{`A=${ROOT}etc`, "/etc"},
		{`A=${EPREFIX}/etc`, "/etc"},
		{`A="a$"`, "a$"},
		{`A="\$B"`, "$B"},
		{`B=x A=\$B`, "x"},
		{`A="\\\\"`, `\`},
		{`A="a\b"`, `a\b`},
		{`A="a\"b"`, `a"b`},
		{"A=\"a\nb\"", "a b"},
		{"A=\"a\\\nb\"", "ab"},
		{"A='a\nb'", "a b"},
		{`A="trailing\\"`, `trailing\`},
		{`B=x A='\\$B'`, `\$B`},
		{"A=b\r\nC=d\r\n", "b"},
		{`A=one A=two`, "two"},
		{`A=c\`, "c "},
		{`__B=x A=$__B`, "x"},
		{`A=/a/b.c-d_e@f%g!h~i,j?k*l:m;n+o`, "/a/b.c-d_e@f%g!h~i,j?k*l:m;n+o"},
	}
}

func TestMakeConfValues(t *testing.T) {
	for _, tt := range makeConfForms() {
		c, err := readMakeConf(fake(t, map[string]string{"/etc/portage/make.conf": tt.text}))
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		got, origin, err := c.get("A")
		if err != nil || got != tt.want || origin != "/etc/portage/make.conf" {
			t.Errorf("%q gives A = %q, %s, %v; want %q", tt.text, got, origin, err, tt.want)
		}
	}
}

func TestMakeConfErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"\nA=pkcs11:token=foo", `:2: "foo" after =; want =`},
		{"A=b\nA+=c", `:2: "A+" is not a variable name`},
		{"1A=c", `"1A" is not`},
		{"A", ":1: end of file"},
		{"A=", ":1: end of file"},
		{"A b", `:1: "b" after A; want =`},
		{"A=b\n\nB='c\n\n", ":3: no closing quote"},
		{"A=b\nB=\"c\\", ":2: no closing quote"},
		{"\nsource nope", ":2: source: "},
		{"source", "no file given"},
		{"source ${NOPE}", "no file given"},
		{"source /etc", "no such file"},
		{"A=b&c", `"c" after &`},
	}
	for _, tt := range tests {
		root := fake(t, map[string]string{"/etc/portage/make.conf": tt.text})
		_, err := readMakeConf(root)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), root.Path("/etc/portage/make.conf:")) {
			t.Errorf("%q: %v; want make.conf:...%s", tt.text, err, tt.want)
		}
	}
}

// TestMakeConfBadExpansion: only whoever asks for the variable hears of it.
func TestMakeConfBadExpansion(t *testing.T) {
	for _, text := range []string{"${B:-c}", "${B", "${}", "$/", "${", "$(pwd)x", "a${B-}c"} {
		c, err := readMakeConf(fake(t, map[string]string{"/etc/make.conf": "A='" + text + "'\nC=d"}))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, _, err := c.get("A"); err == nil || !strings.Contains(err.Error(), "make.conf:1: A: $") {
			t.Errorf("%s = %q, %v; want an error", text, got, err)
		}
		if got, _, err := c.get("C"); err != nil || got != "d" {
			t.Errorf("C = %q, %v; want d", got, err)
		}
	}
}

func TestMakeConfFiles(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
		from  string
	}{
		{"none", nil, "", ""},
		{"old place", map[string]string{"/etc/make.conf": "A=b"}, "b", "/etc/make.conf"},
		{"both", map[string]string{"/etc/make.conf": "A=b", "/etc/portage/make.conf": "A=c"}, "c", "/etc/portage/make.conf"},
		{"both, one each", map[string]string{"/etc/make.conf": "B=b", "/etc/portage/make.conf": "A=${B}c"}, "bc", "/etc/portage/make.conf"},
		{"directory", map[string]string{
			"/etc/portage/make.conf/10-a": "A=1", "/etc/portage/make.conf/20/b": "A=2$A", "/etc/portage/make.conf/30-c": "A=3$A",
		}, "321", "/etc/portage/make.conf"},
		{"skipped names", map[string]string{
			"/etc/portage/make.conf/a": "A=1", "/etc/portage/make.conf/b~": "A=2", "/etc/portage/make.conf/.c": "A=3",
			"/etc/portage/make.conf/CVS/d": "A=4", "/etc/portage/make.conf/.git/e": "A=5", "/etc/portage/make.conf/f~/g": "A=6",
		}, "1", "/etc/portage/make.conf"},
		{"source", map[string]string{"/etc/portage/make.conf": "source sub/more\nA=${A}x", "/etc/portage/sub/more": "A=s"}, "sx", "/etc/portage/make.conf"},
		{"source absolute", map[string]string{"/etc/portage/make.conf": "D=/opt source \"$D/c\"", "/opt/c": "A=s"}, "s", "/etc/portage/make.conf"},
		{"source in source", map[string]string{
			"/etc/portage/make.conf": "source sub/a", "/etc/portage/sub/a": "source b # no newline after", "/etc/portage/sub/b": "A=s",
		}, "s", "/etc/portage/make.conf"},
		{"source in the middle", map[string]string{"/etc/portage/make.conf": "A= source b", "/etc/portage/b": "value"}, "value", "/etc/portage/make.conf"},
		{"profile.env", map[string]string{"/etc/profile.env": "export B='$x'\nbroken", "/etc/portage/make.conf": "A=$B"}, "$x", "/etc/portage/make.conf"},
	}
	for _, tt := range tests {
		c, err := readMakeConf(fake(t, tt.files))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got, from, _ := c.get("A"); got != tt.want || from != tt.from {
			t.Errorf("%s: A = %q from %q; want %q from %q", tt.name, got, from, tt.want, tt.from)
		}
	}
}

func TestMakeConfBounds(t *testing.T) {
	deep := "/etc/portage/make.conf" + strings.Repeat("/d", maxDepth+2) + "/f"
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"source itself", map[string]string{"/etc/portage/make.conf": "source make.conf"}, "files deep"},
		{"size", map[string]string{"/etc/portage/make.conf": strings.Repeat("#", maxFile+1)}, "larger than"},
		{"directories", map[string]string{deep: "A=b"}, "directories deep"},
	}
	for _, tt := range tests {
		if _, err := readMakeConf(fake(t, tt.files)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want ...%s", tt.name, err, tt.want)
		}
	}
	var twice strings.Builder
	twice.WriteString("A=0123456789\n")
	for range 40 {
		twice.WriteString("A=$A$A\n")
	}
	c, err := readMakeConf(fake(t, map[string]string{"/etc/make.conf": twice.String()}))
	if err != nil {
		t.Fatal(err)
	}
	if v := c.set["A"]; len(v.value) > 2*maxValue {
		t.Errorf("A has %d bytes; want a bound", len(v.value))
	}
}

// pythonWords prints the words that shlex finds in each text, with null at the
// end where it gives up. It reads a list of the word characters and the texts.
const pythonWords = `
import json, shlex, sys

def words(chars, text):
    reader = shlex.shlex(text, posix=True)
    reader.wordchars = chars
    found = []
    try:
        for word in reader:
            found.append(word)
    except ValueError:
        found.append(None)
    return found

chars, texts = json.load(sys.stdin)
for text in texts:
    print(json.dumps(words(chars, text)))
`

// wordCharacters are those of reference/integration.md 1.9.
func wordCharacters() string {
	chars := "~!@#$%*_\\:;?,./-+{}0123456789"
	for c := 'a'; c <= 'z'; c++ {
		chars += string(c) + strings.ToUpper(string(c))
	}
	return chars
}

func TestLexerLikePython(t *testing.T) {
	python := need(t, "python3")
	texts := lexerTexts()
	input, _ := json.Marshal([]any{wordCharacters(), texts})
	cmd := exec.Command(python, "-c", pythonWords)
	cmd.Stdin = strings.NewReader(string(input))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(texts) {
		t.Fatalf("%d answers to %d texts", len(lines), len(texts))
	}
	for i, text := range texts {
		var want []*string
		if err := json.Unmarshal([]byte(lines[i]), &want); err != nil {
			t.Fatal(err)
		}
		if got := lexerWords(text); !reflect.DeepEqual(got, want) {
			g, _ := json.Marshal(got)
			t.Errorf("words of %q = %s; Python says %s", text, g, lines[i])
		}
	}
}

// lexerTexts is every text of up to four pieces.
func lexerTexts() []string {
	pieces := []string{"a", "=", " ", "\n", "#", `"`, "'", `\`, "$", "é", "&"}
	texts := []string{""}
	for first, n := 0, 0; n < 4; n++ {
		last := len(texts)
		for _, t := range texts[first:last] {
			for _, p := range pieces {
				texts = append(texts, t+p)
			}
		}
		first = last
	}
	return append(texts, "A=\r\nB", "source x", "a\tb\vc", `x"y\"z\\w\q"v`, "A='x'\"y\"z#c\nB=1")
}

func lexerWords(text string) []*string {
	words := []*string{}
	lex := newLexer(text, "f", nil)
	for {
		word, more, err := lex.word()
		if err != nil {
			return append(words, nil)
		}
		if !more {
			return words
		}
		words = append(words, &word)
	}
}

func FuzzMakeConf(f *testing.F) {
	for _, text := range []string{
		"MODULES_SIGN_KEY=\"/etc/key.pem\"\nB=${MODULES_SIGN_KEY}\n",
		"export A = 'b' # c\nsource other\n", `A="it's \\$B \$C \" ${D}"`, "A=\"$", "A=${", "source source source",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := &makeConf{vars: map[string]string{}, set: map[string]makeVar{}}
		lex := newLexer(text, "f", func(name, from string) (string, string, error) {
			return "g", "B=c", nil
		})
		for range len(text) + 2 {
			a, ok, err := lex.assignment()
			if !ok || err != nil {
				return
			}
			value, err := expandValue(a.value, c.vars)
			if err != nil && value != "" {
				t.Errorf("expandValue(%q) = %q, %v", a.value, value, err)
			}
			c.vars[a.name] = value
		}
		t.Errorf("%q: more assignments than characters", text)
	})
}

func ExamplePair_Exists() {
	p := Pair{KeyPath: "pkcs11:object=key", CertPath: os.DevNull}
	key, cert := p.Exists()
	fmt.Println(key, cert, filepath.IsAbs(p.CertPath))
	// Output: true false true
}
