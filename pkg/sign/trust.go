package sign

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"dkms/pkg/system"
)

// State is what is known of a switch of the firmware.
type State int

// The states of a switch.
const (
	StateUnknown State = iota
	StateOff
	StateOn
)

func (s State) String() string {
	switch s {
	case StateOff:
		return "disabled"
	case StateOn:
		return "enabled"
	default:
		return "unknown"
	}
}

// Trust is what this machine thinks of module signatures and of one
// certificate.
type Trust struct {
	// EFI says that the machine was started by UEFI firmware.
	EFI bool
	// SecureBoot is Secure Boot as the kernel sees it: it counts as disabled
	// where shim was told not to validate.
	SecureBoot State
	// ShimInsecure says that shim was told so.
	ShimInsecure bool
	// Lockdown is "none", "integrity", "confidentiality" or, where the kernel
	// does not tell, empty.
	Lockdown string
	// SigEnforce says that the kernel refuses modules without a valid
	// signature, whatever the lockdown.
	SigEnforce bool
	// KeysKnown says that the kernel's keys could be listed.
	KeysKnown bool
	// Keyrings are the kernel's keyrings that hold the certificate's key.
	Keyrings []string
	// MOK and DB say that the certificate is in the list of machine owner
	// keys or in the firmware's list.
	MOK, DB bool
	// Pending says that the certificate waits to be enrolled at the next
	// start; Revoked, that the firmware or shim has disowned it.
	Pending, Revoked bool
	// PlatformCounts says that the kernel takes module signatures by keys of
	// its .platform keyring, which mainline kernels do not.
	PlatformCounts bool
	// viaMachine says that a listed machine owner key ends in the .machine
	// keyring, for when the keyrings cannot be seen.
	viaMachine bool
	// Expires is the end of the certificate's validity, which the kernel
	// does not look at.
	Expires time.Time
}

// The keyrings that can hold keys for modules, the best first.
const (
	ringBuiltin   = ".builtin_trusted_keys"
	ringSecondary = ".secondary_trusted_keys"
	ringMachine   = ".machine"
	ringPlatform  = ".platform"
)

// Inspect gathers the facts. cert may be nil, and then only the machine is
// looked at; config gives the value of a CONFIG_ symbol of the kernel and may
// be nil. The result is never nil; the error names what could not be read.
func Inspect(root system.Root, cert *x509.Certificate, config func(symbol string) string) (*Trust, error) {
	if config == nil {
		config = func(string) string { return "" }
	}
	in := inspector{root: root, config: config, cert: cert}
	if root.Dir == "" {
		in.members = ringMembers
	}
	return in.inspect()
}

// inspector is one look at a machine.
type inspector struct {
	root   system.Root
	config func(string) string
	cert   *x509.Certificate
	// members lists the keys of a keyring; nil where the kernel that /proc
	// belongs to cannot be asked.
	members func(ring int) ([]int, error)
	errs    []error
}

func (in *inspector) inspect() (*Trust, error) {
	t := &Trust{EFI: system.IsDir(in.root.Path("/sys/firmware/efi"))}
	in.firmware(t)
	in.enforcement(t)
	t.PlatformCounts = in.platformCounts()
	if in.cert != nil {
		t.Expires = in.cert.NotAfter
		in.lists(t)
		in.keys(t)
		t.viaMachine = in.machineLoads()
	}
	return t, errors.Join(in.errs...)
}

// Enforced reports whether a module must be signed by a trusted key on this
// machine.
func (t *Trust) Enforced() bool {
	return t.SigEnforce || t.Lockdown == "integrity" || t.Lockdown == "confidentiality"
}

// Trusted reports whether the running kernel takes modules that the
// certificate's key signed.
func (t *Trust) Trusted() bool {
	switch {
	case t.Revoked:
		return false
	case !t.KeysKnown:
		// The kernel loads these lists when it starts.
		return (t.MOK || t.DB) && t.PlatformCounts || t.MOK && t.viaMachine
	}
	return slices.ContainsFunc(t.Keyrings, func(ring string) bool {
		return ring != ringPlatform || t.PlatformCounts
	})
}

// read returns the content of a pseudo file, empty where there is none. Such
// files say they have no size, and are not all readable by everybody.
func (in *inspector) read(path string) []byte {
	data, err := os.ReadFile(in.root.Path(path))
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
	default:
		in.errs = append(in.errs, err)
	}
	return data
}

func (in *inspector) enforcement(t *Trust) {
	t.Lockdown = bracketed(in.read("/sys/kernel/security/lockdown"))
	if t.Lockdown == "" {
		t.Lockdown = in.guessLockdown(t)
	}
	param := bytes.TrimSpace(in.read("/sys/module/module/parameters/sig_enforce"))
	t.SigEnforce = string(param) == "Y" || string(param) == "1" ||
		enforcedBy(string(in.read("/proc/cmdline"))) || in.config("CONFIG_MODULE_SIG_FORCE") == "y"
}

// bracketed is the chosen one in "none [integrity] confidentiality".
func bracketed(list []byte) string {
	_, rest, _ := strings.Cut(string(list), "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// guessLockdown is for when securityfs is not there to ask: the kernel may be
// built to lock itself down, always or under Secure Boot.
func (in *inspector) guessLockdown(t *Trust) string {
	switch {
	case in.config("CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY") == "y":
		return "confidentiality"
	case in.config("CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY") == "y",
		in.config("CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT") == "y" && t.SecureBoot == StateOn:
		return "integrity"
	}
	return ""
}

// enforcedBy reports whether a kernel command line turns enforcement on; it
// cannot be turned off there.
func enforcedBy(cmdline string) bool {
	for _, word := range strings.Fields(cmdline) {
		if word == "--" { // what follows is for init
			return false
		}
		name, value, given := strings.Cut(strings.Trim(word, `"`), "=")
		if strings.ReplaceAll(name, "-", "_") != "module.sig_enforce" {
			continue
		}
		if !given || value != "" && strings.ContainsRune("yYtT1", rune(value[0])) || strings.EqualFold(value, "on") {
			return true
		}
	}
	return false
}

// platformCounts tells the kernels of distributions, which carry a patch for
// it, from others: the same ones carry the patch that this symbol is of.
func (in *inspector) platformCounts() bool {
	return in.config("CONFIG_INTEGRITY_PLATFORM_KEYRING") == "y" && in.config("CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT") == "y"
}
