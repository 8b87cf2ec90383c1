package conf

import (
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

var expressions = []string{
	"a)", "*a", "^*a", "(*a)", "a|*b", "a**", "a+?", "()", "a||b", "|a", "a{,2}", "a{2", "a{x}", "{1}", "a{2,1}", `a\`, `\d`,
	"a{1}{2}", "^+", "$*", "(|a)", "(", "[b-a]", "[a", "[[:foo:]]", "[]a]", "a{0}", `\(a`, `\{`, "(^a)", "a$b", "x^*",
	"a{1,", "a{ 1}", "[[.a.]]", "[[=a=]]", `[\]]`, `[a\]`, `\w+`, `\ba`, "\\`a", `a\'`, "(^*)", "^{1}a", "(+a)", "|*", "[[.-.]]",
	"[a-[.c.]]", "[[.hyphen.]]", "a{1}*", ")", "())", `\Sa`, `\)`, "^^a", "a|)", "[a-c-e]", "[--a]", "[%--]", "[^a]", "[^]]", "[a-]",
	`^6\.[0-9]+`, `^(5\.(1[0-9]|4)|6\.[1-9])`, "6.1.0-[0-9]*-amd64$", "[[:digit:]]+[.][[:alpha:]]*", "", ".*", "x86|i[3-6]86",
	"(a|b){2,3}$", `\W`, `\s`, "[[:space:][:upper:]]", "a{40000}", "a{01}", "a{00,02}$", `a{1\,2}$`, `a{1,2\,}`, `a{\1}`, `a{\0}`, `a{1\0,2}`, `a{\}`, `a{1\}`, `a{1\a}`, `a{1\0\,}`, "^(?:a)", "(?i)A", `\pL`, `[\d]`, `\.`, `a\/b`, "a{1001}", "^a{1001}$", "^a{999,1001}$", "^(ab?){1500,}$", "a{2000,1999}", "^a{0,1000}$", "^\xff$", "^.$", "^..$", "[\xe4\xff]", "\xff\xfe+$", "^[^a]*$", "ä", "^[ä]", "\xffa", "\\\xff", "^6.1.*", "[", "[]", "[^]", "\\",
	`\<amd`, `\<md`, `amd64\>`, `\>amd`, `-\<`, `\>-`, `\>$`, `^\<`, `\<\<a`, `\<\>`, `(\<a|b\>)+$`, `\<.\>`, `\<[^a]`, `^[^-]*\>-`,
	`\<*`, `a\>?`, `\<{1}`, `\>\b`, `[\<]`, `\<\xff`, "\\<\xff", `\W\<\w`, `(a\>|\<b) `,
}

var subjects = []string{
	"", "a", "aa", "*a", "a)", ")", "d", "xaa{2", "{", "a{x}", "{1}", "+", "(a", "]", `\]`, "x*", "-", "ab b", "A", "b", "c",
	"6.1.0-56-amd64", "5.10.0", "5.4", "x86_64", "i686", "?i", `\`,
	strings.Repeat("a", 999), strings.Repeat("a", 1001), strings.Repeat("ab", 1500), "\xff", "\xff\xfe\xfe", "ä", "\xffa",
}

// judge asks bash which of the subjects match: y, n, or e for an expression
// that it cannot use.
func judge(t testing.TB, expr string, subjects []string) string {
	t.Helper()
	answer, err := ask(t.Context(), needBash(t), expr, subjects)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func ask(ctx context.Context, bash, expr string, subjects []string) (string, error) {
	const script = `re=$1; shift; for s; do [[ $s =~ $re ]]; case $? in 0) printf y;; 1) printf n;; *) printf e;; esac; done`
	cmd := exec.CommandContext(ctx, bash, append([]string{"-c", script, "bash", expr}, subjects...)...)
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	return string(out), err
}

func ours(expr string, subjects []string) string {
	re, err := compileERE(expr)
	if err != nil {
		return strings.Repeat("e", len(subjects))
	}
	var b strings.Builder
	for _, s := range subjects {
		b.WriteByte("ny"[map[bool]int{true: 1}[re.matches(s)]])
	}
	return b.String()
}

func TestMatchERE(t *testing.T) {
	for _, expr := range expressions {
		if got, want := ours(expr, subjects), judge(t, expr, subjects); got != want {
			t.Errorf("match %q on %q = %s; want %s", expr, subjects, got, want)
		}
	}
	if matchERE(`(a)\1`, "aa") {
		t.Error("back-references are said not to match")
	}
}

// What takes the C library minutes takes no time here.
func TestMatchERECostly(t *testing.T) {
	for _, expr := range []string{"(){33}++++++++33}}a", "a(|$){23,}b"} {
		if matchERE(expr, "6.00-564os-a66d-.0-51.0-564m$-a66d-a664") {
			t.Errorf("%s matches", expr)
		}
	}
}

var (
	unlike = regexp.MustCompile(`\\[bB1-9]`) // what is known to differ
	// Repetition beyond what Go's syntax allows, at once or of repetitions.
	repeats = regexp.MustCompile(`\{[0-9,\\]*[0-9\\]{3}|\{[0-9,\\]*[0-9\\]{2}.*\{[0-9,\\]*[0-9\\]{2}`)
)

func FuzzMatchERE(f *testing.F) {
	for _, expr := range expressions {
		f.Add(expr, "6.1.0-56-amd64")
	}
	f.Fuzz(func(t *testing.T, expr, s string) {
		for _, c := range []byte(expr + s) {
			if c < ' ' || c == 0x7f {
				t.Skip("kernel releases and patterns are text")
			}
		}
		if len(expr) > 200 || strings.Count(expr, "{") > 3 || unlike.MatchString(expr) || repeats.MatchString(expr) {
			t.Skip("known not to be alike, or too slow for the judge")
		}
		got := ours(expr, []string{s}) // always takes about as long as they are
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		want, err := ask(ctx, needBash(t), expr, []string{s})
		if ctx.Err() != nil {
			t.Skip("the C library takes its time, which ours does not")
		}
		if got != want || err != nil {
			t.Errorf("match %q on %q = %s; want %s", expr, s, got, want)
		}
	})
}
