package index

import "strings"

// maxKey bounds the keys of a binary index.
const maxKey = 8192

// trieReader reads a binary index. It accepts only what buildTrie writes, so
// that the list that was read stands for the bytes.
type trieReader struct {
	data   string
	layout layout
	values []string
	end    int // the position behind the nodes that were read
	path   []byte
	keys   strings.Builder // holds the keys of list
	list   []owned
}

// readTrie is the reverse of buildTrie. ok is false for data that buildTrie
// does not write. size estimates the length of the list.
func readTrie(data string, values []string, l layout, size int) (list []owned, ok bool) {
	if len(data) < headSize || word(data) != magic || word(data[4:]) != version {
		return nil, false
	}
	r := trieReader{data: data, layout: l, values: values, end: headSize, list: make([]owned, 0, size)}
	r.keys.Grow(len(data))
	ok = r.node(word(data[8:]), true)
	return r.list, ok && r.end == len(data)
}

func word(s string) uint32 {
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}

// node reads a node and the nodes below it.
func (r *trieReader) node(ref uint32, root bool) bool {
	at := int(ref &^ (hasPrefix | hasValues | hasChildren))
	if at < headSize || at > len(r.data) || r.layout == rootFirst && at != r.end {
		return false
	}
	rest, from := r.data[at:], len(r.path)
	if ref&hasPrefix != 0 {
		n := strings.IndexByte(rest, 0)
		if n <= 0 || root || from+n > maxKey {
			return false
		}
		r.path = append(r.path, rest[:n]...)
		rest = rest[n+1:]
	}
	first, refs, rest, ok := splitRefs(rest, ref)
	if !ok {
		return false
	}
	if ref&hasValues != 0 {
		if rest, ok = r.read(rest); !ok {
			return false
		}
	}
	end := len(r.data) - len(rest)
	if r.layout == rootFirst {
		r.end = end
	}
	children, ok := r.children(first, refs)
	if !ok || !root && children < 2 && (ref&hasValues == 0 || children < 1 && ref&hasChildren != 0) {
		return false
	}
	if r.layout == childrenFirst {
		if at != r.end {
			return false
		}
		r.end = end
	}
	r.path = r.path[:from]
	return true
}

// splitRefs splits off the references to the children of a node.
func splitRefs(s string, ref uint32) (first byte, refs, rest string, ok bool) {
	if ref&hasChildren == 0 {
		return 0, "", s, true
	}
	if len(s) < 2 || s[0] > s[1] || s[1] >= 0x80 {
		return 0, "", "", false
	}
	n := 4 * (int(s[1]-s[0]) + 1)
	if len(s) < 2+n || word(s[2:]) == 0 || word(s[n-2:]) == 0 {
		return 0, "", "", false
	}
	return s[0], s[2 : 2+n], s[2+n:], true
}

// children reads the nodes of references.
func (r *trieReader) children(first byte, refs string) (n int, ok bool) {
	depth := len(r.path)
	for i := 0; i < len(refs); i += 4 {
		ref := word(refs[i:])
		if ref == 0 {
			continue
		}
		n++
		r.path = append(r.path[:depth], first+byte(i/4))
		if !r.node(ref, false) {
			return n, false
		}
	}
	r.path = r.path[:depth]
	return n, true
}

// read reads the values of a node, which must be those of the modules that
// their priorities say.
func (r *trieReader) read(s string) (rest string, ok bool) {
	if len(s) < 4 || word(s) == 0 {
		return "", false
	}
	start := r.keys.Len()
	r.keys.Write(r.path)
	key := r.keys.String()[start:]
	n, s, before := word(s), s[4:], 0
	for range n {
		if len(s) < 4 || uint64(word(s)) >= uint64(len(r.values)) {
			return "", false
		}
		module := int(word(s))
		value, ok := strings.CutPrefix(s[4:], r.values[module])
		if !ok || module < before || value == "" || value[0] != 0 {
			return "", false
		}
		r.list = append(r.list, owned{key, module})
		s, before = value[1:], module
	}
	return s, true
}
