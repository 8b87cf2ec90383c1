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

// State is the state of a firmware setting.
type State int

// These are the states of a firmware setting.
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

// Trust says how this machine treats module signatures, and one certificate.
type Trust struct {
	// EFI says that UEFI firmware started the machine.
	EFI bool
	// SecureBoot is Secure Boot as the kernel sees it: Secure Boot counts as
	// disabled if shim was told not to validate.
	SecureBoot State
	// ShimInsecure says that shim was told not to validate.
	ShimInsecure bool
	// Lockdown is "none", "integrity", "confidentiality" or, if the kernel does
	// not say, empty.
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
	// Pending says that the certificate waits to be enrolled at the next boot.
	// Revoked says that the firmware or shim has revoked the certificate.
	Pending, Revoked bool
	// PlatformCounts says that the kernel accepts module signatures by keys of
	// its .platform keyring, which mainline kernels do not.
	PlatformCounts bool
	// viaMachine says that a listed machine owner key gets into the .machine
	// keyring; it is used if the keyrings cannot be listed.
	viaMachine bool
	// Expires is the end of the certificate's validity, which the kernel
	// ignores.
	Expires time.Time
}

// These are the keyrings that can hold keys for modules, the best first.
const (
	ringBuiltin   = ".builtin_trusted_keys"
	ringSecondary = ".secondary_trusted_keys"
	ringMachine   = ".machine"
	ringPlatform  = ".platform"
)

// Inspect gathers the facts. If cert is nil, Inspect examines only the machine.
// config returns the value of a CONFIG_ symbol of the kernel and may be nil.
// The result is never nil; the error names what could not be read.
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

// inspector is one inspection of a machine.
type inspector struct {
	root   system.Root
	config func(string) string
	cert   *x509.Certificate
	// members lists the keys of a keyring; it is nil if /proc does not belong
	// to the running kernel.
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

// Enforced reports whether this machine requires modules to be signed by a
// trusted key.
func (t *Trust) Enforced() bool {
	return t.SigEnforce || t.Lockdown == "integrity" || t.Lockdown == "confidentiality"
}

// Trusted reports whether the running kernel accepts modules that the
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

// PlatformOnly reports whether the kernel knows the certificate only from the
// firmware, and does not accept such keys for modules.
func (t *Trust) PlatformOnly() bool {
	return len(t.Keyrings) == 1 && t.Keyrings[0] == ringPlatform && !t.PlatformCounts
}

// read returns the content of a pseudo file, or nothing if the file does not
// exist. Such files report a size of 0, and not every user can read all of
// them.
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

// bracketed is the selected word in "none [integrity] confidentiality".
func bracketed(list []byte) string {
	_, rest, _ := strings.Cut(string(list), "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// guessLockdown is used if there is no securityfs to read: a kernel may be
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

// enforcedBy reports whether a kernel command line enables enforcement; the
// command line cannot disable it.
func enforcedBy(cmdline string) bool {
	for _, word := range strings.Fields(cmdline) {
		if word == "--" { // the words after -- are for init
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

// platformCounts recognizes the kernels of distributions with a patch for this:
// the same kernels carry the patch that adds
// CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT.
func (in *inspector) platformCounts() bool {
	return in.config("CONFIG_INTEGRITY_PLATFORM_KEYRING") == "y" && in.config("CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT") == "y"
}
