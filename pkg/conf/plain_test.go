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
		`BUILD_EXCLUSIVE_KERNEL="^(5\.[1-9]|6\.)"`, `MAKE="^6\.1$"`, `MAKE='^(6|7)$|x'`, `MAKE="a\\b"`, `MAKE='a\\b'`, `MAKE="a\$b"`, `MAKE="a\"`, `MAKE="*"`,
		`MAKE="a* b"`, `MAKE="/*"`, `MAKE="+(a|b)"`, "MAKE='^6$'\nPATCH=\"$MAKE\"\n", "wide='*'\nMAKE=\"$wide\"\n", `MAKE="[$wide]*"`, `MAKE="$$"`, `MAKE="a$)b"`, `MAKE='\'`,
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

// TestPlainPatterns has regular expressions as packages have them, which need
// no bash, and some that bash changes.
func TestPlainPatterns(t *testing.T) {
	for value, want := range map[string]string{
		`"^(5\.[1-9]|6\.)"`: `^(5\.[1-9]|6\.)`, `'^6\.1$'`: `^6\.1$`, `"^(6|7)$|x"`: `^(6|7)$|x`, `"x86_64|i?86"`: `x86_64|i?86`,
		`"a\\b"`: "", `'a\\b'`: "", `"a\$"`: "", `"a* b"`: "", `"$$"`: "",
	} {
		got, ok := plain([]byte("BUILD_EXCLUSIVE_KERNEL="+value+"\n"), moduleNames, nil, values{})
		if have := got.scalar("BUILD_EXCLUSIVE_KERNEL"); ok != (want != "") || have != want {
			t.Errorf("plain(%s) = %s, %v; want %q", value, have, ok, want)
		}
	}
}
