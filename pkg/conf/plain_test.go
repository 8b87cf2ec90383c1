package conf

import (
	"strings"
	"testing"
)

// FuzzPlain compares what is evaluated without bash with what bash makes of it.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{
		plainConf, "MAKE=\"make KVER=${kernelver} $arch\"\n", "MAKE[3]='a  b'\nMAKE=x$MAKE\n", "lower=a\nMAKE=${lower}b # c\n",
		"\tMAKE=\"a\tb\"\r\n", "MAKE=\"$nothing\"\n", "MAKE=a b\n", "MAKE=\"'make' ; x & y | z #1 ~ {a,b} <c> ^d\"\n", "MAKE=~\n", "MAKE={a,b}\n",
		"MAKE[00]=x\n", "MAKE[-1]=x\n", "MAKE=a\nMAKE[1]=b\nPATCH=$MAKE$MAKE\n", "MAKE=$\n", "MAKE=\"a$\"\n", "MAKE='$kernelver'\n", "MAKE=a=b:c\n",
		"kernelver=6\nMAKE=$kernelver\n", "MAKE+=x\n", "MAKE =x\n", "MAKE=\"a\"b\n", "MAKE=\"a\"#b\n", "MAKE=#b\n", "MAKE=a#b\n", "MAKE=\n# x\n\nPATCH=\"\"\n",
		"PATH=/x\nMAKE=y\n", "histchars=x\n", "MAKE=$PATH\n", "MAKE=${arch}${arch\n", "MAKE=\"$kernelver_x\"\n", "MAKE=\" a \"\nPATCH=\"[$MAKE]\"\n", "strip=n\n",
	} {
		f.Add(seed)
	}
	vars := map[string]string{"kernelver": "6.1.0-56-amd64", "arch": "x86_64", "empty": "", "wide": "a  b ", "odd": "*$(x)"}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1000 || strings.ContainsRune(text, 0) {
			t.Skip("too long, or no text")
		}
		old := values{"PATCH": {0: "old", 4: "kept"}}
		got, ok := plain([]byte(text), moduleNames, vars, old)
		if !ok {
			t.Skip("read by bash anyway")
		}
		r := newReader(t)
		// The first line leaves it to bash.
		src := source{"/nowhere/conf", []byte(":\n" + text)}
		q := query{evaluation: evaluation{values: old}, setting: setting{vars: vars}, shell: r.shell(moduleNames)}
		if err := q.file(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		if !equalValues(got, q.values) {
			t.Errorf("plain(%q) = %v; bash has %v", text, got, q.values)
		}
	})
}
