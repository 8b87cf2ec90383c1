package report

import (
	"os"
	"strings"
)

// Colour is what a piece of a result means to a person at a terminal.
type Colour int

// The colours.
const (
	Plain Colour = iota
	// Good is green, Bad is red, and Faint is for less important text.
	Good
	Bad
	Faint
)

// The escape sequences of the colours (ECMA-48, SGR).
var sequences = map[Colour]string{Good: "\x1b[32m", Bad: "\x1b[31m", Faint: "\x1b[2m"}

const plainAgain = "\x1b[m"

// Piece is a piece of a line with its colour.
type Piece struct {
	Text   string
	Colour Colour
}

// Coloured returns a reporter that uses colours where results go to a terminal
// and the user has not turned colours off (https://no-color.org).
func (r *Reporter) Coloured(env map[string]string, out *os.File) *Reporter {
	if env["NO_COLOR"] == "" && Terminal(env, out) {
		r.colours = true
	}
	return r
}

// Pieces is [Reporter.Result] with colours. It cleans the text of each piece,
// so only the escape sequences of this package reach the terminal.
func (r *Reporter) Pieces(pieces ...Piece) {
	var line strings.Builder
	for _, p := range pieces {
		text := harmless(p.Text)
		if sequence := sequences[p.Colour]; r.colours && sequence != "" && text != "" {
			text = sequence + text + plainAgain
		}
		line.WriteString(text)
	}
	out := r.out
	if clean, ok := out.(*cleaner); ok && r.colours {
		out = clean.w
	}
	r.print(out, line.String())
}
