#!/bin/sh
# kernels.sh PACKAGE.deb: what Debian's packages with modules become with our
# dkms and with Debian's own, in two roots of ${PACKAGES_SUITE:-bookworm} that
# differ in nothing else: bullseye, trixie and sid have kernels, compilers and
# kmods from old to new. Twelve packages are installed and purged in each, with
# nothing that is only recommended: apt's status, what dkms lists and the bytes
# of the modules must be the same, whether a package builds there or not: those
# that fit the kernel with neither are named at the end. Prints PASS or FAIL for
# every expectation; the status is 0 if all were met.
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -f "${1-}" ] || { echo "usage: kernels.sh PACKAGE.deb (made by make deb)" >&2 && exit 2; }
alone "$@"

# The first twelve that the suite has; KERNELS_PACKAGES is another choice.
wanted=${KERNELS_PACKAGES:-acpi-call dahdi iptables-netflow dm-writeboost v4l2loopback jool evdi xtables-addons tp-smapi
	bbswitch ddcci digimend gost-crypto lime-forensics nat-rtsp west-chamber vpoll langford}

# prepare makes two roots with the kernel's headers, and a dkms in each.
prepare() {
	make_base base ca-certificates kmod zstd
	for side in theirs ours; do
		make_root $side
		dkms=dkms
		[ $side = theirs ] || { install -m 644 "$1" "$root/packages/ours.deb" && dkms=/packages/ours.deb; }
		in_root apt-get install -qy $dkms linux-headers-amd64 >"$log" 2>&1 || { cat "$log" && exit 2; }
	done
	ours=$cache/ours-$suite theirs=$cache/theirs-$suite
	kernel=$(ls "$ours/lib/modules")
	# shellcheck disable=SC2016 # dpkg-query's
	echo "kernel $kernel, dkms $(chroot "$theirs" dpkg-query -W -f '${Version}' dkms) and ours"
}

# choice prints the packages to try.
choice() {
	for name in $wanted; do
		[ -z "$(in_root apt-cache madison "$name-dkms")" ] || echo "$name"
	done | head -n 12
}

# unsigned FILE prints a module without its signature, whose length is before
# the mark at the end (module_signature.h); each dkms has a key of its own.
unsigned() {
	if [ "$(tail -c 28 "$1" | tr -d '\0')" = "~Module signature appended~" ]; then
		# shellcheck disable=SC2046 # four figures
		set -- "$1" $(tail -c 32 "$1" | head -c 4 | od -An -tu1)
		head -c "-$((40 + ($2 << 24 | $3 << 16 | $4 << 8 | $5)))" "$1"
	else
		cat "$1"
	fi
}

# outcome COMMAND NAME SIDE prints what becomes of a root: apt's status, what dkms
# lists, and the modules with their sums.
outcome() {
	in_root apt-get -qy "$1" "$2-dkms" >"$log.$3" 2>&1
	echo "apt-get $1: $?"
	# Older ones have a comma between name and version.
	in_root dkms status 2>/dev/null | sed 's|^\([^,/]*\), |\1/|' | sort
	find "$root/lib/modules/$kernel" -path '*/updates/*' -name '*.ko*' | sort | while read -r file; do
		case $file in
		*.xz) xz -dc "$file" >"$log.ko" ;;
		*) cp "$file" "$log.ko" ;;
		esac
		sum=$(unsigned "$log.ko" | sha256sum) file=${file#"$root"}
		echo "${file%.xz} ${sum% *}"
	done
}

# both TEXT COMMAND NAME: the outcome is the same in both roots, and $result.
both() {
	root=$theirs && result=$(outcome "$2" "$3" theirs)
	root=$ours && mine=$(outcome "$2" "$3" ours)
	if [ "$result" = "$mine" ]; then pass "$1"; else
		{
			printf 'with Debian'"'"'s dkms:\n%s\nwith ours:\n%s\n' "$result" "$mine"
			tail -n 15 "$log.ours"
		} >"$log"
		fail "$1"
	fi
}

# try NAME: the package comes and goes in both roots.
try() {
	both "$1: installed alike" install "$1"
	printf '%s\n' "$result" | sed 's/ [0-9a-f]\{64\} *$//; s/^/     | /'
	case $result in *": installed"*) ;; *) neither="$neither $1" ;; esac
	both "$1: purged alike" purge "$1"
	root=$ours
	expect "$1: nothing is left" [ -z "$(in_root dkms status)$(find "$ours/var/lib/dkms" -mindepth 1 -maxdepth 1 -type d ! -name '.*')$(find "$ours/lib/modules" -path '*/updates/*' -name '*.ko*')" ]
}

prepare "$1"
neither=''
for name in $(choice); do try "$name"; done
conclude "Debian $suite, kernel $kernel${neither:+; with neither dkms:$neither}"
