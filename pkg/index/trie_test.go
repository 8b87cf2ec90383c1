package index

import (
	"fmt"
	"slices"
	"testing"
)

// TestTrieIsRead has binary indexes read back, whole ones and damaged ones: what
// is read of those may be refused, but never the list of the whole one.
func TestTrieIsRead(t *testing.T) {
	values := []string{"first", "second", "third"}
	var list []owned
	for i, key := range []string{"a", "ab", "abc", "abd", "b:v1*", "b:v12*", "b:v12*", "c"} {
		list = append(list, owned{key, i % len(values)})
	}
	slices.SortFunc(list, byKey)
	for _, l := range []layout{childrenFirst, rootFirst} {
		for n := range len(list) + 1 {
			data := buildTrie(list[:n], values, l, 0)
			got, ok := readTrie(string(data), values, l, n)
			if !ok || !slices.Equal(got, list[:n]) {
				t.Errorf("%v, %d keys: read %v, %v", l, n, got, ok)
			}
			other := !l
			if _, ok := readTrie(string(data), values, other, n); ok && n > 1 {
				t.Errorf("%v, %d keys: has both layouts", l, n)
			}
			for i := range data {
				for _, what := range []string{fmt.Sprintf("byte %d changed", i), fmt.Sprintf("cut at %d", i)} {
					damaged := slices.Clone(data)
					damaged[i] ^= 1 + byte(i*37)
					if what[0] == 'c' {
						damaged = data[:i]
					}
					if slices.Equal(damaged, data) {
						continue
					}
					if got, ok := readTrie(string(damaged), values, l, n); ok && slices.Equal(got, list[:n]) {
						t.Errorf("%v, %d keys, %s: read as the whole one", l, n, what)
					}
				}
			}
		}
	}
}
