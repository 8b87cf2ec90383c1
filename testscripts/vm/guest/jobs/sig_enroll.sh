# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# Puts our certificate where the kernel finds what shim's MokManager has
# enrolled: the variable MokListRT, a list of one X.509 certificate.
certificate=/var/lib/dkms/mok.pub
variable=/sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23

# le32 N writes a number as four bytes, the lowest first.
le32() {
	for shift in 0 8 16 24; do
		# shellcheck disable=SC2059 # the number is the format
		printf "\\$(printf %03o $(($1 >> shift & 255)))"
	done
}

enroll() {
	mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars || return 1
	openssl x509 -inform DER -in "$certificate" -outform DER -out /run/mok.der || return 1
	size=$(stat -c %s /run/mok.der)
	{
		le32 7 # non-volatile, for the boot loader and the system
		printf '\241\131\300\245\344\224\247\112\207\265\253\025\134\053\360\162' # EFI_CERT_X509_GUID
		le32 $((28 + 16 + size))
		le32 0
		le32 $((16 + size))
		printf 'dkms vm test 16b' # the owner
		cat /run/mok.der
	} >/run/variable
	dd if=/run/variable of="$variable" bs=64k 2>/dev/null && cat "$variable" >/run/back && cmp /run/variable /run/back
}
section enroll enroll
