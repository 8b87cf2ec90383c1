# shellcheck shell=sh disable=SC1091 # agent runs it
# dkms mok enroll with the real mokutil and the firmware's variables: with the
# password from a file, twice, with a hash of it, and typed at a terminal.
dir=/sys/firmware/efi/efivars
shim=605dab50-e046-4300-abb6-3dd810dd8b23
cert=/var/lib/dkms/mok.pub
cd /run || return
mountpoint -q $dir || mount -t efivarfs efivarfs $dir
printf 'open sesame\n' >password
mokutil --generate-hash=sesame >./hash

# holds fails unless the request is our certificate: attributes, the head of a
# list, its owner, and the certificate. Variables cannot be read from the middle.
holds() {
	# shellcheck disable=SC2002
	cat "$dir/MokNew-$shim" | tail -c +49 | cmp - $cert
}

. /run/vm/answer.sh

# typed runs dkms at a terminal of its own.
typed() {
	rm -f shown
	answer shown 'open sesame' | timeout 60 script -qefc 'dkms mok enroll' shown
}

section generate dkms generate_mok
section before dkms mok status
section enroll dkms mok enroll --password-file password
section new mokutil --list-new
section holds holds
section status dkms mok status
section json dkms mok status --json
cp "$dir/MokAuth-$shim" auth
section again dkms mok enroll --password-file password
section once cmp auth "$dir/MokAuth-$shim"
section revoke mokutil --revoke-import
section revoked dkms mok status

section hash dkms mok enroll --hash-file hash
section "hash holds" holds
cp "$dir/MokAuth-$shim" auth
mokutil --revoke-import
mokutil --import $cert --hash-file hash
section "hash is ours" cmp auth "$dir/MokAuth-$shim"
mokutil --revoke-import

section typed typed
section "typed holds" holds
mokutil --revoke-import

# A certificate as text is the same one.
openssl x509 -inform DER -in $cert -out cert.pem
echo mok_signing_key=/var/lib/dkms/mok.key >>/etc/dkms/framework.conf
echo mok_certificate=/run/cert.pem >>/etc/dkms/framework.conf
section pem dkms mok enroll --password-file password
section "pem holds" holds
mokutil --revoke-import

# Nobody is there to be asked.
section nobody dkms mok enroll
section "nobody new" mokutil --list-new
