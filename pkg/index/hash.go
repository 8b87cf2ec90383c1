package index

import (
	"cmp"
	"strings"
)

// The sizes of kmod's hash tables, which determine the order of its lists:
// names of modules and symbols are sorted by bucket, and by bytes within a
// bucket.
const (
	moduleBuckets = 512
	symbolBuckets = 2048
)

// bucket returns the bucket of a name in kmod's hash table of a size, which is
// a power of two.
func bucket(name string, size uint32) uint32 {
	h := uint32(len(name))
	word := func(i int) uint32 { return uint32(name[i]) | uint32(name[i+1])<<8 }
	i := 0
	for ; len(name)-i >= 4; i += 4 {
		h += word(i)
		h = h<<16 ^ word(i+2)<<11 ^ h
		h += h >> 11
	}
	switch len(name) - i {
	case 3:
		h += word(i)
		h ^= h << 16
		h ^= uint32(name[i+2]) << 18
		h += h >> 11
	case 2:
		h += word(i)
		h ^= h << 11
		h += h >> 17
	case 1:
		h += uint32(name[i])
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	h += h >> 6
	return h & (size - 1)
}

// byBucket compares two names in the order of a hash table of a size.
func byBucket(a, b string, size uint32) int {
	if c := cmp.Compare(bucket(a, size), bucket(b, size)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}
