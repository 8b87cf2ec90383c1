package module

import (
	"bytes"
	"encoding/hex"
)

// BuildID returns the identifier that the linker has given to a decompressed
// module, in hexadecimal, or "" if it has none. The identifier stays when debug
// sections are stripped or a signature is appended.
func BuildID(data []byte) (string, error) {
	o, err := openELF(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	note, err := o.section(".note.gnu.build-id")
	if err != nil {
		return "", err
	}
	// A note (elf(5)): the lengths of name and content, the type NT_GNU_BUILD_ID,
	// the name and the content.
	const header, name, kind = 12, "GNU\x00", 3
	if len(note) < header+len(name) || o.order.Uint32(note) != uint32(len(name)) || o.order.Uint32(note[8:]) != kind || string(note[header:header+len(name)]) != name {
		return "", nil
	}
	content := note[header+len(name):]
	if size := o.order.Uint32(note[4:]); uint64(size) <= uint64(len(content)) {
		return hex.EncodeToString(content[:size]), nil
	}
	return "", nil
}
