package fleet

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// TestEnforced has a machine that insists on signatures: it takes a build only
// when it knows the builder's certificate, and then calls itself safe to boot.
func TestEnforced(t *testing.T) {
	one := builder(t)
	key := one.path("var/lib/dkms/mok.pub")
	take := []string{"import", one.path("image"), "--certificate", key}
	two := newMachine(t).fakeKernel(release).sources("hello", "1.0").withoutHeaders()
	two.write("sys/module/module/parameters/sig_enforce", "Y\n")
	two.write("boot/config-"+release, "CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_HASH=\"sha256\"\n"+
		"CONFIG_INTEGRITY_PLATFORM_KEYRING=y\nCONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT=y\n")
	two.unchanged(7, "it does not trust DKMS module signing key", take...)
	two.write("sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23", signatureList(read(t, key)))
	two.dkms(0, take...)
	two.dkms(0, "check", "-k", release)
	if !strings.Contains(two.out, "safe to boot") {
		t.Errorf("dkms check = %q; want that it is safe to boot", two.out)
	}
}

// signatureList is a variable of the firmware that holds one certificate (UEFI
// specification, 32.4.1): attributes, and a list with an owner and the
// certificate.
func signatureList(der string) string {
	list := []byte{7, 0, 0, 0}
	list = append(list, 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72)
	for _, n := range []int{28 + 16 + len(der), 0, 16 + len(der)} {
		list = binary.LittleEndian.AppendUint32(list, uint32(n))
	}
	return string(slices.Concat(list, make([]byte, 16), []byte(der)))
}
