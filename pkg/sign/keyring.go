package sign

import (
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

// procKey is a line of /proc/keys.
type procKey struct {
	id          int
	kind        string // "keyring", "asymmetri"
	description string
	dead        bool // revoked, expired, invalidated or negative
}

// parseKeys parses /proc/keys (proc(5)); it leaves out lines of another form.
func parseKeys(text string) []procKey {
	var keys []procKey
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 9 {
			continue
		}
		id, err := strconv.ParseUint(f[0], 16, 31)
		if err != nil {
			continue
		}
		_, description, _ := strings.Cut(line, " "+f[7]+" ")
		keys = append(keys, procKey{
			id:          int(id),
			kind:        f[7],
			description: strings.TrimSpace(description),
			dead:        strings.ContainsAny(f[1], "RDNi") || f[3] == "expd",
		})
	}
	return keys
}

// of reports whether the key is that of cert. The kernel describes the key as
// "SUBJECT: ID: X509.rsa TAIL []", where ID is the subject key id or else the
// serial number.
func (k *procKey) of(cert *x509.Certificate) bool {
	if k.kind != "asymmetri" || k.dead {
		return false
	}
	head, _, _ := strings.Cut(k.description, ": X509.")
	id := head[strings.LastIndexByte(head, ' ')+1:]
	if len(cert.SubjectKeyId) > 0 {
		return id == hex.EncodeToString(cert.SubjectKeyId)
	}
	serial := hex.EncodeToString(cert.SerialNumber.Bytes())
	return serial != "" && strings.TrimPrefix(id, "00") == strings.TrimPrefix(serial, "00")
}

// keys looks the certificate up in the keyrings of the kernel.
func (in *inspector) keys(t *Trust) {
	var ours []int
	rings := map[string]procKey{}
	for _, k := range parseKeys(string(in.read("/proc/keys"))) {
		switch {
		case k.of(in.cert):
			ours = append(ours, k.id)
		case k.kind == "keyring":
			name, _, _ := strings.Cut(k.description, ":")
			rings[name] = k
		}
	}
	// Users other than root, and containers, see only their own keys.
	if _, t.KeysKnown = rings[ringBuiltin]; t.KeysKnown && len(ours) > 0 {
		t.Keyrings = in.ringsOf(ours, rings, t)
	}
}

// ringsOf lists the keyrings that hold one of the keys.
func (in *inspector) ringsOf(keys []int, rings map[string]procKey, t *Trust) []string {
	var found []string
	for _, name := range []string{ringBuiltin, ringSecondary, ringMachine, ringPlatform} {
		ring, ok := rings[name]
		if !ok {
			continue
		}
		if in.members == nil {
			return []string{in.guessRing(rings, t)}
		}
		members, err := in.members(ring.id)
		if err != nil { // a seccomp filter of a container refuses, or the user is not root
			return []string{in.guessRing(rings, t)}
		}
		if slices.ContainsFunc(keys, func(id int) bool { return slices.Contains(members, id) }) {
			found = append(found, name)
		}
	}
	return found
}

// guessRing infers the keyring of a loaded key from the lists with the
// certificate, since /proc/keys does not list the keys of a keyring.
func (in *inspector) guessRing(rings map[string]procKey, t *Trust) string {
	filled := func(name string) bool {
		k, ok := rings[name]
		return ok && !strings.HasSuffix(k.description, ": empty")
	}
	switch {
	case t.MOK && filled(ringMachine) && in.machineTakes():
		return ringMachine
	case (t.MOK || t.DB) && filled(ringPlatform):
		return ringPlatform
	case filled(ringBuiltin):
		return ringBuiltin
	}
	return ringSecondary
}

// machineLoads reports whether the kernel puts machine owner keys into a
// keyring that counts: the kernel has the .machine keyring, shim was told to
// trust these keys, and the keyring accepts the certificate.
func (in *inspector) machineLoads() bool {
	if in.config("CONFIG_INTEGRITY_MACHINE_KEYRING") != "y" || !in.machineTakes() {
		return false
	}
	_, ok := in.variable("MokListTrustedRT", guidShim)
	return ok || system.IsFile(in.root.Path(mokVariable+"MokListTrustedRT"))
}

// machineTakes reports whether the .machine keyring accepts the certificate:
// kernels may require a CA that can sign certificates and, of the stricter
// kind, nothing else.
func (in *inspector) machineTakes() bool {
	if in.config("CONFIG_INTEGRITY_CA_MACHINE_KEYRING") != "y" {
		return true
	}
	usage := in.cert.KeyUsage
	return in.cert.IsCA && usage&x509.KeyUsageCertSign != 0 &&
		(in.config("CONFIG_INTEGRITY_CA_MACHINE_KEYRING_MAX") != "y" || usage&x509.KeyUsageDigitalSignature == 0)
}

// ringMembers asks the running kernel for the keys of a keyring.
func ringMembers(ring int) ([]int, error) {
	size, err := unix.KeyctlBuffer(unix.KEYCTL_READ, ring, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("keyring %08x: %w", ring, err)
	}
	// A few more keys may be added in between.
	buf := make([]byte, size+64)
	if size, err = unix.KeyctlBuffer(unix.KEYCTL_READ, ring, buf, 0); err != nil {
		return nil, fmt.Errorf("keyring %08x: %w", ring, err)
	}
	buf = buf[:min(size, len(buf))]
	var ids []int
	for ; len(buf) >= 4; buf = buf[4:] {
		ids = append(ids, int(binary.NativeEndian.Uint32(buf)))
	}
	return ids, nil
}
