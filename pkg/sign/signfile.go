package sign

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// magic ends every signed module (include/linux/module_signature.h).
const magic = "~Module signature appended~\n"

// trailerSize is the size of the structure before the magic.
const trailerSize = 12

// signFile makes signatures by the kernel's sign-file program.
type signFile struct {
	pair Pair
	o    Options
}

// toolEnv are the caller's variables that configure OpenSSL and the libraries
// of tokens.
func toolEnv() []string {
	return []string{
		"OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES",
		"PKCS11_MODULE_PATH", "PKCS11_PROVIDER_MODULE", "SOFTHSM2_CONF", "TPM2OPENSSL_TCTI",
	}
}

// newSignFile checks that the program can be started. why says what the program
// is needed for.
func newSignFile(p Pair, o Options, why string) (*signFile, error) {
	switch {
	case o.SignFile == "":
		return nil, exit.Errorf(exit.Usage, "%s: %s needs the kernel's sign-file program, which was not found", p.KeyPath, why).
			WithHint("install the kernel headers with their scripts, or set sign_file in /etc/dkms/framework.conf")
	case !system.IsExecutable(o.SignFile):
		return nil, exit.Errorf(exit.Usage, "%s: not a program; it is needed for %s", o.SignFile, why)
	case o.Run == nil:
		return nil, fmt.Errorf("%s: no way to start it", o.SignFile)
	}
	return &signFile{p, o}, nil
}

// sign runs the program on a private copy of the module and cuts off the
// signature, since not every such program can write the signature alone.
func (t *signFile) sign(ctx context.Context, dir, name string, payload []byte, cert *x509.Certificate) ([]byte, error) {
	dir, err := os.MkdirTemp(dir, ".sign-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, name+".ko")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		return nil, err
	}
	if err := t.run(ctx, file); err != nil {
		return nil, err
	}
	signed, err := system.ReadPlain(file, int64(len(payload))+maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s has left no signed module: %w", t.o.SignFile, err)
	}
	pkcs7, err := cut(signed, payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.o.SignFile, err)
	}
	if err := t.verify(ctx, dir, pkcs7, payload, cert); err != nil {
		return nil, fmt.Errorf("%s: %w", t.o.SignFile, err)
	}
	return pkcs7, nil
}

// errLimit says that the program was ended at its time limit.
var errLimit = errors.New("it did not end, and was ended")

// run runs the program to sign file. The program gets its own session, so that
// it has no terminal at which it could wait for a PIN.
func (t *signFile) run(ctx context.Context, file string) error {
	limit := t.o.Limit
	if limit == 0 {
		limit = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLimit)
	defer cancel()
	key, pin, err := t.key()
	if err != nil {
		return err
	}
	var inherited []*os.File
	if pin != nil {
		defer pin.Close()
		inherited = []*os.File{pin}
	}
	var said bytes.Buffer
	err = t.o.Run.Run(ctx, system.Cmd{
		Argv:   []string{t.o.SignFile, t.o.Hash, key, t.pair.CertPath, file},
		Env:    t.env(),
		Stdout: &said,
		Stderr: &said,
		Attr:   &syscall.SysProcAttr{Setsid: true},

		ExtraFiles: inherited,
	})
	if err == nil {
		return nil
	}
	if errors.Is(err, errLimit) {
		err = fmt.Errorf("%s: %w after %v", t.o.SignFile, err, limit)
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		err = fmt.Errorf("%w: %s", err, strings.ReplaceAll(text, "\n", "; "))
	}
	err = exit.Errorf(exit.Usage, "%w (signing with %s)", err, t.pair.KeyPath)
	if isPKCS11(t.pair.KeyPath) {
		err = exit.Errorf(exit.Usage, "%w", err).WithHint("%s", tokenHint)
	}
	return err
}

const tokenHint = "KBUILD_SIGN_PIN must be the PIN of the token, or the key's URI name a file with it: ?pin-source=file:/PATH;" +
	" OpenSSL needs its pkcs11 provider or engine"

// key is the argument for the key, and a file that the program inherits as
// descriptor 3. Programs that access tokens through a provider of OpenSSL do
// not read KBUILD_SIGN_PIN, so the URI also says where the PIN is. A program
// that the administrator configured gets the URI unchanged.
func (t *signFile) key() (key string, pin *os.File, err error) {
	key = t.pair.KeyPath
	if !isPKCS11(key) || t.o.PIN == "" || t.o.UseSignFile || strings.Contains(key, "pin-value=") || strings.Contains(key, "pin-source=") {
		return key, nil, nil
	}
	fd, err := unix.MemfdCreate("pin", unix.MFD_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("a place for the PIN: %w", err)
	}
	pin = os.NewFile(uintptr(fd), "pin")
	if _, err := pin.WriteString(t.o.PIN); err != nil {
		pin.Close()
		return "", nil, err
	}
	separator := "?"
	if strings.Contains(key, "?") {
		separator = "&"
	}
	return key + separator + "pin-source=file:/proc/self/fd/3", pin, nil
}

func (t *signFile) env() map[string]string {
	env := map[string]string{}
	for _, name := range toolEnv() {
		if v := t.o.Env[name]; v != "" {
			env[name] = v
		}
	}
	if t.o.PIN != "" {
		env["KBUILD_SIGN_PIN"] = t.o.PIN
	}
	return env
}

// cut returns the signature at the end of signed, after payload.
func cut(signed, payload []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(signed, payload)
	if !ok {
		return nil, errors.New("the module itself was changed")
	}
	rest, ok = bytes.CutSuffix(rest, []byte(magic))
	if !ok || len(rest) <= trailerSize {
		return nil, errors.New("no signature was appended")
	}
	at := len(rest) - trailerSize
	if size := binary.BigEndian.Uint32(rest[at+8:]); uint64(size) != uint64(at) {
		return nil, fmt.Errorf("signature of %d bytes; the trailer says %d", at, size)
	}
	if !bytes.Equal(rest[at:at+8], []byte{0, 0, 2, 0, 0, 0, 0, 0}) {
		return nil, errors.New("the appended signature is not PKCS#7")
	}
	return rest[:at], nil
}

// verify checks a signature; openssl checks signatures that the standard
// library cannot.
func (t *signFile) verify(ctx context.Context, dir string, pkcs7, payload []byte, cert *x509.Certificate) error {
	err := VerifyOrdered(pkcs7, payload, cert, t.o.Hash)
	if _, foreign := errors.AsType[*foreignError](err); !foreign {
		return err
	}
	if !t.o.Run.Has("openssl") {
		return exit.Errorf(exit.Usage, "the signature cannot be verified: %w", err).WithHint("install openssl")
	}
	files := map[string][]byte{
		"signed":   payload,
		"p7s":      pkcs7,
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	err = t.o.Run.Run(ctx, system.Cmd{
		Dir: dir,
		Argv: []string{"openssl", "cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-in", "p7s",
			"-content", "signed", "-certfile", "cert.pem", "-out", "/dev/null"},
		Env: t.env(),
	})
	if err != nil {
		return fmt.Errorf("the signature does not verify: %w", err)
	}
	return nil
}

// FindSignFile returns the path of the sign-file program for the kernel
// release: the configured path if there is one, else the distribution's path,
// else the path in the headers. The file need not exist, so that a message can
// name it.
func FindSignFile(root system.Root, distribution, release, headers, configured string) string {
	if configured != "" {
		return root.Path(configured)
	}
	for _, path := range signFilePlaces(distribution, release) {
		if path = root.Path(path); system.IsFile(path) {
			return path
		}
	}
	build := filepath.Join(root.InstallTree(), release, "build/scripts/sign-file")
	if headers != "" && !system.IsFile(build) {
		if path := filepath.Join(headers, "scripts/sign-file"); system.IsFile(path) {
			return path
		}
	}
	return build
}

func signFilePlaces(distribution, release string) []string {
	switch {
	case strings.HasPrefix(distribution, "debian"):
		// 6.1.0-56-amd64 belongs to linux-kbuild-6.1.
		series := release
		if i := strings.LastIndexByte(release, '.'); i >= 0 {
			series = release[:i]
		}
		return []string{"/usr/lib/linux-kbuild-" + series + "/scripts/sign-file"}
	case strings.HasPrefix(distribution, "ubuntu"):
		return []string{
			"/usr/local/sbin/kmodsign", "/usr/local/bin/kmodsign", "/usr/sbin/kmodsign", "/usr/bin/kmodsign",
			"/usr/src/linux-headers-" + release + "/scripts/sign-file",
		}
	case strings.HasPrefix(distribution, "gentoo"):
		return []string{"/usr/src/linux-" + release + "/scripts/sign-file"}
	}
	return nil
}
