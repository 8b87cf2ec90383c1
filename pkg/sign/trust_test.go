package sign

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

const (
	varSecureBoot = efivars + "SecureBoot-" + guidGlobal
	varSetupMode  = efivars + "SetupMode-" + guidGlobal
	varMokSB      = efivars + "MokSBStateRT-" + guidShim
	varMok        = efivars + "MokListRT-" + guidShim
	varMok1       = efivars + "MokListRT1-" + guidShim
	varMokNew     = efivars + "MokNew-" + guidShim
	varMokX       = efivars + "MokListXRT-" + guidShim
	varDB         = efivars + "db-" + guidSecurity
	varDBX        = efivars + "dbx-" + guidSecurity
	lockdownFile  = "/sys/kernel/security/lockdown"
	enforceFile   = "/sys/module/module/parameters/sig_enforce"
)

// efi is the content of a variable in efivarfs.
func efi(value string) string { return "\x06\x00\x00\x00" + value }

// list is an EFI_SIGNATURE_LIST with the entries, which have one size.
func list(kind string, entries ...string) string {
	entry := guidSize + len(entries[0])
	b := []byte(kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(listHeader+entry*len(entries)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(entry))
	for _, e := range entries {
		b = append(b, "owner-----------"...)
		b = append(b, e...)
	}
	return string(b)
}

func testCert(t testing.TB) *x509.Certificate {
	t.Helper()
	p, _ := generated(t)
	c, err := ReadCertificate(p.CertPath)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func configOf(symbols ...string) func(string) string {
	return func(s string) string {
		if slices.Contains(symbols, s) {
			return "y"
		}
		return ""
	}
}

func TestEnforced(t *testing.T) {
	on, off := efi("\x01"), efi("\x00")
	tests := []struct {
		name   string
		files  map[string]string
		config []string
		boot   State
		want   bool
	}{
		{"nothing", nil, nil, StateOff, false},
		{"efi without variables", map[string]string{efivars + "x": ""}, nil, StateUnknown, false},
		{"secure boot off", map[string]string{varSecureBoot: off}, nil, StateOff, false},
		{"secure boot alone", map[string]string{varSecureBoot: on}, nil, StateOn, false},
		{"setup mode", map[string]string{varSecureBoot: on, varSetupMode: on}, nil, StateOff, false},
		{"shim insecure", map[string]string{varSecureBoot: on, varMokSB: on}, []string{"CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT"}, StateOff, false},
		{"shim secure", map[string]string{varSecureBoot: on, varMokSB: off}, nil, StateOn, false},
		{"short variable", map[string]string{varSecureBoot: "\x01"}, nil, StateUnknown, false},
		{"not locked down", map[string]string{varSecureBoot: on, lockdownFile: "[none] integrity confidentiality\n"},
			[]string{"CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT"}, StateOn, false},
		{"locked down", map[string]string{lockdownFile: "none [integrity] confidentiality\n"}, nil, StateOff, true},
		{"locked down more", map[string]string{lockdownFile: "none integrity [confidentiality]\n"}, nil, StateOff, true},
		{"guess", map[string]string{varSecureBoot: on}, []string{"CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT"}, StateOn, true},
		{"forced lockdown", nil, []string{"CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY"}, StateOff, true},
		{"forced confidentiality", nil, []string{"CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY"}, StateOff, true},
		{"parameter", map[string]string{enforceFile: "Y\n"}, nil, StateOff, true},
		{"parameter off", map[string]string{enforceFile: "N\n"}, nil, StateOff, false},
		{"forced", map[string]string{enforceFile: "N\n"}, []string{"CONFIG_MODULE_SIG_FORCE"}, StateOff, true},
		{"command line", map[string]string{"/proc/cmdline": "quiet module.sig_enforce=1\n"}, nil, StateOff, true},
		{"command line without value", map[string]string{"/proc/cmdline": "module.sig-enforce quiet"}, nil, StateOff, true},
		{"command line off", map[string]string{"/proc/cmdline": "module.sig_enforce=0"}, nil, StateOff, false},
		{"command line empty", map[string]string{"/proc/cmdline": "module.sig_enforce="}, nil, StateOff, false},
		{"for init", map[string]string{"/proc/cmdline": "quiet -- module.sig_enforce=1"}, nil, StateOff, false},
	}
	for _, tt := range tests {
		got, err := Inspect(fake(t, tt.files), nil, configOf(tt.config...))
		if err != nil || got.Enforced() != tt.want || got.SecureBoot != tt.boot {
			t.Errorf("%s: Enforced() = %v, SecureBoot %v, %v; want %v, %v", tt.name, got.Enforced(), got.SecureBoot, err, tt.want, tt.boot)
		}
	}
	if got, err := Inspect(system.Root{Dir: t.TempDir()}, nil, nil); err != nil || got.Enforced() || got.EFI {
		t.Errorf("Inspect without anything = %+v, %v", got, err)
	}
}

func TestLists(t *testing.T) {
	c := testCert(t)
	raw := string(c.Raw)
	other := strings.Repeat("x", len(raw))
	sum := sha256.Sum256(c.RawTBSCertificate)
	tbs := string(sum[:]) + strings.Repeat("\x00", 16)
	sum384 := sha512.Sum384(c.RawTBSCertificate)
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, ""},
		{"other", map[string]string{varMok: efi(list(kindX509, other)), varDB: efi(list(kindX509, other))}, ""},
		{"enrolled", map[string]string{varMok: efi(list(kindX509, raw))}, "mok"},
		{"second in the list", map[string]string{varMok: efi(list(kindX509, other, raw))}, "mok"},
		{"second list", map[string]string{varMok: efi(list(kindX509, "short") + list(kindX509, raw))}, "mok"},
		{"continued", map[string]string{varMok: efi(list(kindX509, other)), varMok1: efi(list(kindX509, raw))}, "mok"},
		{"table", map[string]string{mokVariable + "MokListRT": list(kindX509, raw)}, "mok"},
		{"other kind", map[string]string{varMok: efi(list(kindTBS512, raw))}, ""},
		{"firmware", map[string]string{varDB: efi(list(kindX509, raw))}, "db"},
		{"pending", map[string]string{varMokNew: efi(list(kindX509, raw))}, "pending"},
		{"pending again", map[string]string{varMokNew: efi(list(kindX509, raw)), varMok: efi(list(kindX509, raw))}, "mok"},
		{"revoked", map[string]string{varDBX: efi(list(kindX509, raw)), varDB: efi(list(kindX509, raw))}, "db revoked"},
		{"revoked by SHA-384", map[string]string{varDBX: efi(list(kindTBS384, string(sum384[:])+strings.Repeat("\x00", 16)))}, "revoked"},
		{"another by SHA-384", map[string]string{varDBX: efi(list(kindTBS384, tbs+strings.Repeat("x", 16)))}, ""},
		{"revoked by digest", map[string]string{varDBX: efi(list(kindTBS256, tbs))}, "revoked"},
		{"revoked by shim", map[string]string{varMokX: efi(list(kindX509, raw))}, "revoked"},
	}
	for _, tt := range tests {
		got, err := Inspect(fake(t, tt.files), c, nil)
		var words []string
		for word, is := range map[string]bool{"mok": got.MOK, "db": got.DB, "pending": got.Pending, "revoked": got.Revoked} {
			if is {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		if s := strings.Join(words, " "); err != nil || s != tt.want || !got.Expires.Equal(c.NotAfter) {
			t.Errorf("%s: %q, %v; want %q", tt.name, s, err, tt.want)
		}
	}
}

func TestListsMalformed(t *testing.T) {
	c := testCert(t)
	root := fake(t, map[string]string{
		varMok: efi(list(kindX509, string(c.Raw)) + "junk"),
		varDB:  efi(list(kindX509, "a", "b")[:50]),
	})
	got, err := Inspect(root, c, nil)
	if err == nil || !strings.Contains(err.Error(), root.Path(varMok)+": signature list cut short") || !strings.Contains(err.Error(), root.Path(varDB)) {
		t.Errorf("Inspect = %v; want both variables named", err)
	}
	if !got.MOK {
		t.Error("MOK = false; want what comes before the junk")
	}
}

// procKeys has lines as the kernel writes them.
func procKeys(c *x509.Certificate, flags, expiry string) string {
	id := hex.EncodeToString(c.SubjectKeyId)
	return fmt.Sprintf(`0a0d1667 I------     1 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: 2
1b29f870 I------     1 perm 1f0f0000     0     0 keyring   .secondary_trusted_keys: 2
2c29f871 I------     1 perm 1f0f0000     0     0 keyring   .machine: 1
3d29f872 I------     1 perm 1f0f0000     0     0 keyring   .platform: 1
11111111 I------     1 perm 1f030000     0     0 asymmetri Some Vendor: Kernel: key: 0123456789abcdef0123456789abcdef01234567: X509.rsa 01234567 []
22222222 %s     1 %s 1f030000     0     0 asymmetri DKMS module signing key: %s: X509.rsa %s []
33333333 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid.0: empty
`, flags, expiry, id, id[len(id)-8:])
}

func TestTrusted(t *testing.T) {
	c := testCert(t)
	mok := map[string]string{varMok: efi(list(kindX509, string(c.Raw)))}
	with := func(files map[string]string, keys string) map[string]string {
		out := map[string]string{"/proc/keys": keys}
		for k, v := range files {
			out[k] = v
		}
		return out
	}
	good := procKeys(c, "I------", "perm")
	distro := []string{"CONFIG_INTEGRITY_PLATFORM_KEYRING", "CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT"}
	const builtin, secondary, machine, platform = 0x0a0d1667, 0x1b29f870, 0x2c29f871, 0x3d29f872
	const ours = 0x22222222
	tests := []struct {
		name    string
		files   map[string]string
		members map[int][]int
		config  []string
		rings   []string
		want    bool
	}{
		{"nothing", nil, nil, distro, nil, false},
		{"builtin", with(nil, good), map[int][]int{builtin: {1, ours}}, nil, []string{ringBuiltin}, true},
		{"secondary", with(nil, good), map[int][]int{secondary: {builtin, ours}}, nil, []string{ringSecondary}, true},
		{"machine", with(mok, good), map[int][]int{machine: {ours}}, nil, []string{ringMachine}, true},
		{"machine and platform", with(mok, good), map[int][]int{machine: {ours}, platform: {ours}}, nil, []string{ringMachine, ringPlatform}, true},
		{"platform, mainline", with(mok, good), map[int][]int{platform: {ours}}, nil, []string{ringPlatform}, false},
		{"platform, distribution", with(mok, good), map[int][]int{platform: {ours}}, distro, []string{ringPlatform}, true},
		{"elsewhere", with(nil, good), map[int][]int{builtin: {1}}, distro, nil, false},
		{"not loaded", with(mok, procKeys(testCert(t), "I------", "perm")), map[int][]int{builtin: {ours}}, distro, nil, false},
		{"key revoked", with(nil, procKeys(c, "I-R----", "perm")), map[int][]int{builtin: {ours}}, nil, nil, false},
		{"key expired", with(nil, procKeys(c, "I------", "expd")), map[int][]int{builtin: {ours}}, nil, nil, false},
		{"certificate revoked", with(map[string]string{varDBX: mok[varMok]}, good), map[int][]int{builtin: {ours}}, nil, []string{ringBuiltin}, false},
		{"guess machine", with(mok, good), nil, nil, []string{ringMachine}, true},
		{"guess machine with restriction", with(mok, good), nil,
			[]string{"CONFIG_INTEGRITY_CA_MACHINE_KEYRING", "CONFIG_INTEGRITY_CA_MACHINE_KEYRING_MAX"}, []string{ringMachine}, true},
		{"guess platform", with(mok, strings.Replace(good, ".machine: 1", ".machine: empty", 1)), nil, distro, []string{ringPlatform}, true},
		{"guess firmware", with(map[string]string{varDB: mok[varMok]}, good), nil, nil, []string{ringPlatform}, false},
		{"guess builtin", with(nil, good), nil, nil, []string{ringBuiltin}, true},
		{"guess secondary", with(nil, strings.Replace(good, "keys: 2", "keys: empty", 1)), nil, nil, []string{ringSecondary}, true},
		{"keys unknown, mainline", mok, nil, nil, nil, false},
		{"keys unknown, distribution", mok, nil, distro, nil, true},
		{"keys not shown", with(mok, "33333333 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid.0: empty\n"), nil, distro, nil, true},
		{"keys unknown, machine", map[string]string{varMok: mok[varMok], efivars + "MokListTrustedRT-" + guidShim: efi("\x01")}, nil,
			[]string{"CONFIG_INTEGRITY_MACHINE_KEYRING"}, nil, true},
		{"keys unknown, machine not trusted", mok, nil, []string{"CONFIG_INTEGRITY_MACHINE_KEYRING"}, nil, false},
	}
	for _, tt := range tests {
		in := inspector{root: fake(t, tt.files), cert: c, config: configOf(tt.config...)}
		if tt.members != nil {
			in.members = func(ring int) ([]int, error) { return tt.members[ring], nil }
		}
		got, err := in.inspect()
		if err != nil || got.Trusted() != tt.want || !reflect.DeepEqual(got.Keyrings, tt.rings) {
			t.Errorf("%s: Trusted() = %v, Keyrings %v, %v; want %v, %v", tt.name, got.Trusted(), got.Keyrings, err, tt.want, tt.rings)
		}
	}
	in := inspector{root: fake(t, with(mok, good)), cert: c, config: configOf()}
	in.members = func(int) ([]int, error) { return nil, errors.New("refused") }
	if got, err := in.inspect(); err != nil || !reflect.DeepEqual(got.Keyrings, []string{ringMachine}) {
		t.Errorf("without permission: Keyrings %v, %v; want the guess", got.Keyrings, err)
	}
}

func TestKeyOf(t *testing.T) {
	p := newPair(t, "rsa:2048", "-set_serial", "0x80000001", "-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none")
	c, err := ReadCertificate(p.CertPath)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.SubjectKeyId) != 0 {
		t.Skip("this openssl adds a subject key id whatever it is told")
	}
	for description, want := range map[string]bool{
		"Test: test key: 0080000001: X509.rsa 80000001 []": true,
		"Test: test key: 80000001: X509.rsa 80000001 []":   true,
		"Test: test key: 80000002: X509.rsa 80000002 []":   false,
		"Test: test key: 180000001: X509.rsa":              false,
		"":                                                 false,
	} {
		k := procKey{kind: "asymmetri", description: description}
		if got := k.of(c); got != want {
			t.Errorf("of(%q) = %v; want %v", description, got, want)
		}
	}
}

func TestState(t *testing.T) {
	for s, want := range map[State]string{StateUnknown: "unknown", StateOff: "disabled", StateOn: "enabled"} {
		if got := s.String(); got != want {
			t.Errorf("State(%d) = %s; want %s", int(s), got, want)
		}
	}
}

// TestInspectHost looks at the machine that the test runs on.
func TestInspectHost(t *testing.T) {
	got, err := Inspect(system.Root{}, testCert(t), nil)
	if err != nil {
		t.Errorf("Inspect = %v", err)
	}
	if got.Trusted() || len(got.Keyrings) > 0 || got.MOK || got.Pending {
		t.Errorf("a key made a moment ago is trusted: %+v", got)
	}
	if _, err := os.Stat("/sys/firmware/efi"); (err == nil) != got.EFI {
		t.Errorf("EFI = %v; /sys says %v", got.EFI, err)
	}
}

func TestRingMembers(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id, err := unix.AddKey("user", "dkms-test", []byte("x"), unix.KEY_SPEC_THREAD_KEYRING)
	if err != nil {
		lack(t, "no kernel keyrings: "+err.Error())
	}
	members, err := ringMembers(unix.KEY_SPEC_THREAD_KEYRING)
	if err != nil || !slices.Equal(members, []int{id}) {
		t.Errorf("ringMembers = %v, %v; want [%d]", members, err, id)
	}
}

func FuzzEachSignature(f *testing.F) {
	f.Add([]byte(list(kindX509, "abc", "def")))
	f.Add([]byte(list(kindTBS256, strings.Repeat("x", 48)) + list(kindX509, "a")))
	f.Add([]byte(strings.Repeat("\xff", 40)))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		err := eachSignature(data, func(kind string, entry []byte) { total += len(entry) + guidSize })
		if total > len(data) || err == nil && len(data) > 0 && len(data) < listHeader {
			t.Errorf("entries of %d bytes in %d, %v", total, len(data), err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	c := testCert(f)
	f.Add(procKeys(c, "I------", "perm"))
	f.Add("0a 1 2 3 4 5 6 7 8")
	f.Fuzz(func(t *testing.T, text string) {
		for _, k := range parseKeys(text) {
			if k.id < 0 || k.kind == "" {
				t.Errorf("parseKeys(%q) gave %+v", text, k)
			}
			k.of(c)
		}
	})
}

func FuzzCmdline(f *testing.F) {
	f.Add("quiet module.sig_enforce=1 -- x")
	f.Add(`"module.sig_enforce"`)
	f.Fuzz(func(t *testing.T, text string) {
		if enforcedBy(text) && !strings.Contains(strings.ReplaceAll(text, "-", "_"), "module.sig_enforce") {
			t.Errorf("enforcedBy(%q) = true", text)
		}
	})
}
