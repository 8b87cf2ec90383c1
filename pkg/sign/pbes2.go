package sign

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
)

// encryptedKey is the EncryptedPrivateKeyInfo of RFC 5208.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2 and pbkdf2Params are the parameters of RFC 8018.
type pbes2 struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt   []byte
	Rounds int
	Length int                      `asn1:"optional"`
	PRF    pkix.AlgorithmIdentifier `asn1:"optional"`
}

// maxRounds is far more than OpenSSL's default of 2048, and takes about a
// second. Keys with more rounds are left to OpenSSL, which can be interrupted.
const maxRounds = 1_000_000

// open decrypts the key. Any scheme but PBES2 with PBKDF2 and a known CBC
// cipher is left to OpenSSL.
func (k *encryptedKey) open(pin string) ([]byte, error) {
	if pin == "" {
		return nil, fmt.Errorf("the key is encrypted: %w", errPassphrase)
	}
	var scheme pbes2
	if !k.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}) {
		return nil, &foreignError{"the key's encryption " + k.Algorithm.Algorithm.String()}
	}
	if err := unmarshalAll(k.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, err
	}
	c := cipherByOID(scheme.Cipher.Algorithm)
	if c == nil {
		return nil, &foreignError{"the key's cipher " + scheme.Cipher.Algorithm.String()}
	}
	secret, err := derive(scheme.KDF, pin, c.keySize)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if err := unmarshalAll(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, err
	}
	return c.decrypt(secret, iv, k.Data)
}

func derive(kdf pkix.AlgorithmIdentifier, pin string, size int) ([]byte, error) {
	if !kdf.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}) {
		return nil, &foreignError{"the key derivation " + kdf.Algorithm.String()}
	}
	var p pbkdf2Params
	if err := unmarshalAll(kdf.Parameters.FullBytes, &p); err != nil {
		return nil, err
	}
	if p.Rounds < 1 || p.Length != 0 && p.Length != size {
		return nil, errors.New("impossible parameters of the key's encryption")
	}
	if p.Rounds > maxRounds {
		return nil, &foreignError{fmt.Sprintf("a key derivation of %d rounds", p.Rounds)}
	}
	prf := prfByOID(p.PRF.Algorithm)
	if prf == nil {
		return nil, &foreignError{"the key derivation with " + p.PRF.Algorithm.String()}
	}
	return pbkdf2.Key(prf, pin, p.Salt, p.Rounds, size)
}

// prfByOID returns the hash of hmacWithSHA1, which is the default, to
// hmacWithSHA512.
func prfByOID(oid asn1.ObjectIdentifier) func() hash.Hash {
	if len(oid) == 0 {
		return sha1.New
	}
	if len(oid) != 6 || !oid[:5].Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 2}) {
		return nil
	}
	switch oid[5] {
	case 7:
		return sha1.New
	case 8:
		return sha256.New224
	case 9:
		return sha256.New
	case 10:
		return sha512.New384
	case 11:
		return sha512.New
	}
	return nil
}

type cbcCipher struct {
	keySize int
	block   func(key []byte) (cipher.Block, error)
}

// cipherByOID returns AES or triple DES in CBC mode.
func cipherByOID(oid asn1.ObjectIdentifier) *cbcCipher {
	aesCBC := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, n} }
	switch {
	case oid.Equal(aesCBC(2)):
		return &cbcCipher{16, aes.NewCipher}
	case oid.Equal(aesCBC(22)):
		return &cbcCipher{24, aes.NewCipher}
	case oid.Equal(aesCBC(42)):
		return &cbcCipher{32, aes.NewCipher}
	case oid.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}):
		return &cbcCipher{24, des.NewTripleDESCipher}
	}
	return nil
}

func (c *cbcCipher) decrypt(key, iv, data []byte) ([]byte, error) {
	block, err := c.block(key)
	if err != nil {
		return nil, err
	}
	size := block.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errors.New("the encrypted key is cut short")
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > size {
		return nil, errPassphrase
	}
	for _, b := range plain[len(plain)-pad:] {
		if int(b) != pad {
			return nil, errPassphrase
		}
	}
	return plain[:len(plain)-pad], nil
}

func unmarshalAll(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) != 0 {
		err = errors.New("bytes after the end")
	}
	if err != nil {
		return fmt.Errorf("parameters of the key's encryption: %w", err)
	}
	return nil
}
