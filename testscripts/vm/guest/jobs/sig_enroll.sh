# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# Switches Secure Boot on, as an administrator would in the firmware: whoever
# has signed Debian's kernel may boot ("db"), a new key owns the machine ("PK").
# Our certificate goes to db too, or where shim puts the machine owner's keys.
dir=/sys/firmware/efi/efivars
security=d719b2cb-3d3a-4596-a3bc-dad00e67656f
shim=605dab50-e046-4300-abb6-3dd810dd8b23
global=8be4df61-93ca-11d2-aa0d-00e098032b8c

# le32 N writes a number as four bytes, the lowest first.
le32() {
	for shift in 0 8 16 24; do
		# shellcheck disable=SC2059 # the number is the format
		printf "\\$(printf %03o $(($1 >> shift & 255)))"
	done
}

# word FILE OFFSET reads one.
word() {
	od -An -tu4 -j "$2" -N 4 "$1" | tr -d ' '
}

# list FILE writes a list of one X.509 certificate (UEFI, EFI_SIGNATURE_LIST).
list() {
	size=$(stat -c %s "$1")
	printf '\241\131\300\245\344\224\247\112\207\265\253\025\134\053\360\162'
	le32 $((28 + 16 + size))
	le32 0
	le32 $((16 + size))
	printf 'dkms vm test 16b' # the owner
	cat "$1"
}

# put NAME ATTRIBUTES DATA [AUTHENTICATION] writes a variable and compares what
# the firmware has made of it. A variable is written by one system call.
put() {
	{
		le32 "$2"
		[ -z "${4-}" ] || cat "$4"
		cat "$3"
	} >variable
	dd if=variable of="$dir/$1" bs=64k status=none || return 1
	{
		le32 "$2"
		cat "$3"
	} | cmp - "$dir/$1"
}

moment() {
	printf '\352\007\013\027\0\0\0\0\0\0\0\0\0\0\0\0'
}

# authentication SIGNATURE writes what goes before a variable that only the
# owner may change (UEFI, EFI_VARIABLE_AUTHENTICATION_2).
authentication() {
	moment
	le32 $((24 + $(stat -c %s "$1")))
	printf '\0\002\361\016'
	printf '\235\322\257\112\337\150\356\111\212\251\064\175\067\126\145\247'
	cat "$1"
}

# As long as there is no owner, only the owner's own certificate has to be
# signed, by itself.
own() {
	openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=owner -days 9 -keyout owner.key -out owner.pem 2>/dev/null
	openssl x509 -in owner.pem -outform DER -out owner.der
	list owner.der >owner.list
	{
		printf 'P\0K\0'
		printf '\141\337\344\213\312\223\322\021\252\015\0\340\230\003\053\214' # $global
		le32 39
		moment
		cat owner.list
	} >tosign
	openssl smime -sign -binary -noattr -md sha256 -in tosign -signer owner.pem -inkey owner.key -outform DER |
		tail -c +20 >signature # the firmware wants it without the ContentInfo around it
	authentication signature >header
	put "PK-$global" 39 owner.list header
}

# signer writes the certificate in the signature of a kernel, a PE32+ file.
signer() {
	entry=$(($(word "$1" 60) + 168))
	tail -c "+$(($(word "$1" $entry) + 9))" "$1" | head -c "$(($(word "$1" $((entry + 4))) - 8))" |
		openssl pkcs7 -inform DER -print_certs | openssl x509 -outform DER
}

enroll() {
	mountpoint -q "$dir" || mount -t efivarfs efivarfs "$dir" || return 1
	signer "/boot/vmlinuz-$kernel" >debian.der || return 1
	list debian.der >db
	case $(cat /run/vm/where) in
	db) list /var/lib/dkms/mok.pub >>db ;;
	MOK) list /var/lib/dkms/mok.pub >mok && put "MokListRT-$shim" 7 mok || return 1 ;;
	esac
	: >nothing
	authentication nothing >header
	put "db-$security" 39 db header && own
}
cd /run || return
section enroll enroll
