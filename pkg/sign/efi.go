package sign

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"strconv"
)

// These are the vendors of EFI variables.
const (
	guidGlobal   = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	guidSecurity = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	guidShim     = "605dab50-e046-4300-abb6-3dd810dd8b23"
)

// These are the kinds of EFI signatures, in the byte order of the firmware.
const (
	kindX509    = "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"
	kindTBS256  = "\x92\xa4\xd2\x3b\xc0\x96\x79\x40\xb4\x20\xfc\xf9\x8e\xf1\x03\xed"
	kindTBS384  = "\x6e\x87\x76\x70\xc2\x80\xe6\x4e\xaa\xd2\x28\xb3\x49\xa6\x86\x5b"
	kindTBS512  = "\x63\xbf\x6d\x44\x02\x25\xda\x4c\xbc\xfa\x24\x65\xd2\xb0\xfe\x9d"
	guidSize    = 16
	listHeader  = guidSize + 12
	maxLists    = 64 // MokListRT, MokListRT1, ...
	attributes  = 4  // the bytes before the value in efivarfs
	efivars     = "/sys/firmware/efi/efivars/"
	mokVariable = "/sys/firmware/efi/mok-variables/"
)

// variable returns the value of an EFI variable; ok is false if it does not
// exist.
func (in *inspector) variable(name, vendor string) (value []byte, ok bool) {
	data := in.read(efivars + name + "-" + vendor)
	if len(data) < attributes {
		return nil, false
	}
	return data[attributes:], true
}

// flag reads a variable of one byte.
func (in *inspector) flag(name, vendor string) State {
	value, ok := in.variable(name, vendor)
	switch {
	case !ok || len(value) != 1:
		return StateUnknown
	case value[0] == 1:
		return StateOn
	default:
		return StateOff
	}
}

// firmware determines the state of Secure Boot in the same way as the kernel.
func (in *inspector) firmware(t *Trust) {
	if !t.EFI {
		t.SecureBoot = StateOff
		return
	}
	t.SecureBoot = in.flag("SecureBoot", guidGlobal)
	if in.flag("SetupMode", guidGlobal) == StateOn {
		t.SecureBoot = StateOff
	}
	if t.ShimInsecure = in.flag("MokSBStateRT", guidShim) == StateOn; t.ShimInsecure {
		t.SecureBoot = StateOff
	}
}

// lists looks the certificate up in the lists of firmware and shim.
func (in *inspector) lists(t *Trust) {
	t.MOK = in.listed(in.shimLists("MokListRT"))
	t.DB = in.listed(in.varList("db", guidSecurity))
	t.Pending = !t.MOK && in.listed(in.varList("MokNew", guidShim))
	t.Revoked = in.listed(in.varList("dbx", guidSecurity)) || in.listed(in.shimLists("MokListXRT"))
}

// namedList is a variable that holds signature lists.
type namedList struct {
	name string
	data []byte
}

func (in *inspector) varList(name, vendor string) []namedList {
	if value, ok := in.variable(name, vendor); ok {
		return []namedList{{efivars + name + "-" + vendor, value}}
	}
	return nil
}

// shimLists are the copies of its lists that shim leaves for the kernel: one
// table, or numbered variables if one is too small.
func (in *inspector) shimLists(name string) []namedList {
	var lists []namedList
	if data := in.read(mokVariable + name); len(data) > 0 {
		lists = append(lists, namedList{mokVariable + name, data})
	}
	lists = append(lists, in.varList(name, guidShim)...)
	for i := 1; i < maxLists; i++ {
		more := in.varList(name+strconv.Itoa(i), guidShim)
		if len(more) == 0 {
			break
		}
		lists = append(lists, more...)
	}
	return lists
}

func (in *inspector) listed(lists []namedList) bool {
	found := false
	for _, list := range lists {
		err := eachSignature(list.data, func(kind string, data []byte) {
			found = found || sameCertificate(kind, data, in.cert)
		})
		if err != nil {
			in.errs = append(in.errs, fmt.Errorf("%s: %w", in.root.Path(list.name), err))
		}
	}
	return found
}

// sameCertificate reports whether an entry is the certificate, or the digest of
// its signed part.
func sameCertificate(kind string, data []byte, cert *x509.Certificate) bool {
	switch kind {
	case kindX509:
		return bytes.Equal(data, cert.Raw)
	case kindTBS256:
		sum := sha256.Sum256(cert.RawTBSCertificate)
		return bytes.HasPrefix(data, sum[:])
	case kindTBS384:
		sum := sha512.Sum384(cert.RawTBSCertificate)
		return bytes.HasPrefix(data, sum[:])
	case kindTBS512:
		sum := sha512.Sum512(cert.RawTBSCertificate)
		return bytes.HasPrefix(data, sum[:])
	}
	return false
}

// eachSignature calls f with every entry of a sequence of EFI_SIGNATURE_LIST
// (UEFI 2.10, 32.4.1): a header of kind, size of the list, size of a further
// header and size of an entry, then entries of owner and data.
func eachSignature(data []byte, f func(kind string, data []byte)) error {
	for len(data) > 0 {
		if len(data) < listHeader {
			return fmt.Errorf("signature list cut short: %d bytes", len(data))
		}
		size := uint64(binary.LittleEndian.Uint32(data[guidSize:]))
		extra := uint64(binary.LittleEndian.Uint32(data[guidSize+4:]))
		entry := uint64(binary.LittleEndian.Uint32(data[guidSize+8:]))
		if size > uint64(len(data)) || listHeader+extra > size || entry < guidSize {
			return fmt.Errorf("signature list of %d bytes with header of %d and entries of %d in %d bytes", size, extra, entry, len(data))
		}
		body := data[listHeader+extra : size]
		for ; uint64(len(body)) >= entry; body = body[entry:] {
			f(string(data[:guidSize]), body[guidSize:entry])
		}
		if len(body) != 0 {
			return fmt.Errorf("signature list with %d bytes left over", len(body))
		}
		data = data[size:]
	}
	return nil
}
