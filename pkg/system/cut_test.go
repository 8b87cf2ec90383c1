package system

import (
	"io"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	read := func(text string, limit int64) string {
		r, length := Cut(strings.NewReader(text), int64(len(text)), limit)
		data, err := io.ReadAll(r)
		if err != nil || int64(len(data)) != length || length > max(limit, int64(len(text))) {
			t.Errorf("Cut(%d bytes, %d) = %d bytes, %v; said %d", len(text), limit, len(data), err, length)
		}
		return string(data)
	}
	whole := strings.Repeat("0123456789", 100)
	for _, limit := range []int64{1000, 5000} {
		if got := read(whole, limit); got != whole {
			t.Errorf("Cut to %d has changed what fits", limit)
		}
	}
	got := read(whole, 200)
	if want := whole[:36] + "\n[dkms: 928 bytes are left out here]\n" + whole[1000-36:]; got != want {
		t.Errorf("Cut = %q; want %q", got, want)
	}
	if again := read(got, 200); again != got {
		t.Errorf("what is cut is cut again: %q", again)
	}
}
