package index

import "encoding/binary"

// The header of a binary index, and the flags in the upper bits of a reference
// to a node, which say what the node contains.
const (
	magic, version = 0xb007f457, 0x00020001
	headSize       = 12

	hasPrefix, hasValues, hasChildren = 0x80000000, 0x40000000, 0x20000000
)

// layout says where a binary index has a node: behind its children or before
// them.
type layout bool

const (
	childrenFirst layout = false
	rootFirst     layout = true
)

// layoutOf derives the layout of a binary index from the place of its root.
func layoutOf(data []byte) layout {
	return layout(len(data) >= headSize && binary.BigEndian.Uint32(data[8:])&0x0fffffff == headSize)
}

// trie writes a binary index: a tree in which one character selects the child,
// and the prefix of the child holds the characters that all its keys share.
type trie struct {
	layout layout
	list   []owned
	// shared has, for each key, how many characters it has in common with the
	// key before.
	shared []uint16
	values []string
	out    []byte
}

// buildTrie returns the binary index of a sorted list, whose keys have at most
// maxKey characters. values has the text to store for each module; size
// estimates the length of the result.
func buildTrie(list []owned, values []string, l layout, size int) []byte {
	t := trie{layout: l, list: list, values: values, out: make([]byte, headSize, size+size/16+headSize)}
	t.shared = make([]uint16, len(list))
	for i := 1; i < len(list); i++ {
		t.shared[i] = uint16(common(list[i-1].key, list[i].key, 0))
	}
	binary.BigEndian.PutUint32(t.out, magic)
	binary.BigEndian.PutUint32(t.out[4:], version)
	root := t.node(0, len(list), 0, 0)
	binary.BigEndian.PutUint32(t.out[8:], root)
	return t.out
}

// node writes the node of the keys from begin to end, which are equal up to the
// character at from, and returns the reference to the node. Its prefix is the
// part of the keys between from and to.
func (t *trie) node(begin, end, from, to int) uint32 {
	below := begin
	for below < end && len(t.list[below].key) == to {
		below++
	}
	values := t.list[begin:below]
	flags := flagsOf(len(values), end-below, to-from)
	prefix := ""
	if to > from {
		prefix = t.list[begin].key[from:to]
	}
	if below < end {
		return t.inner(prefix, values, below, end, to) | flags
	}
	at := uint32(len(t.out))
	t.body(prefix, values, nil, 0)
	return at | flags
}

// inner writes a node with children, and the children.
func (t *trie) inner(prefix string, values []owned, begin, end, to int) (at uint32) {
	var all [128]uint32
	first, last := t.list[begin].key[to], t.list[end-1].key[to]
	refs := all[first : last+1]
	if t.layout == childrenFirst {
		t.children(begin, end, to, refs)
		at = uint32(len(t.out))
		t.body(prefix, values, refs, first)
		return at
	}
	at = uint32(len(t.out))
	refsAt := t.body(prefix, values, refs, first)
	t.children(begin, end, to, refs)
	for i, ref := range refs {
		binary.BigEndian.PutUint32(t.out[refsAt+4*i:], ref)
	}
	return at
}

func flagsOf(values, below, prefix int) (flags uint32) {
	if values > 0 {
		flags |= hasValues
	}
	if below > 0 {
		flags |= hasChildren
	}
	if prefix > 0 {
		flags |= hasPrefix
	}
	return flags
}

// children writes a node for every possible next character; refs begins with
// that of the first.
func (t *trie) children(begin, end, at int, refs []uint32) {
	first := t.list[begin].key[at]
	for begin < end {
		next := begin + 1
		for next < end && int(t.shared[next]) > at {
			next++
		}
		key := t.list[begin].key
		refs[key[at]-first] = t.node(begin, next, at+1, common(key, t.list[next-1].key, at+1))
		begin = next
	}
}

// common returns the length of the common prefix of two keys that are equal up
// to from.
func common(a, b string, from int) int {
	n := min(len(a), len(b))
	for from < n && a[from] == b[from] {
		from++
	}
	return from
}

// body writes a node without its children, and returns the position of its
// references to them, of which the first is for the character first.
func (t *trie) body(prefix string, values []owned, refs []uint32, first byte) (refsAt int) {
	if prefix != "" {
		t.out = append(append(t.out, prefix...), 0)
	}
	if len(refs) > 0 {
		t.out = append(t.out, first, first+byte(len(refs)-1))
		refsAt = len(t.out)
		for _, ref := range refs {
			t.out = binary.BigEndian.AppendUint32(t.out, ref)
		}
	}
	if len(values) > 0 {
		t.out = binary.BigEndian.AppendUint32(t.out, uint32(len(values)))
	}
	for _, v := range values {
		t.out = binary.BigEndian.AppendUint32(t.out, uint32(v.module))
		t.out = append(append(t.out, t.values[v.module]...), 0)
	}
	return refsAt
}

// fits reports whether a binary index can have a layout. An index with only a
// root fits both layouts.
func fits(data []byte, l layout) bool {
	if len(data) < headSize {
		return false
	}
	return binary.BigEndian.Uint32(data[8:])&hasChildren == 0 || layoutOf(data) == l
}
