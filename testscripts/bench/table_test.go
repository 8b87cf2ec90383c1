//go:build bench

package bench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one line of the table. The columns are texts, as people read them;
// the raw figures (seconds, bytes or numbers) are for programs.
type row struct {
	Name        string  `json:"row"`
	Ours        string  `json:"ours"`
	Theirs      string  `json:"theirs"`
	Ratio       string  `json:"ratio"`
	Target      string  `json:"target"`
	OK          bool    `json:"ok"`
	OursValue   float64 `json:"ours_value"`
	TheirsValue float64 `json:"theirs_value"`

	// exact rows do not depend on what else the machine does: missing their
	// target is a failure of the test.
	exact bool
}

// table are the rows in the order in which they were measured.
type table struct{ rows []row }

// figure is a measured value and how it is written.
type figure struct {
	value float64
	text  string
}

func seconds(d time.Duration) figure {
	switch {
	case d < 10*time.Millisecond:
		return figure{d.Seconds(), fmt.Sprintf("%.2f ms", d.Seconds()*1e3)}
	case d < time.Second:
		return figure{d.Seconds(), fmt.Sprintf("%.0f ms", d.Seconds()*1e3)}
	}
	return figure{d.Seconds(), fmt.Sprintf("%.2f s", d.Seconds())}
}

func count(n int) figure { return figure{float64(n), fmt.Sprint(n)} }

func megabytes(n int64) figure {
	return figure{float64(n), fmt.Sprintf("%.2f MB", float64(n)/(1<<20))}
}

func (t *table) add(r row, ours, theirs figure) {
	r.Ours, r.OursValue, r.Theirs, r.TheirsValue = ours.text, ours.value, theirs.text, theirs.value
	t.rows = append(t.rows, r)
	fmt.Printf("%s: %s, %s: %s\n", r.Name, r.Ours, r.Theirs, r.Ratio) // what comes of it while one waits
}

// faster is a row that wants ours to be so many times faster.
func (t *table) faster(name string, ours, theirs figure, least float64) {
	n := theirs.value / ours.value
	t.add(row{Name: name, Ratio: fmt.Sprintf("%.1fx faster", n), Target: fmt.Sprintf(">= %gx faster", least), OK: n >= least}, ours, theirs)
}

// tell is a row without a target.
func (t *table) tell(name string, ours, theirs figure) {
	ratio := "-" // to nothing at all there is none
	if ours.value > 0 {
		ratio = fmt.Sprintf("%.1fx", theirs.value/ours.value)
	}
	t.add(row{Name: name, Ratio: ratio, Target: "-", OK: true}, ours, theirs)
}

// within is a row that wants ours to take at most so many times as much.
func (t *table) within(name string, ours, theirs figure, most float64) {
	n := ours.value / theirs.value
	t.add(row{Name: name, Ratio: fmt.Sprintf("%.3fx", n), Target: fmt.Sprintf("<= %gx", most), OK: n <= most}, ours, theirs)
}

// against is within for sides that have run in turns: the ratio is the median
// of those of the turns, as other work on the machine comes and goes. Behind it
// stands the ratio of processor time, which depends on that less.
func (t *table) against(name string, ours, theirs *side, most float64) {
	var wall, cpu []float64
	for i := range min(len(ours.took), len(theirs.took)) {
		wall = append(wall, float64(ours.took[i])/float64(theirs.took[i]))
		cpu = append(cpu, float64(ours.cpu[i])/float64(theirs.cpu[i]))
	}
	n := median(wall)
	t.add(row{Name: name, Ratio: fmt.Sprintf("%.3fx (processor %.3fx)", n, median(cpu)), Target: fmt.Sprintf("<= %gx", most), OK: n <= most},
		ours.median(), theirs.median())
}

// atMost is a row that wants ours not to be above a figure, whatever theirs is.
// why says where the figure is from.
func (t *table) atMost(name string, ours, theirs, most figure, why string) {
	r := row{Name: name, Target: "<= " + most.text + why, OK: ours.value <= most.value}
	if theirs.text == "" {
		theirs.text = "-"
	}
	switch {
	case theirs.value == 0:
		r.Ratio = "-"
	case ours.value == 0:
		r.Ratio = "none at all"
	default:
		r.Ratio = fmt.Sprintf("%.1fx less", theirs.value/ours.value)
	}
	t.add(r, ours, theirs)
}

// exact makes missing the target of the last row a failure.
func (t *table) exact() { t.rows[len(t.rows)-1].exact = true }

// String is the table as plain text.
func (t *table) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tours\ttheirs\tratio\ttarget\t")
	for _, r := range t.rows {
		verdict := "ok"
		if !r.OK {
			verdict = "missed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Ours, r.Theirs, r.Ratio, r.Target, verdict)
	}
	w.Flush()
	return b.String()
}

// write puts the table into a file, for programs.
func (t *table) write(path string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"schema": 1, "rows": t.rows}); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func median[T cmp.Ordered](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
