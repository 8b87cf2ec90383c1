package sign

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// foreignError marks what only OpenSSL can process: a kind of key, a cipher, a
// hash.
type foreignError struct{ what string }

func (e *foreignError) Error() string { return "signature: " + e.what + " is not supported in process" }

// errPassphrase says that the passphrase does not decrypt the key.
var errPassphrase = errors.New("wrong passphrase")

// errTooLarge says that the data is too large to be a private key.
var errTooLarge = fmt.Errorf("larger than any private key: more than %d bytes", maxKey)

// maxFile bounds every file of keys, certificates and settings.
const maxFile = 1 << 20

// maxKey bounds a private key in DER, and maxModulus a public RSA key in bits:
// the limit of OpenSSL, and so of the kernel's tools, is 16384 bits. For a key
// as large as a file may be, the arithmetic takes minutes.
const (
	maxKey     = 16 << 10
	maxModulus = 16384
)

// readSmall reads a regular file of at most [maxFile] bytes. Any other file is
// an error, and readSmall does not block on it.
func readSmall(path string) ([]byte, error) { return system.ReadRegular(path, maxFile) }

// isPKCS11 reports whether key names an object on a token instead of a file.
func isPKCS11(key string) bool { return strings.HasPrefix(key, "pkcs11:") }

// readKey reads the private key at path, and decrypts it with pin if necessary.
func readKey(path, pin string) (crypto.Signer, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data, pin)
	if errors.Is(err, errPassphrase) {
		hint := "set KBUILD_SIGN_PIN to the passphrase"
		if pin != "" {
			hint = "KBUILD_SIGN_PIN is set, but not to the passphrase of this key"
		}
		return nil, exit.Errorf(exit.Usage, "%s: %w", path, err).WithHint("%s", hint)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parseKey returns the first private key of a PEM file, or the key in a DER
// file.
func parseKey(data []byte, pin string) (crypto.Signer, error) {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return parseKeyBlock(block, pin)
		}
	}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		return nil, errors.New("no private key in it")
	}
	if len(data) > maxKey {
		return nil, errTooLarge
	}
	return parseKeyDER(data, pin)
}

func parseKeyBlock(block *pem.Block, pin string) (crypto.Signer, error) {
	der := block.Bytes
	if len(der) > maxKey {
		return nil, errTooLarge
	}
	//lint:ignore SA1019 sign-file takes such keys, so keys like that are in use
	legacy := x509.IsEncryptedPEMBlock(block)
	if legacy {
		var err error
		if der, err = decryptLegacy(block, pin); err != nil {
			return nil, err
		}
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return parseKeyDER(der, pin)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		if key, err = x509.ParseECPrivateKey(der); err != nil && isSEC1(der) {
			return nil, &foreignError{"a key on this elliptic curve"}
		}
	default:
		return nil, &foreignError{"a key of the kind " + block.Type}
	}
	if err != nil && legacy {
		return nil, errPassphrase // one wrong passphrase in 256 gives valid padding
	}
	return asSigner(key, err)
}

func decryptLegacy(block *pem.Block, pin string) ([]byte, error) {
	if pin == "" {
		return nil, fmt.Errorf("the key is encrypted: %w", errPassphrase)
	}
	//lint:ignore SA1019 the same
	der, err := x509.DecryptPEMBlock(block, []byte(pin))
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, errPassphrase
	}
	if err != nil {
		return nil, &foreignError{"the cipher of this key"}
	}
	return der, nil
}

// parseKeyDER reads PKCS#8, plain or encrypted, PKCS#1 and SEC 1.
func parseKeyDER(der []byte, pin string) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if isSEC1(der) {
		key, err := x509.ParseECPrivateKey(der)
		if err != nil {
			return nil, &foreignError{"a key on this elliptic curve"}
		}
		return key, nil
	}
	var box encryptedKey
	if rest, err := asn1.Unmarshal(der, &box); err == nil && len(rest) == 0 {
		plain, err := box.open(pin)
		if err != nil {
			return nil, err
		}
		key, err := parsePKCS8(plain)
		if _, foreign := errors.AsType[*foreignError](err); err != nil && !foreign {
			return nil, errPassphrase
		}
		return key, err
	}
	return parsePKCS8(der)
}

func parsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err == nil {
		return asSigner(key, nil)
	}
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
		Attrs     asn1.RawValue `asn1:"optional,tag:0"`
		Public    asn1.RawValue `asn1:"optional,tag:1"`
	}
	if _, bad := asn1.Unmarshal(der, &info); bad != nil {
		return nil, errors.New("neither a PEM nor a DER private key")
	}
	if info.Algorithm.Algorithm.Equal(oidRSA()) {
		return nil, err
	}
	return nil, &foreignError{"a key of the kind " + info.Algorithm.Algorithm.String()}
}

// isSEC1 reports whether der is an elliptic curve key in its own format (RFC
// 5915), on any curve.
func isSEC1(der []byte) bool {
	var key struct {
		Version int
		Private []byte
		Curve   asn1.RawValue  `asn1:"optional,explicit,tag:0"`
		Public  asn1.BitString `asn1:"optional,explicit,tag:1"`
	}
	rest, err := asn1.Unmarshal(der, &key)
	return err == nil && len(rest) == 0 && key.Version == 1
}

func asSigner(key any, err error) (crypto.Signer, error) {
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, &foreignError{fmt.Sprintf("a key of type %T", key)}
	}
	return signer, nil
}
