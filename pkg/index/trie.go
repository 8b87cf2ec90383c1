package index

import "encoding/binary"

// entry is one value of a binary index. Entries are sorted by key, and entries
// with the same key by priority.
type entry struct {
	key, value string
	priority   uint32
}

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
	out    []byte
}

// buildTrie returns the binary index of entries. size estimates its length.
func buildTrie(entries []entry, l layout, size int) []byte {
	t := trie{layout: l, out: make([]byte, headSize, size+size/16+headSize)}
	binary.BigEndian.PutUint32(t.out, magic)
	binary.BigEndian.PutUint32(t.out[4:], version)
	root := t.node(entries, 0, 0)
	binary.BigEndian.PutUint32(t.out[8:], root)
	return t.out
}

// node writes the node of entries, whose keys are equal up to the character at
// from, and returns the reference to the node. Its prefix is the part of the
// keys between from and to.
func (t *trie) node(entries []entry, from, to int) uint32 {
	own := 0
	for own < len(entries) && len(entries[own].key) == to {
		own++
	}
	values, below := entries[:own], entries[own:]
	flags := flagsOf(len(values), len(below), to-from)
	if len(below) > 0 {
		return t.inner(entries, from, to, values, below) | flags
	}
	at := uint32(len(t.out))
	t.body(entries, from, to, values, below, nil)
	return at | flags
}

// inner writes a node with children, and the children.
func (t *trie) inner(entries []entry, from, to int, values, below []entry) (at uint32) {
	var refs [128]uint32
	if t.layout == childrenFirst {
		t.children(below, to, &refs)
		at = uint32(len(t.out))
		t.body(entries, from, to, values, below, &refs)
		return at
	}
	at = uint32(len(t.out))
	refsAt := t.body(entries, from, to, values, below, &refs)
	t.children(below, to, &refs)
	t.putRefs(refsAt, below, to, &refs)
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

// children writes a node for every possible next character.
func (t *trie) children(entries []entry, at int, refs *[128]uint32) {
	for len(entries) > 0 {
		char := entries[0].key[at]
		n := 1
		for n < len(entries) && entries[n].key[at] == char {
			n++
		}
		refs[char] = t.node(entries[:n], at+1, common(entries[0].key, entries[n-1].key, at+1))
		entries = entries[n:]
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
// references to them.
func (t *trie) body(entries []entry, from, to int, values, below []entry, refs *[128]uint32) (refsAt int) {
	if to > from {
		t.out = append(append(t.out, entries[0].key[from:to]...), 0)
	}
	if len(below) > 0 {
		first, last := below[0].key[to], below[len(below)-1].key[to]
		t.out = append(t.out, first, last)
		refsAt = len(t.out)
		for _, ref := range refs[first : last+1] {
			t.out = binary.BigEndian.AppendUint32(t.out, ref)
		}
	}
	if len(values) > 0 {
		t.out = binary.BigEndian.AppendUint32(t.out, uint32(len(values)))
	}
	for _, v := range values {
		t.out = binary.BigEndian.AppendUint32(t.out, v.priority)
		t.out = append(append(t.out, v.value...), 0)
	}
	return refsAt
}

// putRefs fills in the references to children after the children are written.
func (t *trie) putRefs(at int, below []entry, to int, refs *[128]uint32) {
	first, last := below[0].key[to], below[len(below)-1].key[to]
	for i, ref := range refs[first : last+1] {
		binary.BigEndian.PutUint32(t.out[at+4*i:], ref)
	}
}

// fits reports whether a binary index can have a layout. An index with only a
// root fits both layouts.
func fits(data []byte, l layout) bool {
	if len(data) < headSize {
		return false
	}
	return binary.BigEndian.Uint32(data[8:])&hasChildren == 0 || layoutOf(data) == l
}
