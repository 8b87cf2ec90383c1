package sign

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dkms/testscripts/testkit"
)

// keysInTPM are the settings of OpenSSL that dkms-framework.conf(5) has for a key
// in a TPM, and byTPM is the program of sign_file there.
const keysInTPM = `openssl_conf = init
[init]
providers = providers
alg_section = algorithms
[algorithms]
default_properties = ?tpm2.digest!=yes,?tpm2.cipher!=yes
[providers]
tpm2 = on
default = on
[on]
activate = 1
`

const byTPM = "#!/bin/sh\nOPENSSL_CONF=%s exec %s \"$@\"\n"

// TestTPM signs with a key that never leaves a TPM, which a program emulates.
func TestTPM(t *testing.T) {
	openssl, swtpm, program := need(t, "openssl"), need(t, "swtpm"), needSignFile(t)
	needLibrary(t, "ossl-modules/tpm2.so")
	dir := t.TempDir()
	socket, tcti := filepath.Join(dir, "tpm"), "swtpm:path="+filepath.Join(dir, "tpm")
	pid := filepath.Join(dir, "pid")
	end := func() {
		if n, err := os.ReadFile(pid); err == nil {
			number, _ := strconv.Atoi(strings.TrimSpace(string(n)))
			testkit.Must(t, syscall.Kill(number, syscall.SIGKILL))
			testkit.Must(t, os.Remove(pid))
		}
	}
	t.Cleanup(end)
	// The kernel takes out of a TPM what a program has left in it. Here every
	// program finds an emulator that was just started.
	anew := func() {
		end()
		run(t, swtpm, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--flags", "not-need-init,startup-clear", "--daemon", "--pid", "file="+pid,
			"--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl")
	}
	ask := func(argv ...string) {
		anew()
		runEnv(t, []string{"TPM2OPENSSL_TCTI=" + tcti}, append([]string{openssl, argv[0], "-provider", "tpm2", "-provider", "default"}, argv[1:]...)...)
	}
	p := Pair{KeyPath: filepath.Join(dir, "key.pem"), CertPath: filepath.Join(dir, "cert.der")}
	ask("genpkey", "-algorithm", "RSA", "-pkeyopt", "bits:2048", "-out", p.KeyPath)
	ask("req", "-new", "-x509", "-key", p.KeyPath, "-subj", "/CN=tpm", "-days", "9", "-outform", "DER", "-out", p.CertPath)

	settings := write(t, filepath.Join(dir, "tpm.cnf"), []byte(keysInTPM))
	script := write(t, filepath.Join(dir, "sign-by-tpm"), fmt.Appendf(nil, byTPM, settings, program))
	testkit.Must(t, os.Chmod(script, 0o755))
	s := mustOpen(t, p, Options{SignFile: script, UseSignFile: true, Run: runner(), Temp: t.TempDir(), Env: map[string]string{"TPM2OPENSSL_TCTI": tcti}})
	anew()
	mustSign(t, s, noise(1000))
}
