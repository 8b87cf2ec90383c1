package report

import (
	"bytes"
	"testing"
)

// TestPieces: colours are ours alone, and only where they are wanted.
func TestPieces(t *testing.T) {
	for _, test := range []struct {
		colours bool
		want    string
	}{
		{false, cleaned + " + " + cleaned + "\n"},
		{true, "\x1b[31m" + cleaned + plainAgain + " + " + cleaned + "\n"},
	} {
		var b bytes.Buffer
		r := New(&b)
		r.colours = test.colours
		r.Pieces(Piece{hostile, Bad}, Piece{" + ", Plain}, Piece{hostile, Plain}, Piece{"", Good})
		if got := b.String(); got != test.want {
			t.Errorf("with colours %v: %q; want %q", test.colours, got, test.want)
		}
	}
}
