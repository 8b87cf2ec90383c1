package sign

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
)

// Certificates reads all certificates of a file, PEM or DER, or of the files of
// a directory that are not hidden. An unreadable certificate is an error,
// because whoever installed it relies on it.
func Certificates(path string) ([]*x509.Certificate, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return readCertificates(path)
	}
	var list []*x509.Certificate
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		certs, err := readCertificates(filepath.Join(path, e.Name()))
		if err != nil {
			return nil, err
		}
		list = append(list, certs...)
	}
	if len(list) == 0 {
		return nil, exit.Errorf(exit.Usage, "%s: no certificate in it", path)
	}
	return list, nil
}

// VerifyAny checks that pkcs7 is a signature of payload by the key of one of
// certs, and returns that certificate.
func VerifyAny(pkcs7, payload []byte, certs []*x509.Certificate) (*x509.Certificate, error) {
	var last error
	for _, c := range certs {
		si, err := decode(pkcs7)
		if err != nil {
			return nil, err
		}
		if si.by(c) != nil {
			continue
		}
		if last = Verify(pkcs7, payload, c); last == nil {
			return c, nil
		}
	}
	if last != nil {
		return nil, last
	}
	return nil, fmt.Errorf("signature: made with none of %d accepted certificates", len(certs))
}
